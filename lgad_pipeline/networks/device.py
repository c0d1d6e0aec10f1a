"""Choice of torch's device."""

import re

import torch

from lgad_pipeline.errors import LgadError

_DEVICE = re.compile(r"cpu|(cuda|mps|xpu)(:\d+)?")


def resolve_auto(device: str) -> str:
    """Return the name of a device; `auto` is a CUDA GPU if torch finds one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(device: str) -> None:
    """Check that torch can use a device on this machine.

    Args:
        device: name of the device, such as cpu or cuda.

    Raises:
        LgadError: the device cannot be used.
    """
    if not _DEVICE.fullmatch(device):
        raise LgadError(f"{device!r} is not a device; give cpu, cuda for a GPU or cuda:1 for the second GPU.")
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ValueError) as error:
        reason = (str(error).splitlines() or ["unknown"])[0].rstrip(".")[:100]
        raise LgadError(
            f"The device {device!r} cannot be used here ({reason}); give --device cpu."
        ) from error
