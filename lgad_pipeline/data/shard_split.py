"""Packed frames of one split, with random access."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.shard_file import lane_types_of, open_part, packed_image
from lgad_pipeline.data.shard_index import PartEntry
from lgad_pipeline.errors import LgadError
from lgad_pipeline.thread_pool import ordered_map

Item = TypeVar("Item")
_WORKERS = 4


@dataclass(frozen=True)
class Sample:
    """Frame at training size.

    Attributes:
        frame: path of the image below the data set's root.
        image: image, uint8 (H, W, 3), RGB.
        label: label map, uint8 (H, W), 0 background, slots from 1.
        existence: existence flags, bool (slots,), of the slots from left to right.
        scenario: category of a test frame; None for other frames.
        types: type of the lane in each slot, int64 (slots,): index of the split's `lane_types`, -1 unknown;
            None for shards without types.
    """

    frame: str
    image: np.ndarray
    label: np.ndarray
    existence: np.ndarray
    scenario: str | None
    types: np.ndarray | None = None


class ShardSplit:
    """Packed frames of one split in memory-mapped files; safe to read from several threads."""

    def __init__(self, folder: Path, parts: Sequence[PartEntry]):
        self._set_parts(folder, parts)
        # Digests take most of the time, so threads compute them in parallel.
        opened = ordered_map(partial(_open, folder), parts, workers=_WORKERS, ahead=2 * _WORKERS)
        self._batches = list(opened)

    def _set_parts(self, folder: Path, parts: Sequence[PartEntry]) -> None:
        self._folder, self._parts = folder, tuple(parts)
        self._ends = np.cumsum([part.rows for part in parts], dtype=np.int64)

    def __reduce__(self) -> tuple[type["ShardSplit"], tuple[Path, tuple[PartEntry, ...]]]:
        """Another process opens the files itself."""
        return type(self), (self._folder, self._parts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Sample:
        """Decode frame `index` of the split, 0 <= index < len.

        Raises:
            IndexError: `index` is out of range.
            LgadError: The shard is damaged, or cannot be read from its store.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(self._part_numbers(index))
        row = index - int(self._ends[part]) + self._parts[part].rows
        with self._part(part) as batch:
            image = packed_image(batch, "image", row=row, flags=cv2.IMREAD_COLOR_RGB)
            label = packed_image(batch, "label", row=row, flags=cv2.IMREAD_UNCHANGED)
            existence = np.array(batch.column("existence")[row].as_py(), dtype=bool)
            frame, scenario = (batch.column(name)[row].as_py() for name in ("frame", "scenario"))
            typed = "types" in batch.schema.names
            types = np.array(batch.column("types")[row].as_py(), np.int64) if typed else None
        if image is None or label is None:
            path = self._folder / self._parts[part].file
            raise LgadError(f"{path} is damaged at row {row}; pack the shards again.")
        return Sample(frame, image, label, existence, scenario, types)

    @property
    def rows(self) -> tuple[int, ...]:
        """Number of frames of each file, in order."""
        return tuple(part.rows for part in self._parts)

    @property
    def slots(self) -> int:
        """Number of lane slots of the frames."""
        return len(self[0].existence) if len(self) else 0

    @property
    def lane_types(self) -> tuple[str, ...]:
        """Names of the lane types; empty for shards without types."""
        if not self._parts:
            return ()
        with self._part(0) as batch:
            return lane_types_of(batch.schema)

    @property
    def table(self) -> pd.DataFrame:
        """Table of frame and scenario of every sample, in order."""
        tables = []
        for number in self.announced(range(len(self._parts)), self._first_frame, window=0):
            with self._part(number) as batch:
                tables.append(batch.select(["frame", "scenario"]).to_pandas())
        return pd.concat(tables, ignore_index=True)

    def announced(
        self, items: Iterable[Item], indices_of: Callable[[Item], np.ndarray], *, window: int | None
    ) -> Iterator[Item]:
        """Yield the items; a split whose files are in a store downloads those of the next items in advance.

        Args:
            items: parts of the work, such as the steps of a training.
            indices_of: function of an item that returns the indices of the frames that it reads.
            window: number of files that are read at a time; None for all.
        """
        return iter(items)

    def require_order(self, window: int | None) -> None:
        """Check that the frames can be read efficiently in an order that mixes a number of files.

        Args:
            window: number of files whose frames are mixed; None for all.

        Raises:
            LgadError: the files of the window do not fit the cache.
        """

    @contextmanager
    def _part(self, number: int) -> Iterator[pa.RecordBatch]:
        """Yield the content of a file; it is not to be used outside of the context."""
        yield self._batches[number]

    def _part_numbers(self, indices: np.ndarray | int) -> np.ndarray:
        """Return the number of the file of each frame."""
        return np.searchsorted(self._ends, indices, side="right")

    def _first_frame(self, number: int) -> np.ndarray:
        return np.array([self._ends[number] - self._parts[number].rows])


def _open(folder: Path, part: PartEntry) -> pa.RecordBatch:
    return open_part(folder / part.file, part)
