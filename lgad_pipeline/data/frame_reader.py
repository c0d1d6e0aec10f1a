"""Reading of listed frames: image and annotation of each, and the reason where one cannot be used."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from lgad_pipeline.data.file_stamp import Stamps
from lgad_pipeline.data.frame_schema import FrameRecord, file_fingerprint, frames_batch
from lgad_pipeline.datasets.images import image_header, read_small
from lgad_pipeline.datasets.picture_hash import picture_hash
from lgad_pipeline.datasets.reader import AnnotationError, DatasetReader, FrameEntry, TypeParser
from lgad_pipeline.datasets.safe_io import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import OtherCase
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.lanes.lane_types import parse_types, types_file
from lgad_pipeline.lanes.odd_lanes import repeated_x
from lgad_pipeline.lanes.spline import ragged

_LANE_FILE_LIMIT = 1 << 20  # bytes; the longest lane file of CULane has a few thousand


class ChunkResult(NamedTuple):
    """Result of a chunk of listed frames.

    Attributes:
        rows: new rows of the frames table, in the order of the chunk.
        rejections: reason for each frame why it is rejected; None for a frame with a row.
    """

    rows: pa.RecordBatch
    rejections: list[Rejected | None]


@dataclass(frozen=True)
class ChunkReading:
    """Reading of a chunk of listed frames; it can be sent to another process.

    Attributes:
        root: root directory of the data set.
        reader: function that returns the reader; a module cannot be sent to another process.
        frame_size: height and width (H, W) that every frame must have when it is displayed, pixels.
        follow_links: True if links may lead out of the root.
        stamps: stamp of a frame before it is read, so that a file that changes while it is read is read
            again by the next ingestion.
    """

    root: Path
    reader: Callable[[], DatasetReader]
    frame_size: tuple[int, int]
    follow_links: bool
    stamps: Stamps

    def __call__(self, chunk: Sequence[FrameEntry]) -> ChunkResult:
        """Read the frames of a chunk."""
        reader, other_case = self.reader(), OtherCase(self.root)
        results = [
            read_frame(
                self.root,
                reader,
                entry=entry,
                frame_size=self.frame_size,
                stamp=self.stamps(entry) or "",
                follow_links=self.follow_links,
                other_case=other_case,
            )
            for entry in chunk
        ]
        records = [result for result in results if isinstance(result, FrameRecord)]
        return ChunkResult(
            frames_batch(records), [None if isinstance(result, FrameRecord) else result for result in results]
        )


def read_frame(
    root: Path,
    reader: DatasetReader,
    *,
    entry: FrameEntry,
    frame_size: tuple[int, int],
    stamp: str,
    follow_links: bool,
    other_case: OtherCase,
) -> FrameRecord | Rejected:
    """Read one frame and its annotation; return a new row, or the rejected item with its reason."""
    height, width = frame_size
    try:
        data = read_inside(root, entry.frame, limit=frame_limit(frame_size), follow_links=follow_links)
        header = image_header(data)
        claimed = header.displayed
    except FileNotFoundError:
        found = other_case.find(entry.frame)
        reason = (
            f"names {entry.frame}, which is {found} in other case; rename the file or correct the entry"
            if found
            else f"names {entry.frame}, which does not exist; restore the frame or take its entry out"
        )
        return Rejected(entry.file, entry.line, reason)
    except LgadError as error:
        return Rejected(entry.frame, None, str(error))
    if claimed != frame_size:
        reason = (
            f"is {claimed[1]} x {claimed[0]} px where {width} x {height} is declared; "
            "correct frame_size, [height, width], or take the frame out of the lists"
        )
        return Rejected(entry.frame, None, reason)
    file, line, whose = _place(entry)
    try:
        annotation = _annotation(root, entry, follow_links)
        lanes = reader.parse_annotation(annotation)
        _refuse_misplaced(lanes, frame_size)
        types = _lane_types(root, reader, entry, annotation, len(lanes), follow_links)
    except FileNotFoundError:
        found = other_case.find(file)
        reason = (
            f"is missing, but {found} is there in other case; rename that file"
            if found
            else "is missing; restore it, or write an empty one where the frame shows no lanes"
        )
        return Rejected(file, line, reason)
    except AnnotationError as error:
        return Rejected(file, line or error.line, f"{whose}{error}")
    except LgadError as error:
        return Rejected(file, line, f"{whose}{error}")
    try:
        picture = picture_hash(read_small(data, header))
    except LgadError as error:
        return Rejected(entry.frame, None, str(error))
    return FrameRecord(
        entry.frame,
        entry.split,
        entry.scenario,
        lanes,
        types,
        entry.existence,
        width,
        height,
        file_fingerprint(data),
        file_fingerprint(annotation),
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
    return read_inside(root, entry.annotation, limit=_LANE_FILE_LIMIT, follow_links=follow_links)


def _lane_types(
    root: Path, reader: DatasetReader, entry: FrameEntry, annotation: bytes, lanes: int, follow_links: bool
) -> tuple[str, ...] | None:
    """Return the type of each lane; None if the data set states none for this frame.

    Raises:
        AnnotationError: the file of types is not text, or has another number of lines.
    """
    # isinstance with a protocol would take as long as reading a lane file.
    parse: TypeParser | None = getattr(reader, "parse_lane_types", None)
    if parse is not None:
        types = tuple(parse(annotation))
        return types if any(types) else None
    file = types_file(entry.annotation) if isinstance(entry.annotation, str) else None
    if file is None:
        return None
    try:
        content = read_inside(root, file, limit=_LANE_FILE_LIMIT, follow_links=follow_links)
        return parse_types(content, lanes=lanes)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise AnnotationError(f"has types in {file}, which {error}") from error


def _refuse_misplaced(lanes: Sequence[np.ndarray], frame_size: tuple[int, int]) -> None:
    """Check that each lane is partly in the frame, and no point farther outside than the frame is large."""
    size = np.array(frame_size[::-1], np.float32)
    filled = [(number, lane) for number, lane in enumerate(lanes, 1) if len(lane)]
    if not filled:
        return
    points = np.concatenate([lane for _, lane in filled])
    if (points >= 0).all() and (points < size).all():
        return
    for number, lane in filled:
        least, largest = lane.min(axis=0), lane.max(axis=0)
        if least[0] < 0 and (x := repeated_x(ragged([lane]))[0]) < 0:
            raise AnnotationError(
                f"has points at x = {x:g} in lane {number}, a mark of absent points; leave them out", number
            )
        if not ((least >= -size) & (largest <= 2 * size)).all():
            raise AnnotationError(
                f"has a point farther outside the frame than the frame is large, in lane {number}; "
                "correct the lane",
                number,
            )
        if not ((largest >= 0) & (least < size)).all():
            raise AnnotationError(
                f"has lane {number} wholly outside the frame; correct the lane or take it out", number
            )
