"""A data set's folder becomes the frames table; what cannot be used is rejected and counted."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

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
from lgad_pipeline.datasets import bdd100k, culane, llamas, tusimple
from lgad_pipeline.datasets.images import image_header, read_small
from lgad_pipeline.datasets.reader import AnnotationError, Entry, Kind, Note, Rejected
from lgad_pipeline.datasets.safe_io import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.progress import Progress
from lgad_pipeline.thread_pool import ordered_map

# The road world is written in CULane's layout.
KINDS: dict[str, Kind] = {
    "bdd100k": bdd100k,
    "culane": culane,
    "llamas": llamas,
    "synthetic": culane,
    "tusimple": tusimple,
}

_LANE_FILE_LIMIT = 1 << 20  # bytes; CULane's longest lane file has a few thousand
_CHUNK = 64  # frames checked by one thread at a time


@dataclass(frozen=True)
class Ingestion:
    """What a data set's folder held.

    Attributes:
        frames: the frames table (`FRAMES_SCHEMA`), train, val, test, each in the order of its list.
        rejected: what could not be used (`REJECTED_SCHEMA`): file, line, reason with remedy.
        changes: against the earlier ingestion.
        root: the folder.
        follow_links: links may lead out of it.
        notes: what was noticed and rejects no frame.
    """

    frames: pd.DataFrame
    rejected: pd.DataFrame
    changes: Changes
    root: Path
    follow_links: bool = False
    notes: tuple[Note, ...] = ()

    def require(self, max_rejected: float) -> None:
        """Refuse a data set of which too much was rejected.

        Args:
            max_rejected: the largest tolerated share of `rejected` in all rows of both tables.

        Raises:
            LgadError: more was rejected, or not a single frame is left.
        """
        refused = len(self.rejected)
        one = self.rejected.iloc[refused // 2 : refused // 2 + 1].itertuples()  # the first may be a rare one
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
                f"{max_rejected:g} allows (one of them: {example}); correct them or raise it in lgad.yaml."
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

    Frame and lane files are read whole, once, to fingerprint them, and frames are decoded at an eighth of
    their size. Whatever cannot be used is rejected with its reason, and the rest is read. Frames that show
    what another split shows are rejected, too: see `duplicates`.

    Args:
        root: folder of the data set.
        frame_size: (H, W) that every frame must have as it is displayed, pixels.
        kind: which of `KINDS` reads its lists and annotations.
        previous: the table of an earlier ingestion of the same folder. A frame of it whose image and
            annotation still have the same size and time of change is taken from there and not read.
        workers: threads; default two per core.
        progress: called as progress(frames done, frames in total).
        follow_links: frames and lane files may be links that lead out of `root`; else nothing outside of it
            is read.

    Raises:
        LgadError: `root` or a list is missing.
    """
    root = Path(root)
    _require_content(root)
    rejected: list[Rejected] = []
    reader = KINDS[kind]
    entries = reader.entries(root, rejected)
    known = IngestionCache(previous, frame_size)
    started = time.time_ns()
    chunks = [entries[first : first + _CHUNK] for first in range(0, len(entries), _CHUNK)]
    workers = workers or 2 * (os.cpu_count() or 1)

    def check_chunk(chunk: Sequence[Entry]) -> list[int | FrameRecord | Rejected]:
        return [_known_or_checked(entry) for entry in chunk]

    def _known_or_checked(entry: Entry) -> int | FrameRecord | Rejected:
        # The stamp is made before reading: what changes meanwhile is read again next time.
        stamp = file_stamp(root, entry, started) or ""
        if stamp and (row := known.row(entry, stamp)) is not None:
            return row
        return _check(root, reader, entry, frame_size, stamp, follow_links)

    kept: list[Entry] = []
    sources: list[int] = []  # rows of the earlier table, then of the batches
    batches, done, fresh = [], 0, 0
    for chunk, results in zip(
        chunks, ordered_map(check_chunk, chunks, workers, ahead=2 * workers), strict=True
    ):
        records: list[FrameRecord] = []
        for entry, result in zip(chunk, results, strict=True):
            if isinstance(result, tuple):
                rejected.append(result)
                continue
            kept.append(entry)
            if isinstance(result, FrameRecord):
                records.append(result)
                result = len(known.table) + fresh + len(records) - 1
            sources.append(result)
        batches.append(frames_batch(records))
        fresh += len(records)
        done += len(chunk)
        if progress is not None:
            progress(done, len(entries))
    table = pa.concat_tables([known.table, pa.Table.from_batches(batches, FRAMES_SCHEMA)])
    if sources != list(range(len(table))):
        table = table.take(pa.array(sources, pa.int64()))
    frames = to_pandas(_as_listed(table, kept))
    twice, copies = duplicates(frames)
    if copies:
        frames = frames[~twice].reset_index(drop=True)
    notes = tuple(
        Note(encodable(item.file), item.line, encodable(item.text))
        for item in rejected
        if isinstance(item, Note)
    )
    rejected = [item for item in rejected if not isinstance(item, Note)]
    return Ingestion(
        frames, rejected_table([*rejected, *copies]), known.changes(frames), root, follow_links, notes
    )


