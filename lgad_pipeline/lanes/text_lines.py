"""Lines of text files, whatever program wrote them."""

import codecs
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lgad_pipeline.lanes.lane_files import LaneFileError
from lgad_pipeline.lanes.text_encoding import detect_encoding

_MOST_LINES = 2_000_000  # the largest published list has 90,000
_PIECE = 1 << 16  # bytes read at once
_BLANKS = b" \t\v\f"


def numbered_lines(path: Path, limit: int) -> Iterator[tuple[int, bytes]]:
    """Number, from 1, and content of each line that is not blank, as UTF-8 without surrounding blanks.

    LF, CR LF and CR end a line; a byte order mark is removed and UTF-16 is converted.

    Args:
        path: the file.
        limit: bytes of the longest sound line. Of a longer one only the first `limit` + 1 bytes are given.

    Raises:
        LaneFileError: the file cannot be read, is a broken UTF-16 text, or has too many lines.
    """
    try:
        yield from _numbered(path, limit)
    except OSError as error:
        raise LaneFileError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
    except UnicodeError as error:
        raise LaneFileError(f"{path} is no whole UTF-16 text; save the list as UTF-8.") from error


def _numbered(path: Path, limit: int) -> Iterator[tuple[int, bytes]]:
    number, rest, after_return = 1, b"", False
    for piece in _pieces(path):
        if after_return and piece.startswith(b"\n"):  # CR LF across two pieces
            piece = piece[1:]
        after_return = piece.endswith(b"\r") if piece else after_return
        lines = (rest + piece).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop()[: limit + 1]
        for line in lines:
            if sound := _content(line, limit):
                yield number, sound
            number += 1
        if number > _MOST_LINES + 1:
            raise LaneFileError(f"{path} has more than {_MOST_LINES:,} entries; divide the data set.")
    if sound := _content(rest, limit):
        yield number, sound


def _content(line: bytes, limit: int) -> bytes:
    return line[: limit + 1] if len(line) > limit else line.strip(_BLANKS)


def _pieces(path: Path) -> Iterator[bytes]:
    """The content as UTF-8, in pieces."""
    with path.open("rb") as stream:
        if stat.S_ISDIR(os.fstat(stream.fileno()).st_mode):
            raise IsADirectoryError(None, "Is a directory")
        start = stream.read(_PIECE)
        encoding = detect_encoding(start)
        if encoding == "utf-8-sig":
            yield start.removeprefix(codecs.BOM_UTF8)
            while piece := stream.read(_PIECE):
                yield piece
            return
        decoder = codecs.getincrementaldecoder(encoding)()
        while start:
            yield decoder.decode(start).encode()
            start = stream.read(_PIECE)
        decoder.decode(b"", final=True)
