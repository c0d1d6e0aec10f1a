"""ImageNet weights for the encoder of a ResNet or of timm, from a local file."""

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
from lgad_pipeline.networks.timm_net import TimmNet

# Beginning of a parameter's name in torchvision (regular expression) -> beginning of its name here.
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
    """Load ImageNet weights into the encoder of a ResNet or of a network with an encoder of timm.

    The heads do not change.

    Args:
        network: ResNet of width 1 with three input planes, or `TimmNet`; changed in place.
        path: state dict of torchvision's resnet18 or resnet34, or of timm's model, `.safetensors` or `.pth`.
            Only tensors are unpickled.

    Raises:
        LgadError: the file is missing or damaged, the network is not a ResNet, or the file does not fit it.
    """
    if isinstance(network, TimmNet):
        if not path.is_file():
            raise _missing(path)
        network.load_imagenet(path)
        return
    if not isinstance(network, ResNet):
        raise LgadError(
            f"{path} cannot be loaded into {type(network).__name__}: ImageNet weights are for resnet18, "
            "resnet34 and encoders of timm; leave `pretrained` out."
        )
    weights = {_renamed(name): value for name, value in _read(path).items() if not name.startswith("fc.")}
    wanted = network.encoder.state_dict()
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}  # old files have none
    wrong = (set(wanted) - counters) ^ (set(weights) - counters)
    wrong |= {name for name in set(wanted) & set(weights) if wanted[name].shape != weights[name].shape}
    if wrong:
        raise LgadError(
            f"{path} does not fit the network: {len(wrong)} of its tensors differ in name or shape, such as "
            f"{min(wrong)}; give torchvision's file for the same network, and width 1."
        )
    network.encoder.load_state_dict(weights, strict=False)


def file_digest(path: Path) -> str:
    """Return the BLAKE2b-128 of the content of a file, hexadecimal.

    Raises:
        LgadError: the file does not exist.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise _missing(path) from error


def _missing(path: Path) -> LgadError:
    return LgadError(f"{path} does not exist; download the file of weights to this path.")


def _read(path: Path) -> dict[str, torch.Tensor]:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise _missing(path) from error
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise LgadError(
            f"{path} is not a file of weights ({str(error).splitlines()[0]}); download it again."
        ) from error


def _renamed(name: str) -> str:
    for pattern, replacement in _NAMES:
        if re.match(pattern, name):
            return re.sub(f"^{pattern}", replacement, name)
    return name
