"""Training device, its arithmetic, and the precision that fits it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch

from lgad_pipeline.config.training import Precision
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.device import resolve_auto
from lgad_pipeline.training.processes import environment_processes

Device = str
"""Training device: `cpu`, `cuda`, `cuda:<index>`, or `auto` for a GPU if there is one."""
ResolvedPrecision = Literal["32-true", "bf16-mixed"]
_AMPERE = (8, 0)  # first compute capability with bfloat16 arithmetic


def resolve_device(device: Device) -> torch.device:
    """Return the device of this process; the n-th of several processes of a machine has its n-th GPU.

    Raises:
        LgadError: torch does not know the device, or it does not find that GPU.
    """
    device = resolve_auto(device)
    if device == "cuda":
        device = f"cuda:{environment_processes().local_rank}"
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise LgadError(f"{device!r} is not a device of torch; choose cpu, cuda or auto.") from error
    if resolved.type == "cuda" and resolved.index >= torch.cuda.device_count():
        raise LgadError(
            f"The training needs the GPU {device}, but torch finds {torch.cuda.device_count()} GPUs here; "
            "choose fewer processes, or the device cpu."
        )
    return resolved


def resolve_precision(precision: Precision, device: torch.device) -> ResolvedPrecision:
    """Return the precision of a training; `auto` is bfloat16 autocast where it is computed natively.

    Args:
        precision: precision of the settings.
        device: training device.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if _native_bfloat16(device) else "32-true"


def _native_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= _AMPERE
    # torch has no public function for each instruction set in the oldest supported version.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


@contextmanager
def device_arithmetic(device: torch.device, precision: ResolvedPrecision) -> Iterator[None]:
    """Set cuDNN for a training inside the context: fastest kernels, and no TensorFloat-32 in `32-true`."""
    if device.type != "cuda":
        yield
        return
    cudnn: Any = torch.backends.cudnn
    matmul = torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark = True
    cudnn.allow_tf32 = precision != "32-true"
    matmul.allow_tf32 = False  # decoding and the colours of augmentation multiply small float32 matrices
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
