"""A data set's folder becomes the frames table; what cannot be used is set aside and counted."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.data import culane, tusimple
from lgad_pipeline.data.entries import AnnotationError, Entry, Kind, SetAside
from lgad_pipeline.data.frames import FRAMES_SCHEMA, FrameRecord, frames_batch, set_aside_table, to_pandas
from lgad_pipeline.data.images import image_size
from lgad_pipeline.data.parallel import ordered_map
from lgad_pipeline.data.reading import frame_limit, read_inside
from lgad_pipeline.errors import LgadError

Progress = Callable[[int, int], None]

# The road world is written in CULane's layout.
KINDS: dict[str, Kind] = {"culane": culane, "synthetic": culane, "tusimple": tusimple}

_LANE_FILE_LIMIT = 1 << 20  # bytes; CULane's longest lane file has a few thousand
_CHUNK = 64  # frames checked by one thread at a time


@dataclass(frozen=True)
class Ingestion:
    """What a data set's folder held.

    Attributes:
        frames: the frames table (`FRAMES_SCHEMA`), train, val, test, each in the order of its list.
        set_aside: what could not be used (`SET_ASIDE_SCHEMA`): file, line, reason with remedy.
        root: the folder.
    """

    frames: pd.DataFrame
    set_aside: pd.DataFrame
    root: Path

    def require(self, max_set_aside: float) -> None:
        """Refuse a data set of which too much was set aside.

        Args:
            max_set_aside: the largest tolerated share of `set_aside` in all rows of both tables.

        Raises:
            LgadError: more was set aside, or not a single frame is left.
        """
        first = "; ".join(f"{row.file}: {row.reason}" for row in self.set_aside.head(1).itertuples())
        if self.frames.empty:
            raise LgadError(
                f"Not one frame of {self.root} can be used ({first or 'the lists are empty'}); "
                "mend the data set or its lists."
            )
        refused, rows = len(self.set_aside), len(self.set_aside) + len(self.frames)
        if refused > max_set_aside * rows:
            raise LgadError(
                f"{refused} of {rows} entries of {self.root} were set aside, more than max_set_aside "
                f"{max_set_aside:g} allows (the first, {first}); mend them or raise it in lgad.yaml."
            )


def ingest(
    root: Path,
    frame_size: tuple[int, int] = (590, 1640),
    kind: str = "culane",
    workers: int | None = None,
    progress: Progress | None = None,
) -> Ingestion:
    """Read a data set's lists, frames and annotations.

    Frame and lane files are read whole, once, to fingerprint them; images are not decoded. Whatever cannot
    be used is set aside with its reason, and the rest goes on. Nothing outside `root` is read. A frame in
    two splits has a row in each: see `split_leakage`.

    Args:
        root: folder of the data set.
        frame_size: (H, W) that every frame must have, pixels.
        kind: which of `KINDS` reads its lists and annotations.
        workers: threads; default two per core.
        progress: called as progress(frames done, frames in total).

    Raises:
        LgadError: `root` or a list is missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise LgadError(f"The data root {root} is missing; correct `root` of the data set in lgad.yaml.")
    if not any(root.iterdir()):
        raise LgadError(
            f"The data root {root} is empty; put the data set there or correct `root` in lgad.yaml."
        )
    set_aside: list[SetAside] = []
    reader = KINDS[kind]
    entries = reader.entries(root, set_aside)
    chunks = [entries[first : first + _CHUNK] for first in range(0, len(entries), _CHUNK)]
    workers = workers or 2 * (os.cpu_count() or 1)

    def check_chunk(chunk: Sequence[Entry]) -> tuple[pa.RecordBatch, list[SetAside]]:
        results = [_check(root, reader, entry, frame_size) for entry in chunk]
        records = [result for result in results if isinstance(result, FrameRecord)]
        return frames_batch(records), [result for result in results if not isinstance(result, FrameRecord)]

    batches, done = [], 0
    for chunk, (batch, refused) in zip(
        chunks, ordered_map(check_chunk, chunks, workers, ahead=2 * workers), strict=True
    ):
        batches.append(batch)
        set_aside += refused
        done += len(chunk)
        if progress is not None:
            progress(done, len(entries))
    frames = to_pandas(pa.Table.from_batches(batches, FRAMES_SCHEMA))
    return Ingestion(frames, set_aside_table(set_aside), root)


def _check(root: Path, kind: Kind, entry: Entry, frame_size: tuple[int, int]) -> FrameRecord | SetAside:
    """Read one frame and its annotation: a row of the table, or why not."""
    height, width = frame_size
    try:
        data = read_inside(root, entry.frame, frame_limit(frame_size))
        claimed = image_size(data)
    except FileNotFoundError:
        reason = f"names {entry.frame}, which does not exist; restore the frame or take the line out"
        return entry.file, entry.line, reason
    except LgadError as error:
        return entry.frame, None, str(error)
    if claimed != frame_size:
        reason = (
            f"is {claimed[1]} x {claimed[0]} px where {width} x {height} is declared; "
            "correct frame_size in lgad.yaml or take the frame out of the lists"
        )
        return entry.frame, None, reason
    file, line = _place(entry)
    try:
        annotation = _annotation(root, entry)
        lanes = kind.lanes(annotation)
        _refuse_outlier(lanes, frame_size)
    except FileNotFoundError:
        return file, line, "is missing; restore it, or write an empty one where the frame shows no lanes"
    except AnnotationError as error:
        return file, line or error.line, str(error)
    except LgadError as error:
        return file, line, str(error)
    fingerprints = [blake2b(content, digest_size=16).hexdigest() for content in (data, annotation)]
    return FrameRecord(
        entry.frame, entry.split, entry.scenario, lanes, entry.existence, width, height, *fingerprints
    )


def _place(entry: Entry) -> tuple[str, int | None]:
    """File, and line if it has a meaning, of an entry's annotation."""
    return (entry.annotation, None) if isinstance(entry.annotation, str) else (entry.file, entry.line)


def _annotation(root: Path, entry: Entry) -> bytes:
    if isinstance(entry.annotation, bytes):
        return entry.annotation
    return read_inside(root, entry.annotation, _LANE_FILE_LIMIT)


def _refuse_outlier(lanes: Sequence[np.ndarray], frame_size: tuple[int, int]) -> None:
    """Refuse a lane with a point too far away to be meant; lanes may leave the frame a little."""
    size = np.array(frame_size[::-1], np.float32)
    for number, lane in enumerate(lanes, 1):
        if not ((lane >= -size) & (lane <= 2 * size)).all():
            raise AnnotationError(
                f"has a point farther outside the frame than the frame is large, in lane {number}; "
                "correct the lane",
                number,
            )
