"""Safe reading of files that a list names: regular files of limited size inside the data set's root."""

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes import text_lines
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.lanes.text_encoding import detect_encoding

_MOST_ENTRIES = 2_000_000  # entries of a list; the largest published list has 90,000
_PIECE = 1 << 16  # characters


def read_inside(root: Path, relative: str, *, limit: int, follow_links: bool = False) -> bytes:
    """Read the regular file `relative` below `root`.

    Args:
        root: root directory of the data set.
        relative: path of the file relative to `root`.
        limit: maximum size of the file, bytes.
        follow_links: True if links may lead out of `root`; if False, such files are refused.

    Raises:
        FileNotFoundError: there is no such file.
        LgadError: the file is outside `root`, is not a regular file, is larger than `limit`, or cannot be
            read. The caller adds the file's name to the message.
    """
    try:
        path = resolve_inside(root, relative) if follow_links else _followed(root, relative)
        return read_regular(path, limit)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise LgadError(f"cannot be read ({error.strerror}); check the file and its permissions") from error


def read_regular(path: Path, limit: int) -> bytes:
    """Read a regular file of at most `limit` bytes.

    Raises:
        OSError: the file cannot be read.
        LgadError: it is not a regular file, or is larger than `limit`. The caller adds the file's name to
            the message.
    """
    with open_regular(path) as stream:
        if (size := os.fstat(stream.fileno()).st_size) > limit:
            raise LgadError(f"has {size} bytes, more than the {limit} that are allowed; restore the file")
        return stream.read(limit)


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading.

    Raises:
        OSError: the file cannot be read.
        LgadError: it is not a regular file. The caller adds the file's name to the message.
    """
    # Opening a named pipe without a writer blocks, so O_NONBLOCK is set.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise LgadError("is not a regular file; put the file itself there")
    return os.fdopen(descriptor, "rb")


def list_inside(root: Path, name: str) -> Path:
    """Return the resolved path of the list `name` below `root`.

    Raises:
        LgadError: the list is outside `root`, for example through a link.
    """
    try:
        return _followed(root, name)
    except LgadError as error:
        raise LgadError(f"{root / name} {error}.") from error


def _followed(root: Path, relative: str) -> Path:
    path = resolve_inside(root, relative)
    if not _has_link(root, relative):
        return path
    # Path.resolve may raise on a loop of links; realpath does not, so that `open` reports the loop.
    path = Path(os.path.realpath(path))
    if not path.is_relative_to(os.path.realpath(root)):
        raise LgadError(
            "leads out of the data root by a link; put the file itself there, or set `follow_links: true` of "
            "the data set (--follow-links of lgad import and lgad export-annotations)"
        )
    return path


def _has_link(root: Path, relative: str) -> bool:
    """Return True if the file, or a directory between it and `root`, is a link; faster than realpath."""
    path = str(root)
    for part in relative.strip("/").split("/"):
        path = f"{path}/{part}"
        try:
            if stat.S_ISLNK(os.lstat(path).st_mode):
                return True
        except OSError:  # reported when the file is opened
            return False
    return False


def frame_limit(frame_size: tuple[int, int]) -> int:
    """Return the maximum file size of a frame of (H, W) pixels, bytes: 8 bytes per pixel and 64 KiB.

    A PNG of four channels with 16 bits has 8 bytes per pixel before it is compressed.
    """
    height, width = frame_size
    return 8 * height * width + (1 << 16)


def numbered_lines(root: Path, name: str, *, limit: int) -> Iterator[tuple[int, bytes]]:
    """Iterate over line number and content of a file below `root`, see `lanes.text_lines.numbered_lines`.

    Args:
        root: root directory of the data set.
        name: path of the file relative to `root`.
        limit: limit on the length of a line, bytes, see `lanes.text_lines.numbered_lines`.

    Raises:
        LgadError: the file is outside `root`, cannot be read, or has too many lines.
    """
    return text_lines.numbered_lines(list_inside(root, name), limit)


def open_text(path: Path, errors: str = "strict") -> TextIO:
    """Open a UTF-8 or UTF-16 file for reading; a byte order mark is skipped."""
    with path.open("rb") as stream:
        encoding = detect_encoding(stream.read(_PIECE))
    return path.open(encoding=encoding, errors=errors)


def json_objects(
    root: Path, name: str, *, limit: int, unlisted: bool = False
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the objects of a JSON file without loading it whole, because lists can exceed the memory.

    Args:
        root: root directory of the data set.
        name: path of the file relative to `root`; UTF-8 or UTF-16.
        limit: approximate maximum length of one object, characters.
        unlisted: also accept objects one after another, over any number of lines, without the brackets of a
            list.

    Yields:
        Line number of the object's start, from 1, and the object.

    Raises:
        LgadError: the file is outside `root`, is not a JSON list of objects, is cut off, or cannot be read.
    """
    path = list_inside(root, name)
    opening, following = "[{" if unlisted else "[", ",]"
    decoder, line, buffer, wanted, count = json.JSONDecoder(), 1, "", opening, 0
    try:
        with open_text(path) as stream:
            while True:
                rest = buffer.lstrip()
                line += buffer.count("\n", 0, len(buffer) - len(rest))
                buffer = rest or stream.read(_PIECE)
                if not buffer and wanted == ",{":  # the end of objects that no brackets surround
                    return
                if not buffer:
                    raise ValueError
                if not rest:
                    continue
                if buffer[0] not in wanted:
                    raise ValueError
                if buffer[0] == "]":
                    return
                if buffer[0] != "{":
                    wanted = "{]" if wanted == opening else "{"
                    buffer = buffer[1:]
                    continue
                if wanted == opening:
                    following = ",{"
                try:
                    value, end = decoder.raw_decode(buffer)
                except ValueError:
                    # The buffer may end inside the object, so more is read; doubling the buffer keeps the
                    # total cost of the repeated decoding linear.
                    piece = stream.read(max(_PIECE, len(buffer))) if len(buffer) <= limit else ""
                    if not piece:
                        raise
                    buffer += piece
                    continue
                count += 1
                _refuse_endless(count, path)
                yield line, value
                line += buffer.count("\n", 0, end)
                buffer, wanted = buffer[end:], following
    except (ValueError, RecursionError) as error:
        raise LgadError(
            f"{path} is not a JSON list of objects in line {line}, or cut off there; download it again."
        ) from error
    except OSError as error:
        raise LgadError(f"{path} cannot be read ({error.strerror}); check its permissions.") from error


def _refuse_endless(count: int, path: Path) -> None:
    if count > _MOST_ENTRIES:
        raise LgadError(f"{path} has more than {_MOST_ENTRIES:,} entries; divide the data set.")
