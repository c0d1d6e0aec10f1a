"""PNG files of label maps: mostly background, all of it at the top, so that most of the work is done once."""

import struct
import zlib
from functools import cache
from typing import Any

import numpy as np

_STEP = 16
"""Rows of background at the top are compressed once for each multiple of so many."""


def encode_png(label_map: np.ndarray) -> bytes:
    """A label map, uint8 (H, W), as an 8-bit grey PNG, without filters and compressed by runs."""
    height, width = label_map.shape
    lines = np.zeros((height, width + 1), np.uint8)  # each begins with its filter: 0, none
    lines[:, 1:] = label_map
    covered = label_map.any(axis=1)
    top = int(covered.argmax()) if covered.any() else height
    top -= top % _STEP
    primed, begun = _background(top, width)
    compressor = primed.copy()
    data = begun + compressor.compress(lines[top:].tobytes()) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@cache
def _background(rows: int, width: int) -> tuple[Any, bytes]:
    """A compressor that has seen rows of background, and what it gave out so far."""
    compressor = zlib.compressobj(1, strategy=zlib.Z_RLE)
    return compressor, compressor.compress(bytes(rows * (width + 1)))
