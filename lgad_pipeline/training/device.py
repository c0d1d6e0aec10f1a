"""Training device, its arithmetic, and the precision that fits it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from lgad_pipeline.config.training import Precision

Device = Literal["auto", "cpu", "cuda"]
ResolvedPrecision = Literal["32-true", "bf16-mixed"]
_AMPERE = (8, 0)  # first compute capability with bfloat16 arithmetic


def resolve_device(device: Device) -> Literal["cpu", "cuda"]:
    """Return the device of a training; `auto` is a CUDA GPU if torch finds one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_precision(precision: Precision, device: str) -> ResolvedPrecision:
    """Return the precision of a training; `auto` is bfloat16 autocast where it is computed natively.

    Args:
        precision: precision of the settings.
        device: `cpu` or `cuda`.
    """
    if precision != "auto":
        return precision
    return "bf16-mixed" if _native_bfloat16(device) else "32-true"


def _native_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.get_device_capability() >= _AMPERE
    # torch has no public function for each instruction set in the oldest supported version.
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in checks)


@contextmanager
def device_arithmetic(device: str, precision: ResolvedPrecision) -> Iterator[None]:
    """Set cuDNN for a training inside the context: fastest kernels, and no TensorFloat-32 in `32-true`."""
    if device != "cuda":
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32
    cudnn.benchmark = True
    cudnn.allow_tf32 = precision != "32-true"
    matmul.allow_tf32 = False  # decoding and the colours of augmentation multiply small float32 matrices
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.allow_tf32, matmul.allow_tf32 = before
