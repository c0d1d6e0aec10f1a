"""Image files: what their bytes say before anything is decoded, and the decoding."""

import cv2
import numpy as np

from lgad_pipeline.errors import LgadError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_MOST_PIXELS = 1 << 27  # 134 megapixels
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"IEND\xaeB`\x82"
_JPEG_END = b"\xff\xd9"
_START_OF_SCAN = 0xDA
# Start-of-frame markers C0..CF; C4, C8 and CC in the same range mean tables and extensions.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class ImageError(LgadError):
    """An image file that cannot be used; the sentence leaves the file's name to the caller."""


def image_size(data: bytes) -> tuple[int, int]:
    """Size of a complete JPEG or PNG file, from its header alone.

    `cv2.imdecode` fills the missing part of a cut-off JPEG with grey and says nothing, so the end is looked
    for.

    Args:
        data: the file's bytes.

    Returns:
        (H, W) in pixels as the header claims; nothing has been decoded or allocated.

    Raises:
        ImageError: neither JPEG nor PNG, damaged header, cut off before its end, or larger than any camera's.
    """
    if data.startswith(_PNG_SIGNATURE):
        height, width = _png_size(data)
    elif data.startswith(b"\xff\xd8"):
        height, width = _jpeg_size(data)
    else:
        raise ImageError("is neither a JPEG nor a PNG image; restore the frame or take it out of the lists")
    if height * width > _MOST_PIXELS:
        raise ImageError(f"claims to be {width} x {height} px, more than any camera's; restore the frame")
    return height, width


def decode_image(data: bytes) -> np.ndarray:
    """Decode a JPEG or PNG file to uint8 (H, W, 3), RGB, in the orientation in which it is stored.

    Raises:
        ImageError: the bytes cannot be decoded.
    """
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("cannot be decoded; restore the frame or take it out of the lists")
    return image


def decode_small(data: bytes) -> np.ndarray:
    """Decode a JPEG or PNG file to uint8 (H/8, W/8), grey: of a JPEG, no more than that is computed.

    Raises:
        ImageError: the bytes cannot be decoded.
    """
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_REDUCED_GRAYSCALE_8)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("cannot be decoded; restore the frame or take it out of the lists")
    return image


def _png_size(data: bytes) -> tuple[int, int]:
    if len(data) < 24 or not data.rstrip(b"\0").endswith(_PNG_END):
        raise ImageError("is cut off before its end; copy the frame again or take it out of the lists")
    return int.from_bytes(data[20:24]), int.from_bytes(data[16:20])


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the segments (marker, length, payload) of ITU T.81 annex B up to the first scan."""
    size = None
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            raise ImageError("has a damaged JPEG header; copy the frame again or take it out of the lists")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte before a marker
            position += 1
            continue
        if marker == _START_OF_SCAN:
            break
        if marker in _START_OF_FRAME and position + 9 <= len(data):
            size = (
                int.from_bytes(data[position + 5 : position + 7]),
                int.from_bytes(data[position + 7 : position + 9]),
            )
        position += 2 + max(int.from_bytes(data[position + 2 : position + 4]), 2)
    # Inside a scan every FF is followed by 00 or a restart marker, so FF D9 can only be the end of the image.
    if size is None or data.rfind(_JPEG_END, position) < 0:
        raise ImageError("is cut off before its end; copy the frame again or take it out of the lists")
    return size