def _require_content(root: Path) -> None:
    """Refuse a root that is missing, empty or cannot be looked into.

    Raises:
        LgadError: it is.
    """
    remedy = "correct `root` of the data set in lgad.yaml"
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


def _as_listed(table: pa.Table, entries: Sequence[Entry]) -> pa.Table:
    """The table with scenario and flags as the lists have them now: lists change without their frames."""
    for name in ("scenario", "existence"):
        place = FRAMES_SCHEMA.get_field_index(name)
        column = pa.array([getattr(entry, name) for entry in entries], FRAMES_SCHEMA.field(name).type)
        table = table.set_column(place, FRAMES_SCHEMA.field(name), column)
    return table


def _check(
    root: Path, kind: Kind, entry: Entry, frame_size: tuple[int, int], stamp: str, follow_links: bool
) -> FrameRecord | Rejected:
    """Read one frame and its annotation: a new row, or why it is rejected."""
    height, width = frame_size
    try:
        data = read_inside(root, entry.frame, frame_limit(frame_size), follow_links)
        header = image_header(data)
        claimed = header.displayed
    except FileNotFoundError:
        reason = f"names {entry.frame}, which does not exist; restore the frame or take its entry out"
        return entry.file, entry.line, reason
    except LgadError as error:
        return entry.frame, None, str(error)
    if claimed != frame_size:
        reason = (
            f"is {claimed[1]} x {claimed[0]} px where {width} x {height} is declared; "
            "correct frame_size in lgad.yaml or take the frame out of the lists"
        )
        return entry.frame, None, reason
    file, line, whose = _place(entry)
    try:
        annotation = _annotation(root, entry, follow_links)
        lanes = kind.lanes(annotation)
        _refuse_misplaced(lanes, frame_size)
    except FileNotFoundError:
        return file, line, "is missing; restore it, or write an empty one where the frame shows no lanes"
    except AnnotationError as error:
        return file, line or error.line, f"{whose}{error}"
    except LgadError as error:
        return file, line, f"{whose}{error}"
    try:
        picture = picture_hash(read_small(data, header))
    except LgadError as error:
        return entry.frame, None, str(error)
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


def _place(entry: Entry) -> tuple[str, int | None, str]:
    """File, and line if it has a meaning, of an annotation; and its frame where the file has many."""
    if isinstance(entry.annotation, str):
        return entry.annotation, None, ""
    return entry.file, entry.line, f"{entry.frame}: "


def _annotation(root: Path, entry: Entry, follow_links: bool) -> bytes:
    if isinstance(entry.annotation, bytes):
        return entry.annotation
    return read_inside(root, entry.annotation, _LANE_FILE_LIMIT, follow_links)


def _refuse_misplaced(lanes: Sequence[np.ndarray], frame_size: tuple[int, int]) -> None:
    """Refuse a lane outside the frame, or with a point too far away to be meant; it may leave it."""
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
