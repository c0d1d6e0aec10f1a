"""Headers of JPEG and PNG files: size, bits and EXIF orientation."""

import io
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from lgad_pipeline.errors import LgadError

MOST_PIXELS = 1 << 27  # 134 megapixels
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_SIGNATURE = b"\xff\xd8"
_EXIF_SIGNATURE = b"Exif\0\0"
_JPEG_END = b"\xff\xd9"
_APP1, _START_OF_SCAN = 0xE1, 0xDA
# Start-of-frame markers C0..CF; C4, C8 and CC in the same range mean tables and extensions.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_ORIENTATION_TAG = 0x0112
_OTHER_FORMATS = (  # name, signature, offset of the signature in bytes
    ("WebP", b"WEBP", 8),
    ("BMP", b"BM", 0),
    ("GIF", b"GIF8", 0),
    ("TIFF", b"II*\0", 0),
    ("TIFF", b"MM\0*", 0),
    ("HEIC or AVIF", b"ftyp", 4),
    ("JPEG 2000", b"jP  ", 4),
)
_SIDES_SWAPPED = (5, 6, 7, 8)


class ImageError(LgadError):
    """Error of an image that cannot be used.

    The message names the file if the image was given as a path; else the caller adds the file's name.
    """


class ImageHeader(NamedTuple):
    """Properties that an image's headers state.

    Attributes:
        height: height as stored, before the EXIF orientation is applied, pixels.
        width: width as stored, before the EXIF orientation is applied, pixels.
        orientation: EXIF orientation, 1..8.
        bits: bits per channel.
        whole: True if the end of the image was found; always False for a JPEG file that is read from disk,
            because its end is not searched for.
        scan: offset of the first scan of a JPEG, bytes; 0 for a PNG.
    """

    height: int
    width: int
    orientation: int
    bits: int
    whole: bool
    scan: int = 0

    @property
    def displayed(self) -> tuple[int, int]:
        """Size (H, W) after the EXIF orientation is applied, pixels."""
        return (self.width, self.height) if self.orientation in _SIDES_SWAPPED else (self.height, self.width)


def read_header(stream: BinaryIO) -> ImageHeader:
    """Read the headers of a JPEG or PNG file.

    Args:
        stream: the file, at its start.

    Raises:
        ImageError: the file is neither JPEG nor PNG, has a damaged header, or states no pixels or more than
            any camera's image has.
    """
    start = stream.read(8)
    if start == _PNG_SIGNATURE:
        header = _png_header(stream)
    elif start.startswith(JPEG_SIGNATURE):
        header = _jpeg_header(stream)
    else:
        raise ImageError(_other_content(start + stream.read(8)))
    height, width = header.displayed
    if not height * width:
        raise ImageError("has no pixels; restore the frame or take it out of the lists")
    if height * width > MOST_PIXELS:
        raise ImageError(f"claims to be {width} x {height} px, more than any camera's; restore the frame")
    return header


def _other_content(start: bytes) -> str:
    """Return the reason to reject a file that starts with these bytes, by the format that they indicate."""
    if not start:
        return "is empty; restore the frame or take it out of the lists"
    for name, signature, offset in _OTHER_FORMATS:
        if start[offset:].startswith(signature):
            return f"is a {name} image, whatever its name says; convert it to JPEG or PNG"
    return "is neither a JPEG nor a PNG image; restore the frame or take it out of the lists"


def _png_header(stream: BinaryIO) -> ImageHeader:
    """Walk the chunks (length, name, content, checksum) from the signature to IEND."""
    start = stream.read(25)
    if len(start) < 25 or start[4:8] != b"IHDR":
        raise ImageError("has a damaged PNG header; copy the frame again or take it out of the lists")
    orientation, whole = 1, False
    while len(lead := stream.read(8)) == 8:
        length, name = int.from_bytes(lead[:4]), lead[4:]
        if name == b"IEND":
            whole = len(stream.read(4)) == 4
            break
        if name == b"eXIf" and length < 1 << 16:
            orientation = _orientation(stream.read(length)) or 1
            length = 0
        stream.seek(length + 4, io.SEEK_CUR)
    return ImageHeader(
        int.from_bytes(start[12:16]), int.from_bytes(start[8:12]), orientation, start[16], whole
    )


def _jpeg_header(stream: BinaryIO) -> ImageHeader:
    """Walk the segments (marker, length, payload) of ITU T.81 annex B up to the first scan."""
    size, orientation = (0, 0), None
    stream.seek(2)
    for marker, length in _segments(stream):
        if marker in _START_OF_FRAME and length >= 5:
            frame = stream.read(5)
            size = int.from_bytes(frame[1:3]), int.from_bytes(frame[3:5])
        elif marker == _APP1 and orientation is None and stream.read(6) == _EXIF_SIGNATURE:
            orientation = _orientation(stream.read(max(length - 6, 0)))
        elif marker == _START_OF_SCAN:
            break
    else:
        size = 0, 0
    if size == (0, 0):
        raise ImageError("is cut off before its end; copy the frame again or take it out of the lists")
    # Inside a scan every FF is followed by 00 or a restart marker, so FF D9 can only be the end of the image.
    scan = stream.tell()
    whole = isinstance(stream, io.BytesIO) and stream.getvalue().rfind(_JPEG_END, scan - 2) >= 0
    return ImageHeader(*size, orientation or 1, 8, whole, scan)


def _segments(stream: BinaryIO) -> Iterator[tuple[int, int]]:
    """Iterate over marker and payload length of each segment, the stream at the start of its payload."""
    while len(lead := stream.read(4)) == 4:
        if lead[0] != 0xFF:
            raise ImageError("has a damaged JPEG header; copy the frame again or take it out of the lists")
        if lead[1] == 0xFF:  # fill byte before a marker
            stream.seek(-3, io.SEEK_CUR)
            continue
        length = max(int.from_bytes(lead[2:]) - 2, 0)
        start = stream.tell()
        yield lead[1], length
        stream.seek(start + length)


def _orientation(tiff: bytes) -> int | None:
    """Return the EXIF orientation 1..8 of a TIFF structure; None if it cannot be read, 1 for other values."""
    order = {b"II": "little", b"MM": "big"}.get(tiff[:2])
    if order is None:
        return None

    def number(offset: int, size: int) -> int:
        return int.from_bytes(tiff[offset : offset + size], order)  # type: ignore[arg-type]

    directory = number(4, 4)
    if number(2, 2) != 42 or directory + 2 > len(tiff):
        return None
    for entry in range(directory + 2, min(directory + 2 + 12 * number(directory, 2), len(tiff) - 11), 12):
        if number(entry, 2) == _ORIENTATION_TAG:
            value = number(entry + 8, 2)
            return value if value in range(1, 9) else 1
    return None
