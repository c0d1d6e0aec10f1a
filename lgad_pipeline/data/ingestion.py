"""Ingestion of a data set: the frames table, and the rejected items with their reasons."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.data.duplicates import duplicates, picture_hash
from lgad_pipeline.data.frame_table import (
    FRAMES_SCHEMA,
    FrameRecord,
    encodable,
    frames_batch,
    rejected_table,
    to_pandas,
)
from lgad_pipeline.data.ingestion_cache import Changes, IngestionCache, file_stamp
from lgad_pipeline.datasets.images import image_header, read_small
from lgad_pipeline.datasets.reader import AnnotationError, DatasetReader, FrameEntry, Note
from lgad_pipeline.datasets.registry import dataset_reader
from lgad_pipeline.datasets.safe_io import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.progress import Progress
from lgad_pipeline.thread_pool import ordered_map

_LANE_FILE_LIMIT = 1 << 20  # bytes; the longest lane file of CULane has a few thousand
_CHUNK = 64  # number of frames that a thread reads at a time


@dataclass(frozen=True)
class _Unchanged:
    """A frame whose row of the earlier frames table is used again.

    Attributes:
        row: number of the row in the earlier table, from 0.
    """

    row: int


_Result = _Unchanged | FrameRecord | Rejected
"""Result of one listed frame: the row of the earlier table, a new row, or the reason why it is rejected."""


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
        one = self.rejected.iloc[
            refused // 2 : refused // 2 + 1
        ].itertuples()  # from the middle, since the first can be untypical
        example = "; ".join(f"{row.file} {row.reason}" for row in one)
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
    frame_size: tuple[int, int] = (590, 1640),
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

    Args:
        root: root directory of the data set.
        frame_size: height and width (H, W) that every frame must have when it is displayed, in pixels.
        kind: name of the reader of lists and annotations, a key of `DATASET_READERS`.
        previous: frames table of an earlier ingestion of the same root. A row is used again, and its frame
            is not read, if image and annotation have the same stamp: see `file_stamp`.
        workers: number of threads; by default two per core.
        progress: called as progress(frames done, frames in total).
        follow_links: accept frames and lane files that are links out of `root`; otherwise no file outside of
            it is read.

    Raises:
        LgadError: `root` or a list is missing.
    """
    root = Path(root)
    _require_content(root)
    rejected: list[Rejected | Note] = []
    reader = dataset_reader(kind)
    entries = reader.list_frames(root, rejected)
    cache = IngestionCache(previous, frame_size)
    started = time.time_ns()
    code = _reading_code(reader)
    chunks = [entries[first : first + _CHUNK] for first in range(0, len(entries), _CHUNK)]
    workers = workers or 2 * (os.cpu_count() or 1)

    def read_chunk(chunk: Sequence[FrameEntry]) -> list[_Result]:
        return [read_or_reuse(entry) for entry in chunk]

    def read_or_reuse(entry: FrameEntry) -> _Result:
        # The stamp is computed before the file is read, so a file that changes during it is read again by
        # the next ingestion.
        stamp = (code and file_stamp(root, entry, now=started, code=code)) or ""
        row = cache.row(entry, stamp) if stamp else None
        if row is not None:
            return _Unchanged(row)
        return _read_frame(root, reader, entry, frame_size=frame_size, stamp=stamp, follow_links=follow_links)

    used: list[FrameEntry] = []
    rows: list[int] = []  # row numbers in the earlier table followed by the new batches
    batches, done, new_rows = [], 0, len(cache.table)
    results_of_chunks = ordered_map(read_chunk, chunks, workers, ahead=2 * workers)
    for chunk, results in zip(chunks, results_of_chunks, strict=True):
        records: list[FrameRecord] = []
        for entry, result in zip(chunk, results, strict=True):
            match result:
                case _Unchanged(row):
                    rows.append(row)
                case FrameRecord():
                    rows.append(new_rows + len(records))
                    records.append(result)
                case Rejected():
                    rejected.append(result)
                    continue
            used.append(entry)
        batches.append(frames_batch(records))
        new_rows += len(records)
        done += len(chunk)
        if progress is not None:
            progress(done, len(entries))
    table = pa.concat_tables([cache.table, pa.Table.from_batches(batches, FRAMES_SCHEMA)])
    if rows != list(range(len(table))):
        table = table.take(pa.array(rows, pa.int64()))
    frames = to_pandas(_as_listed(table, used))
    duplicate, copies = duplicates(frames)
    if copies:
        frames = frames[~duplicate].reset_index(drop=True)
    notes = tuple(
        Note(encodable(item.file), item.line, encodable(item.text))
        for item in rejected
        if isinstance(item, Note)
    )
    items = [item for item in rejected if isinstance(item, Rejected)]
    return Ingestion(
        frames, rejected_table([*items, *copies]), cache.changes(frames), root, follow_links, notes
    )


