"""Files of shards that stay in a store: a local cache, bounded in bytes, for all processes of a machine.

Each file is downloaded when it is needed, or in advance. Before that, the files whose last announced use is
oldest are removed, but none that is being read. Locks of the operating system (`flock`) hold this between
threads and processes, also after a process is killed: a reader has a shared lock on the file, a download an
exclusive one on its temporary file, and the lock of the folder protects the sum of the sizes.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from lgad_pipeline.atomic_files import locked
from lgad_pipeline.data.shard_index import PartEntry, is_undamaged
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.object_store import ObjectStore

_WAIT_SECONDS = 0.02
_SUFFIXES = (".arrow", ".part")


class ShardCache:
    """Cache of files of a store in a folder that other caches can share.

    The sizes of all files in the folder together, unfinished downloads included, never exceed the limit.
    """

    def __init__(self, folder: Path, store: ObjectStore, *, sizes: Mapping[str, int], limit: int) -> None:
        """Set up the cache without downloading anything.

        Args:
            folder: directory of the files, without other files.
            store: store of the files.
            sizes: size of each object in the store, bytes, by name.
            limit: largest size of all files in the folder together, bytes.
        """
        self.limit, self._folder, self._store, self._sizes = limit, folder, store, dict(sizes)
        self._announced: dict[str, int] = {}

    def size_of(self, part: PartEntry) -> int:
        """Return the size of a file, bytes.

        Raises:
            LgadError: the store does not have it, or it is larger than the whole cache.
        """
        size = self._sizes.get(part.file)
        if size is None:
            raise self._store.is_missing(part.file)
        if size > self.limit:
            raise LgadError(
                f"{self._store.name(part.file)} has {size / 1e9:.3g} GB, more than shard_cache_gb "
                f"({self.limit / 1e9:.3g}); raise it."
            )
        return size

    @contextmanager
    def reading(self, part: PartEntry) -> Iterator[Path]:
        """Yield the path of a file, downloaded if it is missing; it is not removed inside of the context.

        Raises:
            LgadError: the file cannot be downloaded, is damaged in the store, or the disk is full.
        """
        path = self._folder / part.file
        try:
            descriptor = self._locked_file(path, part)
        except OSError as error:
            raise os_fault(error, path) from error
        try:
            yield path
        finally:
            os.close(descriptor)  # releases the lock

    def announce(self, part: PartEntry) -> bool:
        """Keep a file longer than those announced before; return True if the cache has it."""
        self._announced[part.file] = time.time_ns()
        with suppress(FileNotFoundError):
            self._set_announced(self._folder / part.file)
            return True
        return False

    def _set_announced(self, path: Path) -> None:
        """Write the time of the last announcement into the access time of a file.

        The modification time stays: with it, the digest of the file is known.
        """
        announced = self._announced.get(path.name, time.time_ns())
        os.utime(path, ns=(announced, path.stat().st_mtime_ns))

    def _locked_file(self, path: Path, part: PartEntry) -> int:
        """Return the descriptor of an undamaged file that has a lock."""
        while True:
            descriptor = _opened(path, fcntl.LOCK_SH) or self._downloaded(path, part)
            if descriptor is None:
                continue  # another thread or process has just downloaded or removed it
            try:
                if is_undamaged(path, part.digest):
                    return descriptor
                path.unlink(missing_ok=True)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _downloaded(self, path: Path, part: PartEntry) -> int | None:
        """Download a file, and return its descriptor with a lock; None if somebody else has done so."""
        size = self.size_of(part)
        temporary = path.with_name(f".{path.name}.part")
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _is_at(descriptor, temporary):
                os.close(descriptor)
                return None
            if path.exists():
                temporary.unlink()
                os.close(descriptor)
                return None
            self._reserve(descriptor, size)
            with os.fdopen(os.dup(descriptor), "wb") as file:
                for chunk in self._store.chunks(part.file):
                    file.write(chunk[: size - file.tell()])
            if not is_undamaged(temporary, part.digest):
                raise LgadError(
                    f"{self._store.name(part.file)} is damaged; delete it and pack the shards again where "
                    "the frames are."
                )
            with locked(self._folder):  # or a sum of the sizes could miss the file
                temporary.rename(path)
                self._set_announced(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        return descriptor

    def _reserve(self, descriptor: int, size: int) -> None:
        """Allocate a file's bytes once they fit the limit; other files are removed for them."""
        while True:
            with locked(self._folder):
                if self._free_bytes(size):
                    os.posix_fallocate(descriptor, 0, size)
                    return
            time.sleep(_WAIT_SECONDS)  # until others have read or downloaded their files

    def _free_bytes(self, size: int) -> bool:
        """Remove files that nobody reads, by the time of their announcement, until `size` bytes are free."""
        files: list[tuple[int, int, Path]] = []
        for entry in os.scandir(self._folder):
            with suppress(FileNotFoundError):  # of a download that failed meanwhile
                if entry.name.endswith(_SUFFIXES):
                    state = entry.stat()
                    files.append((state.st_atime_ns, state.st_size, Path(entry.path)))
        free = self.limit - sum(occupied for _, occupied, _ in files)
        for _, occupied, path in sorted(files):
            if free >= size:
                break
            descriptor = _opened(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if descriptor is not None:
                path.unlink()
                os.close(descriptor)
                free += occupied
        return free >= size


def _opened(path: Path, lock: int) -> int | None:
    """Open a file and lock it; return None if it is missing, removed meanwhile, or locked by another."""
    try:
        descriptor = os.open(path, os.O_RDWR)  # NFS has exclusive locks on writable files alone
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, lock)
        if _is_at(descriptor, path):
            return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def _is_at(descriptor: int, path: Path) -> bool:
    """Return True if an open file is the one at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), path.stat())
    return False
