"""Cache of an earlier ingestion: the rows of unchanged frames, which are not read again."""

from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.frame_table import FRAMES_SCHEMA
from lgad_pipeline.datasets.reader import FrameEntry


class Changes(NamedTuple):
    """How many frames a table shares with an earlier one; without an earlier one all are added."""

    unchanged: int
    added: int
    changed: int
    removed: int


class IngestionCache:
    """The rows of an earlier ingestion, by frame and split."""

    def __init__(self, previous: pd.DataFrame | None, frame_size: tuple[int, int]) -> None:
        self.table = FRAMES_SCHEMA.empty_table()
        if previous is not None and set(FRAMES_SCHEMA.names) <= set(previous.columns):
            fits = (previous["height"] == frame_size[0]) & (previous["width"] == frame_size[1])
            self.table = pa.Table.from_pandas(previous[fits], FRAMES_SCHEMA, preserve_index=False)
        keys = zip(self.table["frame"].to_pylist(), self.table["split"].to_pylist(), strict=True)
        self._stamps = self.table["stamp"].to_pylist()
        self._rows = {key: row for row, key in enumerate(keys)}

    def row(self, entry: FrameEntry, stamp: str) -> int | None:
        """Row of the entry, if it is there with the same stamp."""
        row = self._rows.get((entry.frame, entry.split))
        return row if row is not None and self._stamps[row] == stamp else None

    def changes(self, frames: pd.DataFrame) -> Changes:
        """How the new table differs."""
        stamps = {key: self._stamps[row] for key, row in self._rows.items()}
        new = zip(frames["frame"], frames["split"], frames["stamp"], strict=True)
        found = [bool(stamp) & (stamps.pop((frame, split), None) == stamp) for frame, split, stamp in new]
        unchanged = sum(found)
        added = len(found) - (len(self._rows) - len(stamps))
        return Changes(unchanged, added, len(found) - unchanged - added, len(stamps))


def file_stamp(root: Path, entry: FrameEntry, *, now: int, code: str) -> str | None:
    """What tells a changed frame or annotation without reading it.

    It holds sizes, times of modification and times of change. The latter cannot be set, so a file that was
    replaced by one of the same size and time of modification is noticed.

    Args:
        root: folder of the data set.
        entry: the frame.
        now: time of the ingestion, nanoseconds since the epoch.
        code: fingerprint of the code that reads frames; another one makes every stamp another one.

    Returns:
        The stamp; None where a file is gone or its time is in the future. The latter happens after the
        clock was set back: a file written since might get the same time again, so it is read every time.
    """
    parts = [code]
    try:
        for item in (entry.frame, entry.annotation):
            if isinstance(item, bytes):
                parts.append(blake2b(item, digest_size=16).hexdigest())
            else:
                status = (root / item).stat()
                times = status.st_mtime_ns, status.st_ctime_ns
                if max(times) > now:
                    return None
                parts.append("-".join(map(str, (status.st_size, *times))))
    except (OSError, ValueError):
        return None
    return " ".join(parts)
