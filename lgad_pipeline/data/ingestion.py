"""Ingestion of a data set: the frames table, and the rejected items with their reasons."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pandas as pd
import pyarrow as pa

from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.data.duplicates import duplicates
from lgad_pipeline.data.file_stamp import Stamps
from lgad_pipeline.data.frame_reader import ChunkReading
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.data.frame_table import encodable, rejected_table, to_pandas
from lgad_pipeline.data.ingestion_cache import Changes, IngestionCache
from lgad_pipeline.data.lane_warnings import lane_warnings
from lgad_pipeline.datasets.reader import DatasetReader, FrameEntry, Note
from lgad_pipeline.datasets.registry import dataset_reader
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import stored_name
from lgad_pipeline.lanes.lane_files import Rejected, lane_file_name
from lgad_pipeline.process_pool import map_chunks
from lgad_pipeline.progress import Progress


@dataclass(frozen=True)
class Ingestion:
    """Result of the ingestion of a data set.

    Attributes:
        frames: frames table (`FRAMES_SCHEMA`): train, val, test, each in the order of its list.
        rejected: table of the rejected items (`REJECTED_SCHEMA`): file, line, reason with remedy.
        changes: numbers of frames that differ from the earlier ingestion.
        root: root directory of the data set.
        follow_links: True if links can lead out of the root.
        notes: observations that reject no frame.
    """

    frames: pd.DataFrame
    rejected: pd.DataFrame
    changes: Changes
    root: Path
    follow_links: bool = False
    notes: tuple[Note, ...] = ()

    def require(self, max_rejected: float) -> None:
        """Check that not too many items of the data set are rejected.

        Args:
            max_rejected: largest accepted share of rejected items in the rows of both tables, 0..1.

        Raises:
            LgadError: The share is larger, or no frame is left.
        """
        refused = len(self.rejected)
        middle = refused // 2  # The first item can be untypical.
        typical = self.rejected.iloc[middle : middle + 1].itertuples()
        example = "; ".join(f"{row.file} {row.reason}" for row in typical)
        if self.frames.empty:
            raise LgadError(
                f"Not one frame of {self.root} can be used ({example or 'the lists are empty'}); "
                "correct the data set or its lists."
            )
        rows = refused + len(self.frames)
        if refused > max_rejected * rows:
            raise LgadError(
                f"{refused} of {rows} entries of {self.root} were rejected, more than max_rejected "
                f"{max_rejected:g} allows (one of them: {example}); correct them or raise max_rejected."
            )


def ingest(
    root: Path,
    frame_size: tuple[int, int] = CULANE_FRAME,
    *,
    kind: str = "culane",
    previous: pd.DataFrame | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
    follow_links: bool = False,
) -> Ingestion:
    """Read a data set's lists, frames and annotations.

    Frame and lane files are read once and completely, to compute their fingerprints; frames are decoded at
    an eighth of their size. Items that cannot be used are rejected with their reason; the others are read.
    Frames with the content of another frame are rejected, too: see `duplicates`.

    More than 1,024 frames are read in several processes: a script must then call this function below
    `if __name__ == "__main__":`.

    Args:
        root: root directory of the data set.
        frame_size: height and width (H, W) that every frame must have when it is displayed, in pixels.
        kind: name of the reader of lists and annotations, a key of `DATASET_READERS`.
        previous: frames table of an earlier ingestion of the same root. A row is used again, and its frame
            is not read, if image and annotation have the same stamp: see `Stamps`.
        workers: number of processes; None for one per core. Small data sets, and kinds of other packages, are
            read in this process alone.
        progress: called as progress(frames done, frames in total).
        follow_links: accept frames and lane files that are links out of `root`; otherwise no file outside of
            it is read.

    Raises:
        LgadError: `root` or a list is missing.
    """
    root = Path(root)
    _require_content(root)
    reader = dataset_reader(kind)
    cache = IngestionCache(previous, frame_size)
    # A reader of another package may be registered in this process alone, or keep what its lists contain.
    several = isinstance(reader, ModuleType)
    reading = ChunkReading(
        root,
        partial(dataset_reader, kind) if several else lambda: reader,
        frame_size,
        follow_links,
        Stamps(root, time.time_ns(), _reading_code(kind, reader, follow_links)),
    )
    table, rejected = _read_listed(
        reader, cache, reading, workers=workers if several else 1, progress=progress
    )
    frames = to_pandas(table)
    duplicate, copies = duplicates(frames)
    if copies:
        frames = frames[~duplicate].reset_index(drop=True)
    notes = tuple(
        Note(encodable(item.file), item.line, encodable(item.text))
        for item in rejected
        if isinstance(item, Note)
    )
    notes += tuple(Note("annotations", None, text) for text in lane_warnings(frames))
    items = [item for item in rejected if isinstance(item, Rejected)]
    return Ingestion(
        frames, rejected_table([*items, *copies]), cache.changes(frames), root, follow_links, notes
    )


def _read_listed(
    reader: DatasetReader,
    cache: IngestionCache,
    reading: ChunkReading,
    *,
    workers: int | None,
    progress: Progress | None,
) -> tuple[pa.Table, list[Rejected | Note]]:
    """Return the frames table of the listed frames that can be used, and the rejected items and notes."""
    rejected: list[Rejected | Note] = []
    listed = [_as_stored(reading.root, entry) for entry in reader.list_frames(reading.root, rejected)]
    entries = _with_own_lane_file(listed, rejected)
    table, used, unusable = _frames_table(entries, cache, reading, workers=workers, progress=progress)
    return _as_listed(table, used), rejected + unusable


def _with_own_lane_file(
    entries: Sequence[FrameEntry], rejected: list[Rejected | Note]
) -> Sequence[FrameEntry]:
    """Return the entries whose frame shares its lane file with no other frame; the others are rejected."""
    frames_of = Counter(map(lane_file_name, {entry.frame for entry in entries}))
    if len(frames_of) == frames_of.total():
        return entries
    own = []
    for entry in entries:
        if frames_of[name := lane_file_name(entry.frame)] > 1:
            reason = (
                f"names {entry.frame}, of which only the ending differs from another frame, so that both "
                f"have the lane file {name}; rename one of them"
            )
            rejected.append(Rejected(entry.file, entry.line, reason))
        else:
            own.append(entry)
    return own


def _frames_table(
    entries: Sequence[FrameEntry],
    cache: IngestionCache,
    reading: ChunkReading,
    *,
    workers: int | None,
    progress: Progress | None,
) -> tuple[pa.Table, list[FrameEntry], list[Rejected]]:
    """Return the frames table of the entries that can be used, these entries, and the rejected items."""
    rows = cache.unchanged_rows(entries, reading.stamps)
    changed = [entry for entry, row in zip(entries, rows, strict=True) if row is None]
    unchanged = len(entries) - len(changed)
    if progress is not None:
        progress(unchanged, len(entries))
    batches, rejections = [], []
    for batch, of_chunk in map_chunks(reading, changed, workers=workers):
        batches.append(batch)
        rejections += of_chunk
        if progress is not None:
            progress(unchanged + len(rejections), len(entries))
    read = iter(rejections)
    used: list[FrameEntry] = []
    rejected: list[Rejected] = []
    chosen: list[int] = []  # row numbers in the earlier table followed by the new batches
    new_row = len(cache.table)
    for entry, row in zip(entries, rows, strict=True):
        if row is not None:
            chosen.append(row)
        elif (rejection := next(read)) is None:
            chosen.append(new_row)
            new_row += 1
        else:
            rejected.append(rejection)
            continue
        used.append(entry)
    table = pa.concat_tables([cache.table, pa.Table.from_batches(batches, FRAMES_SCHEMA)])
    if chosen != list(range(len(table))):
        table = table.take(pa.array(chosen, pa.int64()))
    return table, used, rejected


def _reading_code(kind: str, reader: DatasetReader, follow_links: bool) -> str | None:
    """Return the fingerprint of the code that converts a frame to a row of the frames table.

    It also states whether links are followed. None if the source of the reader cannot be found; then no rows
    of an earlier table are used again.
    """
    entry_points = [
        "lgad_pipeline.data.frame_reader:read_frame",
        "lgad_pipeline.datasets.registry:DATASET_READERS",
    ]
    if not isinstance(reader, ModuleType):
        entry_points.append(f"{type(reader).__module__}:{type(reader).__qualname__}")
        entry_points += [kind] if ":" in kind else []  # may be an object with arguments of its own
    try:
        return code_fingerprint(*entry_points) + (" follow_links" if follow_links else "")
    except LgadError:
        return None


def _require_content(root: Path) -> None:
    """Check that the root exists, can be read and is not empty.

    Raises:
        LgadError: The root is missing, empty or cannot be read.
    """
    remedy = "correct `root` of the data set"
    try:
        if not root.is_dir():
            raise LgadError(f"The data root {root} is missing; mount its disk or {remedy}.")
        if not any(root.iterdir()):
            raise LgadError(f"The data root {root} is empty; put the data set there or {remedy}.")
    except OSError as error:
        raise LgadError(
            f"The data root {root} cannot be read ({error.strerror}); check its permissions and its disk, or "
            f"{remedy}."
        ) from error


def _as_listed(table: pa.Table, entries: Sequence[FrameEntry]) -> pa.Table:
    """Replace scenario and flags by those of the current lists, since lists change without their frames."""
    for name in ("scenario", "existence"):
        index = FRAMES_SCHEMA.get_field_index(name)
        column = pa.array([getattr(entry, name) for entry in entries], FRAMES_SCHEMA.field(name).type)
        table = table.set_column(index, FRAMES_SCHEMA.field(name), column)
    return table


def _as_stored(root: Path, entry: FrameEntry) -> FrameEntry:
    """Return an entry with the names of its files in the Unicode form that they have on the disk."""
    annotation = entry.annotation
    if entry.frame.isascii() and (isinstance(annotation, bytes) or annotation.isascii()):
        return entry
    if isinstance(annotation, str):
        annotation = stored_name(root, annotation)
    return replace(entry, frame=stored_name(root, entry.frame), annotation=annotation)
