"""CULane as it is downloaded: `.tar.gz` archives, unpacked with nothing trusted that they say."""

import errno
import gzip
import json
import os
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from lgad_pipeline.data.entries import SetAside
from lgad_pipeline.data.images import IMAGE_SUFFIXES
from lgad_pipeline.data.reading import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path, remove_left_overs, write_text

Progress = Callable[[int, int], None]

_NOTES = ".unpacked"
_SUFFIXES = (*IMAGE_SUFFIXES, ".txt")
_MEMBER_LIMIT = 32 << 20  # bytes; a published frame has less than 1 MB, the longest list 8 MB
_HEADER_LIMIT = 1 << 20  # bytes between two members
_EXPANSION = 100  # times the archive's size; frames hardly expand, the repetitive lists some twentyfold
_NAME_LIMIT = 200  # bytes of a part of a path, so that a name beside it still fits
_CLASHES = (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENOTEMPTY)


@dataclass(frozen=True)
class Unpacked:
    """What became of a folder of archives.

    Attributes:
        files: files that the archives hold and that now lie below the output.
        set_aside: archive, None, what of it was not unpacked and why.
        whole: no archive was cut off, damaged or hostile as a whole.
    """

    files: int
    set_aside: list[SetAside]
    whole: bool


def unpack(source: Path, output: Path, progress: Progress | None = None) -> Unpacked:
    """Unpack every `.tar.gz` of a folder into `output`: frames, label maps, lane files and lists.

    Archives are unpacked in the order of their names, but `annotations*` last: CULane's corrects lane files
    that lie beside the frames. A file that is there with the same bytes is left as it is, another one is
    replaced in one step, and an archive that is through is noted, so that a killed run goes on where it was
    and a second one does nothing.

    Links, devices, absolute paths, paths that lead out, and other files than images and texts are set aside.
    An archive that holds more than a hundred times its own size, or is damaged, is left at that point.

    Args:
        source: folder of the archives.
        output: folder to unpack into; may be `source`.
        progress: called as progress(bytes read, bytes of all archives).

    Raises:
        LgadError: there is no archive, or `output` cannot be written to.
    """
    archives = sorted(source.glob("*.tar.gz"), key=lambda path: (path.name.startswith("annotations"), path))
    if not archives:
        raise LgadError(f"{source} holds no .tar.gz; name the folder of the downloaded archives.")
    total = sum(path.stat().st_size for path in archives)
    files, set_aside, whole, fresh, before = 0, [], True, True, 0
    for archive in archives:
        status = archive.stat()
        stamp = [status.st_size, status.st_mtime_ns]
        note = output / _NOTES / f"{archive.name}.json"
        noted = _noted(note, stamp) if fresh else None
        if noted is None:
            if fresh:
                fresh = False  # what was unpacked before may correct it: it is unpacked again, too
                remove_left_overs(output.rglob(".*.part"))
            note.unlink(missing_ok=True)
            count, refused, fault = _unpack_one(archive, output, before, total, progress)
            if fault:
                whole = False
                set_aside.append((archive.name, None, fault))
            else:
                write_text(note, json.dumps({"stamp": stamp, "files": count, "set_aside": refused}) + "\n")
        else:
            count, refused = noted
        files += count
        set_aside += [(archive.name, None, reason) for reason in refused]
        before += status.st_size
        if progress is not None:
            progress(before, total)
    return Unpacked(files, set_aside, whole)


def _noted(note: Path, stamp: list[int]) -> tuple[int, list[str]] | None:
    """Files and reasons of an archive that is through and has not changed since."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        return (content["files"], content["set_aside"]) if content["stamp"] == stamp else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _unpack_one(
    archive: Path, output: Path, before: int, total: int, progress: Progress | None
) -> tuple[int, list[str], str]:
    """Files unpacked, reasons of what was set aside, and why the archive was left, if it was."""
    count, refused = 0, []
    with archive.open("rb") as compressed:
        stream = _Bounded(compressed, _EXPANSION * archive.stat().st_size + _HEADER_LIMIT)
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:  # type: ignore[arg-type]
                while (member := tar.next()) is not None:
                    tar.members.clear()  # or every header would stay in memory
                    stream.since = 0
                    reason = _unpack_member(tar, member, output)
                    if reason:
                        refused.append(f"{_shown(member.name)} {reason}")
                    elif member.isreg():
                        count += 1
                    if progress is not None:
                        progress(before + compressed.tell(), total)
            while stream.read(1 << 16):  # to the end, where the checksum is
                pass
        except _Hostile as error:
            return count, refused, str(error)
        except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, RecursionError) as error:
            if isinstance(error, OSError) and not isinstance(error, gzip.BadGzipFile):
                raise
            return count, refused, f"is cut off or damaged ({error}); download it again"
    return count, refused, ""


def _unpack_member(tar: tarfile.TarFile, member: tarfile.TarInfo, output: Path) -> str:
    """Write one member below `output`; the reason if it was set aside."""
    if member.isdir():
        return ""  # made when a file lies in it
    path = PurePosixPath(member.name)
    if not member.isreg() or member.issparse():
        return "is a link, a device or no plain file"
    if path.is_absolute() or ".." in path.parts or not member.name.isprintable():
        return "leads out of the folder or holds control characters"
    if path.suffix.lower() not in _SUFFIXES or max(len(part.encode()) for part in path.parts) > _NAME_LIMIT:
        return f"is called like no {', '.join(_SUFFIXES)} file"
    if member.size > _MEMBER_LIMIT:
        raise _Hostile(f"holds {member.size} bytes as {member.name}, more than any frame; download it again")
    stream = tar.extractfile(member)
    content = stream.read() if stream else b""
    if len(content) != member.size:
        raise EOFError(f"{member.name} is not whole")
    target = output / path
    if not Path(os.path.realpath(target.parent)).is_relative_to(os.path.realpath(output)):
        return "leads out of the folder by a link that lies there"
    try:
        if not _is_there(output, str(path), content):
            with atomic_path(target, durable=False) as beside:
                beside.write_bytes(content)
    except OSError as error:
        if error.errno not in _CLASHES:
            raise
        return "is called like a folder that is there, or lies in one called like a file"
    return ""


def _is_there(output: Path, path: str, content: bytes) -> bool:
    try:
        return read_inside(output, path, len(content)) == content
    except (OSError, LgadError):
        return False


def _shown(name: str) -> str:
    """A member's name as it may be printed and stored."""
    return name.encode("unicode_escape").decode()[:200]


class _Hostile(Exception):
    """An archive that asks for more than a sound one."""


class _Bounded:
    """The unpacked bytes of an archive, no more of them in all and between two members than it may have."""

    def __init__(self, compressed: BinaryIO, limit: int) -> None:
        self.since = 0
        self._left = limit
        self._stream = gzip.GzipFile(fileobj=compressed)

    def read(self, count: int) -> bytes:
        """Up to `count` bytes."""
        data = self._stream.read(count)
        self.since += len(data)
        self._left -= len(data)
        if self._left < 0:
            raise _Hostile(f"unpacks to more than {_EXPANSION} times its size; download it again")
        if self.since > _MEMBER_LIMIT + _HEADER_LIMIT:
            raise _Hostile("has a header or a member larger than any frame; download it again")
        return data


class _Header(tarfile.TarInfo):
    """A member's header; where tarfile takes a damaged or missing one for the end, it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
