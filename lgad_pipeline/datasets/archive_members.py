"""Members of tar and zip archives, whole or in parts, read under size limits; no archive is trusted."""

import gzip
import io
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple, Self

from lgad_pipeline.datasets.archive_files import Parts
from lgad_pipeline.errors import LgadError

MEMBER_LIMIT = 32 << 20  # bytes; a published frame has less than 1 MB, the longest list 8 MB
_HEADER_LIMIT = 1 << 20  # bytes between two members of a tar archive
_DIRECTORY_LIMIT = 96 << 20  # bytes of the directory of a zip archive; CULane's has about 50 MB
_EXPANSION = 100  # unpacked size / archive size; about 1 for frames, about 20 for the repetitive lists
_GZIP, _ZIP = b"\x1f\x8b", (b"PK\x03\x04", b"PK\x05\x06")
_TAR_MAGIC, _TAR_MAGIC_AT = b"ustar", 257

DAMAGES = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    EOFError,
    ValueError,
    RecursionError,
    NotImplementedError,  # a version of zip that zipfile does not support
)
"""Exceptions that reading a damaged archive raises."""


class ArchiveError(LgadError):
    """Error of a file that is not an archive, or of an archive that exceeds a size limit.

    The message is a predicate without a subject; the caller adds the archive's name.
    """


class Member(NamedTuple):
    """Member of an archive.

    Attributes:
        name: path of the member as the archive states it, not checked.
        folder: True if the member is a folder.
        regular: True if the member is a regular file.
        size: size that the archive states, bytes.
        read: function that returns the member's content.
    """

    name: str
    folder: bool
    regular: bool
    size: int
    read: Callable[[], bytes]


def members(parts: Parts) -> Iterator[Member]:
    """Iterate over the members of an archive in their order.

    The content of a member has to be read, if at all, before the next member is requested.

    Args:
        parts: stream over the archive's parts.

    Raises:
        ArchiveError: the file is not an archive, or exceeds a size limit.
        One of `DAMAGES`: the archive is damaged; raised here or by `Member.read`.
    """
    stream = io.BufferedReader(parts, 1 << 16)
    start = stream.read(512)
    stream.seek(0)
    limit = _EXPANSION * parts.size + _HEADER_LIMIT
    if start.startswith(_ZIP):
        return _zip_members(_Directory(stream), limit)
    if start.startswith(_GZIP):
        return _tar_members(_Bounded(gzip.GzipFile(fileobj=stream), limit))
    if start[_TAR_MAGIC_AT:].startswith(_TAR_MAGIC):
        return _tar_members(_Bounded(stream, limit))
    if start.lstrip()[:1] == b"<":
        raise ArchiveError("is a web page, not an archive; download it again, in a browser that is logged in")
    raise ArchiveError("is not a tar, gzip or zip file; download it again, or unpack it with its own program")


def _tar_members(stream: "_Bounded") -> Iterator[Member]:
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header) as tar:  # type: ignore[arg-type]
        while (info := tar.next()) is not None:
            tar.members.clear()  # tarfile keeps every header, so they are dropped to save memory.
            # What tarfile skips is not kept; `unpack` reads no larger member than a frame.
            stream.since = -max(0, tar.offset - tar.fileobj.tell())  # type: ignore[union-attr]

            def read(info: tarfile.TarInfo = info) -> bytes:
                content = tar.extractfile(info)
                return content.read() if content else b""

            yield Member(info.name, info.isdir(), info.isreg() and not info.issparse(), info.size, read)
    while stream.read(1 << 16):  # gzip checks its checksum at the end, so the rest is read.
        pass


def _zip_members(stream: "_Directory", limit: int) -> Iterator[Member]:
    with zipfile.ZipFile(stream) as archive:  # type: ignore[arg-type]
        for info in archive.infolist():
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ArchiveError(
                    "is encrypted or not compressed by deflate; unpack it with its own program"
                )

            def read(info: zipfile.ZipInfo = info) -> bytes:
                with archive.open(info) as content:
                    return content.read(MEMBER_LIMIT)

            limit -= info.file_size
            if limit < 0:
                raise _too_expanded()
            kind = stat.S_IFMT(info.external_attr >> 16)
            yield Member(info.filename, info.is_dir(), kind in (0, stat.S_IFREG), info.file_size, read)


def _too_expanded() -> ArchiveError:
    return ArchiveError(f"unpacks to more than {_EXPANSION} times its size; download it again")


class _Directory:
    """Stream of a zip archive with a limit on one read, because zipfile reads the directory in one piece."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close
        self.seekable = stream.seekable

    def read(self, count: int = -1) -> bytes:
        if count > _DIRECTORY_LIMIT:
            raise ArchiveError("has a directory larger than any data set's; download it again")
        return self._stream.read(count)


class _Bounded:
    """Stream of the unpacked bytes of a tar archive, with limits in total and between two members.

    Attributes:
        since: bytes that were read after the content of the last member; negative before its end.
    """

    def __init__(self, stream: "BinaryIO | gzip.GzipFile", limit: int) -> None:
        self.since = 0
        self._left = limit
        self._stream = stream

    def read(self, count: int) -> bytes:
        """Read up to `count` bytes."""
        data = self._stream.read(count)
        self.since += len(data)
        self._left -= len(data)
        if self._left < 0:
            raise _too_expanded()
        if self.since > MEMBER_LIMIT + _HEADER_LIMIT:
            raise ArchiveError("has a header larger than any frame; download it again")
        return data


class _Header(tarfile.TarInfo):
    """Header of a tar member; a damaged or missing header, which tarfile reads as the end, is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error
