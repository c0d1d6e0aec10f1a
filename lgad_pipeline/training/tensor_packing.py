"""Checkpoint format: thousands of small tensors packed into a few large ones, with a checksum."""

import zlib
from typing import Any

import torch

_TENSOR = "tensor"
Packed = dict[str, Any]


def pack(content: Any) -> Packed:
    """Concatenate the tensors of nested dicts and lists, one tensor a dtype, on the CPU, with a checksum.

    `torch.save` spends some twenty microseconds on each tensor, which is a fifth of a small network's step;
    and `torch.load` does not notice changed bytes.
    """
    parts: dict[str, list[torch.Tensor]] = {}
    lengths: dict[str, int] = {}

    def visit(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: visit(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [visit(inner) for inner in value]
        if not isinstance(value, torch.Tensor):
            return value
        dtype = str(value.dtype).removeprefix("torch.")
        start = lengths.get(dtype, 0)
        lengths[dtype] = start + value.numel()
        parts.setdefault(dtype, []).append(value.detach().flatten().cpu())
        return (_TENSOR, dtype, start, tuple(value.shape), value.stride())

    packed = {
        "structure": visit(content),
        "values": {dtype: torch.cat(flat) for dtype, flat in parts.items()},
    }
    return {**packed, "checksum": _checksum(packed)}


def unpack(packed: Packed, device: torch.device) -> Any:
    """Return what `pack` was given, its tensors on `device` and with the strides that they had.

    Raises:
        ValueError: the content differs from what was packed.
    """
    if not isinstance(packed, dict) or packed["checksum"] != _checksum(packed):
        raise ValueError("the checksum does not match")

    def visit(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: visit(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [visit(inner) for inner in value]
        if not (isinstance(value, tuple) and value[:1] == (_TENSOR,)):
            return value
        _, dtype, start, shape, stride = value
        flat = packed["values"][dtype]
        tensor = torch.empty_strided(shape, stride, dtype=flat.dtype, device=device)
        return tensor.copy_(flat[start : start + tensor.numel()].view(shape))

    return visit(packed["structure"])


def _checksum(packed: Packed) -> int:
    """CRC-32 of structure and values; of the usual digests the fastest by far."""
    found = zlib.crc32(repr(packed["structure"]).encode())
    for dtype, values in packed["values"].items():
        found = zlib.crc32(values.view(torch.uint8).numpy(), zlib.crc32(dtype.encode(), found))
    return found
