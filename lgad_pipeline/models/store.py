"""A network on disk: its weights beside what it takes to build it again."""

from pathlib import Path

import safetensors.torch
from torch import nn

from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path, write_text
from lgad_pipeline.models.registry import build
from lgad_pipeline.models.spec import NetworkSpec

WEIGHTS = "weights.safetensors"
NETWORK = "network.json"


def save_network(folder: Path, network: nn.Module, spec: NetworkSpec) -> None:
    """Write `weights.safetensors` and `network.json` into `folder`."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    write_text(folder / NETWORK, spec.model_dump_json(indent=2) + "\n")
    with atomic_path(folder / WEIGHTS) as beside:
        safetensors.torch.save_file(state, beside)


def load_network(folder: Path) -> tuple[nn.Module, NetworkSpec]:
    """Read what `save_network` wrote; the network comes on the CPU, in evaluation mode.

    Raises:
        LgadError: a file is missing, or the weights do not fit the network.
    """
    for name in (NETWORK, WEIGHTS):
        if not (folder / name).is_file():
            raise LgadError(f"{folder / name} is missing; train the network first, or name another folder.")
    spec = NetworkSpec.model_validate_json((folder / NETWORK).read_text(encoding="utf-8"))
    network = build(spec)
    try:
        network.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
    except RuntimeError as error:
        raise LgadError(
            f"{folder / WEIGHTS} does not fit the network in {NETWORK} ({str(error).splitlines()[0]}); "
            "train it again."
        ) from error
    return network.eval(), spec
