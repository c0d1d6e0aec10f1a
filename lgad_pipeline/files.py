"""Files that are either the old or the new, never half."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from lgad_pipeline.errors import os_fault

_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it takes the place of `path`, else it is removed.

    The name carries the process id, so that two processes may write the same file at once: the last one wins.

    Raises:
        LgadError: the folder cannot be written to, or there is no room left.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield beside
            beside.replace(path)
        except BaseException:
            beside.unlink(missing_ok=True)
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


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path` in one step."""
    with atomic_path(path) as beside:
        beside.write_text(text, encoding="utf-8")
