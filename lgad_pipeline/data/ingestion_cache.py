"""Cache of an earlier ingestion: rows of unchanged frames, which are not read again."""

import os
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.frame_table import FRAMES_SCHEMA
from lgad_pipeline.datasets.reader import FrameEntry
from lgad_pipeline.lanes.lane_types import types_file


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

    def stamp(self, entry: FrameEntry) -> str | None:
        """Return the stamp of an entry in the earlier table; None if it is absent."""
        row = self._rows.get((entry.frame, entry.split))
        return None if row is None else self._stamps[row]

    def row(self, entry: FrameEntry) -> int:
        """Return the number of the row of an entry that is in the earlier table."""
        return self._rows[entry.frame, entry.split]

    def changes(self, frames: pd.DataFrame) -> Changes:
        """Compare a new frames table with the earlier one."""
        stamps = {key: self._stamps[row] for key, row in self._rows.items()}
        new = zip(frames["frame"], frames["split"], frames["stamp"], strict=True)
        found = [bool(stamp) & (stamps.pop((frame, split), None) == stamp) for frame, split, stamp in new]
        unchanged = sum(found)
        added = len(found) - (len(self._rows) - len(stamps))
        return Changes(unchanged, added, len(found) - unchanged - added, len(stamps))


def file_stamp(root: Path, entry: FrameEntry, *, now: int, code: str) -> str | None:
    """Compute the stamp that detects a changed frame, annotation or file of lane types without reading it.

    It contains sizes, modification times and change times (ctime). The change time cannot be set, so the
    replacement of a file by one of the same size and modification time is detected.

    Args:
        root: root directory of the data set.
        entry: frame and annotation of a list.
        now: time of the ingestion in nanoseconds since 1970.
        code: fingerprint of the code that reads frames; a change of it changes every stamp.

    Returns:
        The stamp; None if a file is missing or its time is in the future. A time in the future occurs after
        the clock was set back: a later change could give the same time again, so the file is always read.
    """
    parts = [code]
    base = str(root)  # Path objects would take longer than the statuses.
    try:
        types = types_file(entry.annotation) if isinstance(entry.annotation, str) else None
        typed = [types] if types is not None and os.path.exists(f"{base}/{types}") else []  # noqa: PTH110
        for item in (entry.frame, entry.annotation, *typed):
            if isinstance(item, bytes):
                parts.append(blake2b(item, digest_size=16).hexdigest())
            else:
                status = os.stat(f"{base}/{item}")  # noqa: PTH116
                times = status.st_mtime_ns, status.st_ctime_ns
                if max(times) > now:
                    return None
                parts.append("-".join(map(str, (status.st_size, *times))))
    except (OSError, ValueError):
        return None
    return " ".join(parts)
