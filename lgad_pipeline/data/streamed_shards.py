"""Shards that stay in a store: their files are downloaded as the batches need them, see `ShardCache`."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from lgad_pipeline.atomic_files import locked, write_text
from lgad_pipeline.data.remote_shards import INDEX_LIMIT, check_origin
from lgad_pipeline.data.shard_cache import ShardCache
from lgad_pipeline.data.shard_file import open_part
from lgad_pipeline.data.shard_index import INDEX, STREAM, Origin, PartEntry, write_index
from lgad_pipeline.data.shard_split import Item, ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.object_store import ObjectStore

_DOWNLOADS = 4
_AHEAD = 8
"""Files that are downloaded in advance, besides those that are in use."""
_SPARE = 3
"""Files of the cache that are left to batches that are being decoded."""
_MISSING = (
    "if the shards were packed again, start again; else pack them where the frames are, or correct `shards`"
)


class StreamSource(BaseModel):
    """Content of stream.json.

    Attributes:
        uri: address of a folder of the store.
        cache: directory of the downloaded files on this machine.
        limit: largest size of all files in the cache together, bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    uri: str
    cache: str
    limit: int


def stream(uri: str, folder: Path, *, origin: Origin, cache: Path, limit: int) -> Path:
    """Write the index of shards in a store to `folder`, from which `ShardSet.open` streams them.

    Args:
        uri: address of a folder of the store, filled by `upload`.
        folder: local directory for the index.
        origin: required project and data set of the shards.
        cache: directory of the downloaded files, which other data sets can share.
        limit: largest size of all files in the cache together, bytes.

    Returns:
        The directory `folder`.

    Raises:
        LgadError: the store cannot be reached or contains other shards, or `folder` cannot be written.
    """
    with locked(folder):
        content = ObjectStore(uri).read(INDEX, INDEX_LIMIT)
        check_origin(uri, content, origin)
        write_text(folder / STREAM, StreamSource(uri=uri, cache=str(cache), limit=limit).model_dump_json())
        write_index(folder, content, names=())
    return folder


def read_source(folder: Path) -> StreamSource | None:
    """Return the store of streamed shards; None for shards on this machine.

    Raises:
        LgadError: the file is damaged.
    """
    path = folder / STREAM
    if not path.is_file():
        return None
    try:
        return StreamSource.model_validate_json(path.read_text(encoding="utf-8"))
    except (ValidationError, ValueError) as error:
        raise LgadError(f"{path} is damaged; delete it and start again.") from error


class StreamedSplit(ShardSplit):
    """Packed frames of one split in a store; safe to read from several threads."""

    def __init__(self, folder: Path, parts: Sequence[PartEntry]):
        """Look up the sizes of the files.

        Args:
            folder: directory of the index and of stream.json.
            parts: files of the split.

        Raises:
            LgadError: the store cannot be reached, or a file is missing.
        """
        self._set_parts(folder, parts)
        source = read_source(folder)
        assert source is not None
        store = ObjectStore(source.uri, missing=_MISSING)
        self._cache = ShardCache(Path(source.cache), store, sizes=store.sizes(), limit=source.limit)
        self._sizes = [self._cache.size_of(part) for part in self._parts]

    def announced(
        self, items: Iterable[Item], indices_of: Callable[[Item], np.ndarray], *, window: int | None
    ) -> Iterator[Item]:
        """Yield the items, and download the files of the next ones in advance; see `ShardSplit.announced`.

        The files of all announced items together fit the cache.
        """
        in_use = len(self._parts) if window is None else window + 1
        fitting = self._cache.limit // max(self._sizes) - _SPARE
        most = max(1, min(in_use + _AHEAD, fitting, len(self._parts)))
        waiting: deque[tuple[Item, np.ndarray]] = deque()
        needed: Counter[int] = Counter()
        remaining = iter(items)
        pool = ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="lgad-download")
        try:
            while True:
                while not waiting or len(needed) < most:
                    item = next(remaining, None)
                    if item is None:
                        break
                    numbers = np.unique(self._part_numbers(indices_of(item)))
                    for number in numbers:
                        present = self._cache.announce(self._parts[number])
                        if not present and number not in needed:
                            pool.submit(self._download, number)
                    needed.update(numbers)
                    waiting.append((item, numbers))
                if not waiting:
                    return
                item, numbers = waiting.popleft()
                yield item
                needed.subtract(numbers)
                needed += Counter()  # without those that are not needed any more
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def require_order(self, window: int | None) -> None:
        """Check that the files of the window, and one that follows, fit the cache; see `ShardSplit`."""
        limit, total, largest = self._cache.limit, sum(self._sizes), max(self._sizes)
        if total <= limit or (window is not None and (window + 2) * largest <= limit):
            return
        most = limit // largest - 2
        remedy = f"set shuffle_window to at most {most}" if most > 0 else "pack smaller shards"
        reads = f"shuffle_window {window} reads" if window is not None else "an order over all frames reads"
        size = total if window is None else min(total, (window + 2) * largest)
        raise LgadError(
            f"The training frames do not fit shard_cache_gb ({limit / 1e9:.3g}): {reads} {size / 1e9:.3g} GB "
            f"of shards at a time; {remedy} in the trainings of the recipe, or raise shard_cache_gb."
        )

    @contextmanager
    def _part(self, number: int) -> Iterator[pa.RecordBatch]:
        part = self._parts[number]
        with self._cache.reading(part) as path:
            yield open_part(path, part)

    def _download(self, number: int) -> None:
        """Download a file; an error is raised where the file is read, after another trial."""
        with self._cache.reading(self._parts[number]):
            pass
