"""Checkpoint format: thousands of small tensors packed into a few large ones, with a checksum."""

import zlib
from typing import Any

import torch

_TENSOR = "tensor"
Packed = dict[str, Any]


def pack(content: Any) -> Packed:
    """Concatenate the tensors of nested dicts and lists, one tensor per dtype, on the CPU, with a checksum.

    Reasons: `torch.save` takes about twenty microseconds per tensor, in total a fifth of the time of a step
    of a small network; and `torch.load` does not detect changed bytes.
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
    """Restore the argument of `pack`, with its tensors on `device` and with their original strides.

    Raises:
        ValueError: the checksum does not match the content.
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
    """Return the CRC-32 of structure and values, the fastest of the common digests."""
    checksum = zlib.crc32(repr(packed["structure"]).encode())
    for dtype, values in packed["values"].items():
        checksum = zlib.crc32(values.view(torch.uint8).numpy(), zlib.crc32(dtype.encode(), checksum))
    return checksum
