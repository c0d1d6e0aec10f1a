"""Image files: size and orientation as displayed, and decoding.

An image is always read as viewers and annotation tools display it, with its EXIF orientation applied.
"""

import io
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.datasets.image_headers import (
    JPEG_SIGNATURE,
    MOST_PIXELS,
    ImageError,
    ImageHeader,
    read_header,
)
from lgad_pipeline.datasets.safe_io import open_regular, read_regular
from lgad_pipeline.errors import LgadError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_MOST_BYTES = 4 * MOST_PIXELS
_FIRST_READ = 4096  # bytes; holds the header of most JPEG files, so that one read is enough
_FILLED = 128  # grey level of the pixels for which a JPEG decoder has no data
_TAIL = 20  # a JPEG is searched for an early end if this part of its width, 1/20, is filled at the end
_MARKER = re.compile(rb"\xff+[^\x00\xff]", re.DOTALL)
_MORE_DATA = bytes(range(1, 255, 4))
_LEAST_RANGE = 1 << 14  # lower limit on the largest value of 16-bit images; 14 bits stored unscaled are below
_USUAL = 99.99  # percent of the values that count for it; the rest can be defective pixels of the sensor

_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: cv2.flip(image, 1),
    3: lambda image: cv2.flip(image, -1),
    4: lambda image: cv2.flip(image, 0),
    5: cv2.transpose,
    6: lambda image: cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE),
    7: lambda image: cv2.flip(cv2.transpose(image), -1),
    8: lambda image: cv2.rotate(image, cv2.ROTATE_90_COUNTERCLOCKWISE),
}


def image_size(source: Path | bytes) -> tuple[int, int]:
    """Return the size of a JPEG or PNG image as it is displayed, from its headers; nothing is decoded.

    Args:
        source: path of the file, of which only the headers are read; or the bytes of the file.

    Returns:
        (H, W) after the EXIF orientation is applied, pixels.

    Raises:
        ImageError: the file is missing, is neither JPEG nor PNG, has a damaged header, or states no pixels or
            more than any camera's image has.
    """
    if isinstance(source, bytes):
        return read_header(io.BytesIO(source)).displayed
    try:
        with open_regular(source) as stream:
            start = os.read(stream.fileno(), _FIRST_READ)
            with suppress(ImageError):  # The header may be longer than the first read, so it is read again.
                if start.startswith(JPEG_SIGNATURE):
                    return read_header(io.BytesIO(start)).displayed
            stream.seek(0)
            return read_header(stream).displayed
    except (OSError, LgadError) as error:
        raise _named(source, error) from error


def whole_image_size(data: bytes) -> tuple[int, int]:
    """Return the size (H, W), pixels, of a JPEG or PNG image as displayed; refuse one that is cut off.

    Raises:
        ImageError: see `image_size`; or the image is cut off before its end.
    """
    return image_header(data).displayed


def image_header(data: bytes) -> ImageHeader:
    """Read the headers of a complete JPEG or PNG image.

    A decoder fills the missing part of a cut-off JPEG with gray and reports no error, so this function checks
    that the image has its end.

    Args:
        data: bytes of the file.

    Raises:
        ImageError: see `image_size`; or the image is cut off before its end.
    """
    header = read_header(io.BytesIO(data))
    if not header.whole:
        raise ImageError("is cut off before its end; copy the frame again or take it out of the lists")
    return header


def image_orientation(data: bytes) -> int:
    """Return the EXIF orientation of a JPEG or PNG image, 1..8; 1 (upright) where none is stated.

    Raises:
        ImageError: see `image_size`.
    """
    return read_header(io.BytesIO(data)).orientation


def read_image(source: Path | bytes) -> np.ndarray:
    """Decode a JPEG or PNG image and apply its EXIF orientation.

    Args:
        source: path or bytes of the file.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ImageError: see `image_size`; or the image is cut off, cannot be decoded, or has 16 bits per channel
            of which the upper ones are not used.
    """
    if isinstance(source, bytes):
        return _decode(source, cv2.IMREAD_COLOR_RGB)
    try:
        return _decode(read_regular(source, _MOST_BYTES), cv2.IMREAD_COLOR_RGB)
    except (OSError, LgadError) as error:
        raise _named(source, error) from error


def read_small(data: bytes, header: ImageHeader | None = None) -> np.ndarray:
    """Decode a JPEG or PNG image to uint8 (H/8, W/8), gray; a JPEG is decoded at this reduced size only.

    Args:
        data: bytes of the file.
        header: result of `image_header` for `data`; None: the headers are read here.

    Raises:
        ImageError: see `read_image`.
    """
    return _decode(data, cv2.IMREAD_REDUCED_GRAYSCALE_8, header)


def _named(path: Path, error: Exception) -> ImageError:
    if isinstance(error, OSError):
        return ImageError(f"{path} cannot be read ({error.strerror}); correct the path.")
    return ImageError(f"{path} {error}.")


def _decode(data: bytes, flags: int, header: ImageHeader | None = None) -> np.ndarray:
    header = header or image_header(data)
    pixels = np.frombuffer(data, np.uint8)
    try:
        refuse_unscaled(data, header)
        image = cv2.imdecode(pixels, flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise ImageError("cannot be decoded; restore the frame or take it out of the lists")
    tail = image[-1, -max(image.shape[1] // _TAIL, 1) :]
    if header.scan and (tail == _FILLED).all() and _ended_early(data, header.scan, flags, image):
        raise ImageError(
            "is damaged: its data end before the picture does, and the rest is grey; copy the frame again or "
            "take it out of the lists"
        )
    turn = _TURNS.get(header.orientation)
    return turn(image) if turn else image


def _ended_early(data: bytes, scan: int, flags: int, image: np.ndarray) -> bool:
    """Return True if a JPEG decoder ran out of data before the last pixel.

    The decoder fills the rest with grey, and OpenCV reports no error. Here bytes are added in front of every
    marker. In a sound file the decoder has all pixels before a marker and skips the bytes; otherwise it
    decodes them, and the picture changes.

    Args:
        data: bytes of the file.
        scan: offset of the first scan, bytes.
        flags: flags of `cv2.imdecode`.
        image: result of decoding `data`.
    """
    longer = data[:scan] + _MARKER.sub(lambda marker: _MORE_DATA + marker[0], data[scan:])
    try:
        extended = cv2.imdecode(np.frombuffer(longer, np.uint8), flags | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return False
    return extended is not None and not np.array_equal(extended, image)


def refuse_unscaled(data: bytes, header: ImageHeader | None = None) -> None:
    """Refuse 10, 12 or 14 bits in the lower bits of 16, because such a frame is nearly black in 8 bits.

    Args:
        data: bytes of a JPEG or PNG file.
        header: result of `image_header` for `data`; None: the headers are read here.

    Raises:
        ImageError: the image has 16 bits per channel, but apart from opacity and single pixels no value that
            uses the upper two bits.
    """
    if (header or image_header(data)).bits != 16:
        return
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION  # without opacity
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        return
    largest = int(np.percentile(image, _USUAL, method="lower"))
    if largest < _LEAST_RANGE:
        raise ImageError(
            f"has 16 bits a channel but, apart from single pixels, no value above {largest} of 65535, so it "
            "would be nearly black; scale it to the full range or save it with 8 bits"
        )
