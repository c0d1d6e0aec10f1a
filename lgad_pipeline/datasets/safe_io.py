"""Reading files that a list names, without leaving the data set's root."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes import text_lines
from lgad_pipeline.lanes.lane_files import resolve_inside
from lgad_pipeline.lanes.text_encoding import detect_encoding

_MOST_ENTRIES = 2_000_000  # of a list; the largest published one has 90,000
_PIECE = 1 << 16  # characters


def read_inside(root: Path, relative: str, limit: int, follow_links: bool = False) -> bytes:
    """Bytes of the regular file `relative` below `root`.

    Args:
        root: the data set's folder.
        relative: path below it.
        limit: the most bytes that such a file may have.
        follow_links: links may lead out of `root`; else they must stay below it.

    Raises:
        FileNotFoundError: there is no such file.
        LgadError: it is outside `root`, is not a regular file, is larger than `limit`, or cannot be read.
            The sentence leaves the file's name to the caller.
    """
    try:
        path = resolve_inside(root, relative) if follow_links else _followed(root, relative)
        return read_regular(path, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LgadError(f"cannot be read ({error.strerror}); check the file and its permissions") from error


def read_regular(path: Path, limit: int) -> bytes:
    """Bytes of a regular file of at most `limit` bytes.

    Raises:
        OSError: it cannot be read.
        LgadError: it is not a regular file, or is larger. The sentence leaves the file's name to the caller.
    """
    with open_regular(path) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > limit:
            raise LgadError(f"has {size} bytes, more than the {limit} of a sound one; restore the file")
        return stream.read(limit)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be read.
        LgadError: it is not a regular file. The sentence leaves the file's name to the caller.
    """
    # Without O_NONBLOCK a named pipe would keep the reader waiting for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LgadError("is not a regular file; put the file itself there")
    return os.fdopen(descriptor, "rb")


def list_inside(root: Path, name: str) -> Path:
    """The list `name` below `root`, to be opened.

    Raises:
        LgadError: it is outside `root` by a link.
    """
    try:
        return _followed(root, name)
    except LgadError as error:
        raise LgadError(f"{root / name} {error}.") from error


def _followed(root: Path, relative: str) -> Path:
    # Unlike Path.resolve, realpath leaves a loop of links to `open`, which says so.
    path = Path(os.path.realpath(resolve_inside(root, relative)))
    if not path.is_relative_to(os.path.realpath(root)):
        raise LgadError(
            "leads out of the data root by a link; put the file itself there, or set `follow_links: true` of "
            "the data set"
        )
    return path


def frame_limit(frame_size: tuple[int, int]) -> int:
    """The most bytes that a compressed frame of (H, W) pixels may have: what it has uncompressed."""
    height, width = frame_size
    return 4 * height * width + (1 << 16)


def numbered_lines(root: Path, name: str, limit: int) -> Iterator[tuple[int, bytes]]:
    """Number and content of the lines of a file below `root`, as `lanes.text_lines` gives them.

    Raises:
        LgadError: the file is outside `root` by a link, cannot be read, or has too many lines.
    """
    return text_lines.numbered_lines(list_inside(root, name), limit)


def open_text(path: Path, errors: str = "strict") -> TextIO:
    """Open a UTF-8 or UTF-16 file for reading; a byte order mark is skipped."""
    with path.open("rb") as stream:
        encoding = detect_encoding(stream.read(_PIECE))
    return path.open(encoding=encoding, errors=errors)


def json_objects(root: Path, name: str, limit: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line and value of each object in a JSON list, one after the other: lists are larger than the memory.

    Args:
        root: the data set's folder.
        name: the file below it, UTF-8 or UTF-16.
        limit: about how many characters one object may have.

    Raises:
        LgadError: the file is outside `root`, is no JSON list of objects, is cut off, or cannot be read.
    """
    path = list_inside(root, name)
    decoder, line, buffer, wanted, count = json.JSONDecoder(), 1, "", "[", 0
    try:
        with open_text(path) as stream:
            while True:
                rest = buffer.lstrip()
                line += buffer.count("\n", 0, len(buffer) - len(rest))
                buffer = rest or stream.read(_PIECE)
                if not buffer:
                    raise ValueError
                if not rest:
                    continue
                if buffer[0] not in wanted:
                    raise ValueError
                if buffer[0] == "]":
                    return
                if buffer[0] != "{":
                    wanted = "{]" if wanted == "[" else "{"
                    buffer = buffer[1:]
                    continue
                try:
                    value, end = decoder.raw_decode(buffer)
                except ValueError:
                    # As it is cut off so far; doubling keeps the repeated decoding linear.
                    piece = stream.read(max(_PIECE, len(buffer))) if len(buffer) <= limit else ""
                    if not piece:
                        raise
                    buffer += piece
                    continue
                count += 1
                _refuse_endless(count, path)
                yield line, value
                line += buffer.count("\n", 0, end)
                buffer, wanted = buffer[end:], ",]"
    except (ValueError, RecursionError) as error:
        raise LgadError(
            f"{path} is no JSON list of objects in line {line}, or cut off there; download it again."
        ) from error
    except OSError as error:
        raise LgadError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


def _refuse_endless(count: int, path: Path) -> None:
    if count > _MOST_ENTRIES:
        raise LgadError(f"{path} has more than {_MOST_ENTRIES:,} entries; divide the data set.")
