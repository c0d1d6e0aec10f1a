"""Matroska files with frames at any times; OpenCV's writer has a constant rate."""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np


def write_matroska(path: Path, pictures: Sequence[np.ndarray], times: Sequence[int]) -> Path:
    """Write JPEG frames with their times in milliseconds; the stated duration is 40 ms more than the last."""
    blocks = []
    for image, time in zip(pictures, times, strict=True):
        data = cv2.imencode(".jpg", image)[1].tobytes()
        blocks.append(_element("a3", b"\x81" + struct.pack(">hB", time, 0x80) + data))
    height, width = pictures[0].shape[:2]
    head = _element("1a45dfa3", _text("4282", "matroska"), _number("4287", 4), _number("4285", 2))
    info = _element(
        "1549a966", _number("2ad7b1", 1_000_000), _element("4489", struct.pack(">d", times[-1] + 40))
    )
    video = _element("e0", _number("b0", width), _number("ba", height))
    track = _element(
        "ae", _number("d7", 1), _number("73c5", 1), _number("83", 1), _text("86", "V_MJPEG"), video
    )
    cluster = _element("1f43b675", _number("e7", 0), *blocks)
    path.write_bytes(head + _element("18538067", info, _element("1654ae6b", track), cluster))
    return path


def _element(identity: str, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return bytes.fromhex(identity) + struct.pack(">Q", 1 << 56 | len(content)) + content


def _number(identity: str, value: int) -> bytes:
    return _element(identity, struct.pack(">Q", value))


def _text(identity: str, value: str) -> bytes:
    return _element(identity, value.encode())