def _reading_code(reader: DatasetReader) -> str | None:
    """Return the fingerprint of the code that converts a frame to a row of the frames table.

    None if the source of the reader cannot be found; then no rows of an earlier table are used again.
    """
    entry_points = [
        "lgad_pipeline.data.ingestion:_read_frame",
        "lgad_pipeline.datasets.registry:DATASET_READERS",
    ]
    if not isinstance(reader, ModuleType):
        entry_points.append(f"{type(reader).__module__}:{type(reader).__qualname__}")
    try:
        return code_fingerprint(*entry_points)
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
        place = FRAMES_SCHEMA.get_field_index(name)
        column = pa.array([getattr(entry, name) for entry in entries], FRAMES_SCHEMA.field(name).type)
        table = table.set_column(place, FRAMES_SCHEMA.field(name), column)
    return table


def _read_frame(
    root: Path,
    reader: DatasetReader,
    entry: FrameEntry,
    *,
    frame_size: tuple[int, int],
    stamp: str,
    follow_links: bool,
) -> FrameRecord | Rejected:
    """Read one frame and its annotation; return a new row, or the rejected item with its reason."""
    height, width = frame_size
    try:
        data = read_inside(root, entry.frame, frame_limit(frame_size), follow_links)
        header = image_header(data)
        claimed = header.displayed
    except FileNotFoundError:
        reason = f"names {entry.frame}, which does not exist; restore the frame or take its entry out"
        return Rejected(entry.file, entry.line, reason)
    except LgadError as error:
        return Rejected(entry.frame, None, str(error))
    if claimed != frame_size:
        reason = (
            f"is {claimed[1]} x {claimed[0]} px where {width} x {height} is declared; "
            "correct frame_size or take the frame out of the lists"
        )
        return Rejected(entry.frame, None, reason)
    file, line, whose = _place(entry)
    try:
        annotation = _annotation(root, entry, follow_links)
        lanes = reader.parse_annotation(annotation)
        _refuse_misplaced(lanes, frame_size)
    except FileNotFoundError:
        return Rejected(
            file, line, "is missing; restore it, or write an empty one where the frame shows no lanes"
        )
    except AnnotationError as error:
        return Rejected(file, line or error.line, f"{whose}{error}")
    except LgadError as error:
        return Rejected(file, line, f"{whose}{error}")
    try:
        picture = picture_hash(read_small(data, header))
    except LgadError as error:
        return Rejected(entry.frame, None, str(error))
    image_print, lane_print = (blake2b(content, digest_size=16).hexdigest() for content in (data, annotation))
    return FrameRecord(
        entry.frame,
        entry.split,
        entry.scenario,
        lanes,
        entry.existence,
        width,
        height,
        image_print,
        lane_print,
        picture,
        stamp,
    )


def _place(entry: FrameEntry) -> tuple[str, int | None, str]:
    """Return file, line (None for a lane file) and the prefix of a reason, which names a frame of a list."""
    if isinstance(entry.annotation, str):
        return entry.annotation, None, ""
    return entry.file, entry.line, f"{entry.frame}: "


def _annotation(root: Path, entry: FrameEntry, follow_links: bool) -> bytes:
    if isinstance(entry.annotation, bytes):
        return entry.annotation
    return read_inside(root, entry.annotation, _LANE_FILE_LIMIT, follow_links)


def _refuse_misplaced(lanes: Sequence[np.ndarray], frame_size: tuple[int, int]) -> None:
    """Check that each lane is partly in the frame, and no point farther outside than the frame is large."""
    size = np.array(frame_size[::-1], np.float32)
    for number, lane in enumerate(lanes, 1):
        if not ((lane >= -size) & (lane <= 2 * size)).all():
            raise AnnotationError(
                f"has a point farther outside the frame than the frame is large, in lane {number}; "
                "correct the lane",
                number,
            )
        if len(lane) and not ((lane.max(axis=0) >= 0) & (lane.min(axis=0) < size)).all():
            raise AnnotationError(
                f"has no part of lane {number} in the frame; correct the lane or take it out", number
            )
