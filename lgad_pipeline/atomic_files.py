"""Atomic writes and locks: a file holds its old or its new content, also after a power cut."""

import errno
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path

from filelock import FileLock, Timeout

from lgad_pipeline.errors import TEMPORARY_NAME, LgadError, os_fault

_LONGEST_WRITE = 86_400.0  # seconds that a process of another machine may take to write a file
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(path: Path, durable: bool = True, *, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path next to `path`; it replaces `path` on success and is removed on an error.

    The temporary name contains machine and process, so two processes can write the same file at the same
    time; the last replacement is kept.

    Args:
        path: File to write.
        durable: Flush the file to the disk before the replacement, and the folder after it, so that a power
            cut leaves the old or the new content. This takes some milliseconds per file. Use
            False for many files (one per frame) that a command can write again.
        suffix: End of the temporary name, for a writer that chooses its format by it, such as ".mp4".

    Raises:
        LgadError: The folder cannot be written to, the disk is full, or `path` is a device or a pipe.
    """
    temporary = path.with_name(f".{path.name}.{machine()}-{os.getpid()}.part{suffix}")
    try:
        _refuse_special(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                _flush(temporary)
            temporary.replace(path)
            temporary.unlink(missing_ok=True)  # it stays if both are links to one file
            if durable and os.name == "posix":  # elsewhere a folder cannot be opened
                _flush(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise os_fault(error, path, "written") from error


@cache
def machine() -> str:
    """Return six hexadecimal digits for this machine: a digest of its host name."""
    return blake2b(socket.gethostname().encode(), digest_size=3).hexdigest()


def link_or_copy(source: Path, target: Path, *, durable: bool = True) -> None:
    """Make `target` a hard link to the file `source` where the file system allows it, else a copy.

    Args:
        source: file, or a link to it.
        target: file to write or to replace.
        durable: see `atomic_path`.

    Raises:
        LgadError: as `atomic_path`.
    """
    with atomic_path(target, durable) as temporary:
        temporary.unlink(missing_ok=True)  # of a killed process with the same id
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def require_writable(path: Path, *, folder: bool = False) -> None:
    """Check before long work that its result can be written.

    Args:
        path: file or folder that will be written; missing folders above it are created later.
        folder: True for a folder.

    Raises:
        LgadError: a file is there instead of the folder or the reverse, `path` is a device or a pipe, or no
            file can be created there.
    """
    try:
        _refuse_special(path)
        if path.exists() and path.is_dir() != folder:
            number = errno.EEXIST if folder else errno.EISDIR
            raise OSError(number, os.strerror(number))
        folders = path.absolute().parents if not folder else (path.absolute(), *path.absolute().parents)
        with tempfile.TemporaryFile(dir=next(parent for parent in folders if parent.exists())):
            pass
    except OSError as error:
        raise os_fault(error, path, "written") from error


def _refuse_special(path: Path) -> None:
    """Refuse a device, such as /dev/null, or a pipe, which the replacement would delete.

    Raises:
        LgadError: `path` is one.
    """
    special = path.exists() and not path.is_file() and not path.is_dir()
    if special or path.absolute().parent == Path("/dev"):
        raise LgadError(f"{path} is a device or a pipe, which a file would replace; name a file.")


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the lock of a folder (its file `.lock`) against processes and threads.

    The thread that holds the lock can acquire it again, and a process that dies releases it. The file `.lock`
    must never be deleted: two processes would then lock different files of the same name, and both would hold
    the lock.

    Args:
        folder: folder, which is created if it is missing.
        wait: wait until the lock is free; False: a lock that another process holds is an error.

    Raises:
        LgadError: The folder cannot be written, or is in use and `wait` is False.
    """
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=wait)
    except Timeout as error:
        raise LgadError(
            f"{folder} is in use by another process; wait until it has ended, or name another folder."
        ) from error
    except OSError as error:
        raise os_fault(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def remove_left_overs(parts: Iterable[Path]) -> None:
    """Remove the temporary files of `atomic_path` whose process was killed before it could remove them.

    Those of another machine, whose processes cannot be seen, are removed after a day.
    """
    for part in parts:
        named = TEMPORARY_NAME.fullmatch(part.name)
        if named is None:
            continue
        with suppress(OverflowError, OSError):  # the number is no process id, or the file is of another user
            if named[2] not in (None, machine()):
                if time.time() - part.stat().st_mtime > _LONGEST_WRITE:
                    part.unlink()
                continue
            try:
                os.kill(int(named[3]), 0)  # signal 0 only checks that the process exists
            except ProcessLookupError:
                part.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, durable: bool = True) -> None:
    """Write UTF-8 text to `path` in one step; see `atomic_path`."""
    with atomic_path(path, durable) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (
            errno.EINVAL,
            errno.ENOTSUP,
        ):  # some network file systems cannot flush a folder
            raise
    finally:
        os.close(descriptor)
