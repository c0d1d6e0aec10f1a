"""Files of a trained network: weights.safetensors and network.json, written and read."""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError
from torch import nn

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.config.model_files import NETWORK, WEIGHTS
from lgad_pipeline.config.network import NetworkSpec, is_allowed
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import build_network, is_built_in, is_registered

_LARGEST_JSON = 1 << 20  # bytes
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_Model = TypeVar("_Model", bound=BaseModel)


class DamagedNetwork(LgadError):
    """Error of a directory without a usable network: a file is missing, damaged or of another version."""


def save_network(folder: Path, network: nn.Module, *, spec: NetworkSpec) -> None:
    """Write a network to disk.

    Args:
        folder: directory to write; gets weights.safetensors and network.json.
        network: the network, on any device.
        spec: name and size that `network` was built from.
    """
    # A copy of each value, because safetensors refuses tensors that share memory, such as tied weights.
    state = {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
    write_text(folder / NETWORK, spec.model_dump_json(indent=2) + "\n")
    with atomic_path(folder / WEIGHTS) as temporary:
        # `safetensors.torch.save_file` ignores the umask: only the owner could read the file.
        temporary.write_bytes(safetensors.torch.save(state))


def load_network(folder: Path) -> tuple[nn.Module, NetworkSpec]:
    """Read a trained network from disk.

    A module that only the directory names is not imported, because importing runs its code: see
    `lgad_pipeline.config.network.allow_networks`.

    Args:
        folder: directory of the trained network (weights.safetensors, network.json).

    Returns:
        The network, on the CPU and in evaluation mode, and its specification.

    Raises:
        DamagedNetwork: a file is missing or damaged, the weights do not fit the network, or a weight is not
            a finite number.

    Example:
        >>> import tempfile
        >>> from lgad_pipeline.networks.registry import build_network
        >>> spec = NetworkSpec(name="enet", image_size=(64, 128), width=0.25)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_network(Path(folder), build_network(spec), spec=spec)
        ...     network, loaded_spec = load_network(Path(folder))
        >>> loaded_spec == spec
        True
    """
    _check_files(folder)
    spec = read_model(folder / NETWORK, NetworkSpec)
    if not (is_registered(spec.name) or is_allowed(spec.name)):
        raise DamagedNetwork(
            f"{folder / NETWORK} names the class {spec.name!r}, and loading it would run its code; if you "
            "trust it, call allow_networks with its name, or give --trust-network-code."
        )
    state = _read_weights(folder / WEIGHTS)
    _check_shapes(folder, spec, state)
    try:
        with torch.random.fork_rng([]):  # the random weights are replaced
            network = build_network(spec)
        network.load_state_dict(state)
    except LgadError as error:
        raise DamagedNetwork(f"{folder / NETWORK}: {error}") from error
    except RuntimeError as error:
        raise _unfit(folder, _first_fault(error)) from error
    return network.eval(), spec


def network_digest(folder: Path) -> str:
    """Return the BLAKE2b-128 of the files of a trained network, hexadecimal.

    Args:
        folder: directory of the trained network (weights.safetensors, network.json).

    Raises:
        DamagedNetwork: a file is missing or cannot be read.
    """
    _check_files(folder)
    digest = blake2b(digest_size=16)
    for name in (NETWORK, WEIGHTS):
        try:
            digest.update(blake2b((folder / name).read_bytes()).digest())
        except OSError as error:
            raise DamagedNetwork(
                f"{folder / name} cannot be read ({error.strerror}); restore the file, or train the network "
                "again."
            ) from error
    return digest.hexdigest()


def _check_files(folder: Path) -> None:
    if not folder.is_dir():
        if str(folder).startswith(("models:", "runs:", "mlflow-artifacts:")):
            raise DamagedNetwork(
                f"{folder} is an address of MLflow, not a folder; fetch the model by `mlflow artifacts "
                "download --artifact-uri ADDRESS --dst-path FOLDER` and name FOLDER/artifacts/network."
            )
        what = "is a file" if folder.exists() else "does not exist"
        raise DamagedNetwork(f"{folder} {what}; train the network first, or name another folder.")
    for name in (NETWORK, WEIGHTS):
        if not (folder / name).is_file():
            raise DamagedNetwork(
                f"{folder / name} is missing; train the network first, or name another folder."
            )


def read_model(path: Path, kind: type[_Model], *, of: tuple[str, ...] = ()) -> _Model:
    """Read a small JSON file as a validated model.

    Args:
        path: JSON file of at most 1 MB.
        kind: pydantic model to validate the content with.
        of: keys that lead to the part of the file to read; empty for the whole file.

    Raises:
        DamagedNetwork: the file cannot be read, is not JSON, or the model rejects a key or value.
    """
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise DamagedNetwork(f"{path} is larger than {_LARGEST_JSON >> 20} MB; restore the file.")
        content: Any = json.loads(path.read_text(encoding="utf-8"))
        for key in of:
            content = content[key]
        # Strict validation of JSON does not accept a text as a number, but a list as a tuple.
        return kind.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, (*of, *first["loc"]))) or "the file"
        if first["type"] == "extra_forbidden":
            reason = f"holds the key {key}, which this version does not know; update lgad_pipeline"
        else:
            reason = f"is damaged at {key} ({first['msg']}); restore the file"
        raise DamagedNetwork(f"{path} {reason}, or train the network again.") from error
    except OSError as error:
        raise DamagedNetwork(
            f"{path} cannot be read ({error.strerror}); restore the file, or train the network again."
        ) from error
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise DamagedNetwork(
            f"{path} is damaged: it does not hold the expected JSON; restore the file, or train the network "
            "again."
        ) from error


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        state = safetensors.torch.load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise DamagedNetwork(
            f"{path} is damaged ({_first_fault(error)}); restore the file, or train the network again."
        ) from error
    for name, value in state.items():
        if value.is_floating_point() and value.dtype not in _FLOATS:
            raise _damaged(path, f"{name} holds numbers of {_form(value)}")
        # A negative variance would make every output of its layer NaN.
        if not torch.isfinite(value.float()).all() or (name.endswith("running_var") and (value < 0).any()):
            raise _damaged(path, f"{name} holds values that are not finite, or negative variances")
    return state


def _damaged(path: Path, reason: str) -> DamagedNetwork:
    return DamagedNetwork(f"{path} is damaged: {reason}; restore the file, or train the network again.")


def _check_shapes(folder: Path, spec: NetworkSpec, state: dict[str, torch.Tensor]) -> None:
    """Compare shapes before the network is built, so that a wrong width does not exhaust the memory."""
    if not is_built_in(spec.name):
        return  # the class of another package may need real tensors to be built
    try:
        with torch.device("meta"):
            wanted = build_network(spec).state_dict()
    except LgadError as error:
        if ":" in spec.name:
            return  # encoders of other packages may need real tensors, too; their widths are fixed
        raise DamagedNetwork(f"{folder / NETWORK}: {error}") from error
    if wanted.keys() != state.keys():
        name = min(wanted.keys() ^ state.keys())
        raise _unfit(folder, f"{name} is {'missing' if name in wanted else 'not part of it'}")
    for name, value in wanted.items():
        if (
            value.shape != state[name].shape
            or value.dtype.is_floating_point != state[name].is_floating_point()
        ):
            raise _unfit(folder, f"{name} is {_form(state[name])} and should be {_form(value)}")


def _unfit(folder: Path, reason: str) -> DamagedNetwork:
    return DamagedNetwork(
        f"{folder / WEIGHTS} does not fit the network in {NETWORK} ({reason}); train it again."
    )


def _form(value: torch.Tensor) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"


def _first_fault(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
