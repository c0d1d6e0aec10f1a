"""Atomic writes: a file holds its old or its new content, also after a power cut."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from lgad_pipeline.errors import os_fault

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success it replaces `path`, otherwise it is removed.

    The name carries the process id, so that two processes may write the same file at once: the last one wins.

    Args:
        path: File to write.
        durable: Flush the file to the disk before the replacement, and the folder after it, so that a power
            cut leaves the old or the new content. This costs some milliseconds a file; False suits the many
            files (one a frame) that a command writes again when asked.

    Raises:
        LgadError: the folder cannot be written to, or the disk is full.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if durable:
                _flush(temporary)
            temporary.replace(path)
            if durable and os.name == "posix":  # elsewhere a folder cannot be opened
                _flush(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        raise os_fault(error, path, "written") from error


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder (its file `.lock`) among processes and threads; wait for whoever holds it.

    The thread that holds it may take it again. The file `.lock` must never be deleted: two processes that
    lock different files of one name would not see one another.

    Raises:
        LgadError: the folder cannot be written.
    """
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise os_fault(error, folder) from error
    try:
        yield
    finally:
        lock.release()


def remove_left_overs(parts: Iterable[Path]) -> None:
    """Remove half-written files that `atomic_path` could not, because their process was killed."""
    for part in parts:
        _, _, process = part.stem.rpartition(".")
        with suppress(ValueError, OverflowError, PermissionError):  # no number, or another user's process
            try:
                os.kill(int(process), 0)  # asks whether it lives
            except ProcessLookupError:
                part.unlink(missing_ok=True)


def write_text(path: Path, text: str, durable: bool = True) -> None:
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
