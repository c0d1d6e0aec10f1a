"""Numbered lines of text files in any encoding and with any line ending, read in blocks of limited size."""

import codecs
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lgad_pipeline.lanes.lane_files import LaneFileError
from lgad_pipeline.lanes.text_encoding import detect_encoding

_MAX_LINES = 2_000_000  # the largest published list has 90,000
_BLOCK = 1 << 16  # bytes read at once
_BLANKS = b" \t\v\f"


def numbered_lines(path: Path, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield the number (from 1) and the content of each line that is not blank.

    LF, CR LF and CR end a line. The content is UTF-8 without a byte order mark and surrounding blanks; UTF-16
    is converted.

    Args:
        path: text file to read.
        limit: length of the longest valid line, bytes. A longer line is cut to its first `limit` + 1 bytes,
            by which the caller recognizes it.

    Raises:
        LaneFileError: the file cannot be read, is invalid UTF-16, or has too many lines.
    """
    try:
        yield from _numbered(path, limit)
    except OSError as error:
        raise LaneFileError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
    except UnicodeError as error:
        raise LaneFileError(f"{path} is not a whole UTF-16 text; save the list as UTF-8.") from error


def _numbered(path: Path, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield what `numbered_lines` yields; raise OSError and UnicodeError as they come."""
    number, rest, after_return = 1, b"", False
    for block in _blocks(path):
        if after_return and block.startswith(b"\n"):  # CR LF across two blocks
            block = block[1:]
        after_return = block.endswith(b"\r") if block else after_return
        lines = (rest + block).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        rest = lines.pop()[: limit + 1]
        for line in lines:
            if content := _strip(line, limit):
                yield number, content
            number += 1
        if number > _MAX_LINES + 1:
            raise LaneFileError(f"{path} has more than {_MAX_LINES:,} entries; divide the data set.")
    if content := _strip(rest, limit):
        yield number, content


def _strip(line: bytes, limit: int) -> bytes:
    """Strip surrounding blanks, or cut a line that is too long to `limit` + 1 bytes."""
    return line[: limit + 1] if len(line) > limit else line.strip(_BLANKS)


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield the content of the file as UTF-8, in blocks."""
    with path.open("rb") as stream:
        if stat.S_ISDIR(os.fstat(stream.fileno()).st_mode):
            raise IsADirectoryError(None, "Is a directory")
        start = stream.read(_BLOCK)
        encoding = detect_encoding(start)
        if encoding == "utf-8-sig":
            yield start.removeprefix(codecs.BOM_UTF8)
            while block := stream.read(_BLOCK):
                yield block
            return
        decoder = codecs.getincrementaldecoder(encoding)()
        while start:
            yield decoder.decode(start).encode()
            start = stream.read(_BLOCK)
        decoder.decode(b"", final=True)
