"""ImageNet weights for the encoder of a ResNet, from a local file in torchvision's format."""

import hashlib
import pickle
import re
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import nn

from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.resnet import ResNet

# torchvision's name -> ours; each is the beginning of a parameter's name.
_NAMES = (
    (r"conv1\.", "stem.0."),
    (r"bn1\.", "stem.1."),
    (r"layer(\d)\.(\d+)\.conv1\.", r"stage\1.\2.residual.0."),
    (r"layer(\d)\.(\d+)\.bn1\.", r"stage\1.\2.residual.1."),
    (r"layer(\d)\.(\d+)\.conv2\.", r"stage\1.\2.residual.3."),
    (r"layer(\d)\.(\d+)\.bn2\.", r"stage\1.\2.residual.4."),
    (r"layer(\d)\.(\d+)\.downsample\.", r"stage\1.\2.shortcut."),
)


def load_imagenet(network: nn.Module, path: Path) -> None:
    """Put ImageNet weights into the encoder of a ResNet-18 or ResNet-34; its heads stay as they are.

    Args:
        network: of width 1 and three input planes; changed in place.
        path: a state dict of torchvision's resnet18 or resnet34, `.safetensors` or `.pth`. Nothing but
            tensors is unpickled.

    Raises:
        LgadError: the file is missing or damaged, the network is no ResNet, or the two do not fit.
    """
    if not isinstance(network, ResNet):
        raise LgadError(
            f"{path} cannot be put into {type(network).__name__}: ImageNet weights are for resnet18 and "
            "resnet34; take `pretrained` out of the recipe's network."
        )
    weights = {_ours(name): value for name, value in _read(path).items() if not name.startswith("fc.")}
    wanted = network.encoder.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}  # old files have none
    wrong = (set(wanted) - counters) ^ (set(weights) - counters)
    wrong |= {name for name in set(wanted) & set(weights) if wanted[name].shape != weights[name].shape}
    if wrong:
        raise LgadError(
            f"{path} does not fit the network: {len(wrong)} of its tensors differ in name or shape, such as "
            f"{min(wrong)}; name torchvision's file for this very network, and width 1."
        )
    network.encoder.load_state_dict(weights, strict=False)


def file_digest(path: Path) -> str:
    """Return the BLAKE2b-128 of a file's content, hexadecimal.

    Raises:
        LgadError: there is no such file.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise _missing(path) from error


def _missing(path: Path) -> LgadError:
    return LgadError(f"{path} does not exist; download torchvision's file and name it there.")


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise LgadError(
            f"{path} is no file of weights ({str(error).splitlines()[0]}); download it again."
        ) from error


def _ours(name: str) -> str:
    for theirs, ours in _NAMES:
        if re.match(theirs, name):
            return re.sub(f"^{theirs}", ours, name)
    return name
