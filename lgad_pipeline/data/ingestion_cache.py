"""Cache of an earlier ingestion: rows of unchanged frames, which are not read again."""

from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.file_stamp import Stamps
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.datasets.reader import FrameEntry


class Changes(NamedTuple):
    """Numbers of frames that differ from an earlier frames table.

    Attributes:
        unchanged: number of frames with the same stamp in both tables.
        added: number of frames that are not in the earlier table; all of them without an earlier table.
        changed: number of frames in both tables whose stamp is different or empty.
        removed: number of frames that are only in the earlier table.
    """

    unchanged: int
    added: int
    changed: int
    removed: int


class IngestionCache:
    """Rows of an earlier frames table, by frame and split.

    Attributes:
        table: Arrow table of the earlier rows whose frames have the expected size.
    """

    def __init__(self, previous: pd.DataFrame | None, frame_size: tuple[int, int]) -> None:
        self.table = FRAMES_SCHEMA.empty_table()
        if previous is not None and set(FRAMES_SCHEMA.names) <= set(previous.columns):
            fits = (previous["height"] == frame_size[0]) & (previous["width"] == frame_size[1])
            rows = previous if fits.all() else previous[fits]  # a copy takes a second time the memory
            self.table = pa.Table.from_pandas(rows, FRAMES_SCHEMA, preserve_index=False)
        keys = zip(self.table["frame"].to_pylist(), self.table["split"].to_pylist(), strict=True)
        self._stamps = self.table["stamp"].to_pylist()
        self._rows = {key: row for row, key in enumerate(keys)}

    def unchanged_rows(self, entries: Sequence[FrameEntry], stamps: Stamps) -> list[int | None]:
        """Return the row of each entry in the earlier table; None if it is absent or a file has changed."""
        rows = [self._rows.get((entry.frame, entry.split)) for entry in entries]
        known = [entry for entry, row in zip(entries, rows, strict=True) if row is not None]
        new = stamps.of_all(known)
        return [None if row is None or next(new) != self._stamps[row] else row for row in rows]

    def changes(self, frames: pd.DataFrame) -> Changes:
        """Compare a new frames table with the earlier one."""
        stamps = {key: self._stamps[row] for key, row in self._rows.items()}
        new = zip(frames["frame"], frames["split"], frames["stamp"], strict=True)
        found = [bool(stamp) & (stamps.pop((frame, split), None) == stamp) for frame, split, stamp in new]
        unchanged = sum(found)
        added = len(found) - (len(self._rows) - len(stamps))
        return Changes(unchanged, added, len(found) - unchanged - added, len(stamps))
