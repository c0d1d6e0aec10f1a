"""Schemas of the frames table and of the rejected items, and rows as Arrow batches.

Worker processes import this module and so not pandas, which takes 40 MB in each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from lgad_pipeline.config.splits import SCENARIOS


def described(name: str, kind: pa.DataType, description: str, *, nullable: bool = False) -> pa.Field:
    """Create an Arrow field whose description is stored in the file."""
    return pa.field(name, kind, nullable=nullable, metadata={"description": description})


def file_fingerprint(content: bytes) -> str:
    """Return the fingerprint of an image or annotation file in the frames table: BLAKE2b-128, hexadecimal."""
    return blake2b(content, digest_size=16).hexdigest()


FRAMES_SCHEMA = pa.schema(
    [
        described("frame", pa.string(), "path of the image below the data set's root, no leading slash"),
        described("split", pa.string(), "train, val or test"),
        described(
            "scenario", pa.string(), "category of a test frame: " + ", ".join(SCENARIOS), nullable=True
        ),
        described(
            "lanes",
            pa.list_(pa.list_(pa.list_(pa.float32(), 2))),
            "annotated lanes in the file's order, points (x, y) in frame pixels, pixel centres at integers",
        ),
        described(
            "lane_types",
            pa.list_(pa.string()),
            "type of each lane as annotated, such as dashed white; empty: unknown; null: of no lane known",
            nullable=True,
        ),
        described(
            "existence",
            pa.list_(pa.bool_()),  # not of fixed size: Parquet cannot read such a list when it is null
            "flags of the slots far left, left, right, far right as the list file states them, else null",
            nullable=True,
        ),
        described("width", pa.int32(), "width of the frame in pixels"),
        described("height", pa.int32(), "height of the frame in pixels"),
        described("fingerprint", pa.string(), "BLAKE2b-128 of the image file's bytes, hexadecimal"),
        described("lane_fingerprint", pa.string(), "BLAKE2b-128 of the annotation's bytes, hexadecimal"),
        described(
            "picture_hash",
            pa.string(),
            "difference hash of 256 bits of the picture, hexadecimal; null: too flat to compare",
            nullable=True,
        ),
        described(
            "stamp",
            pa.string(),
            "size and time of change of image and annotation: as long as they are the same, nothing is read",
        ),
    ]
)

REJECTED_SCHEMA = pa.schema(
    [
        described("file", pa.string(), "the file at fault, below the data set's root"),
        described("line", pa.int64(), "line of that file, counted from 1", nullable=True),
        described("reason", pa.string(), "what is wrong and the remedy"),
    ]
)


@dataclass(frozen=True)
class FrameRecord:
    """Row of the frames table; `FRAMES_SCHEMA` describes the fields."""

    frame: str
    split: str
    scenario: str | None
    lanes: list[np.ndarray]
    lane_types: tuple[str, ...] | None
    existence: tuple[bool, ...] | None
    width: int
    height: int
    fingerprint: str
    lane_fingerprint: str
    picture_hash: str | None
    stamp: str


def frames_batch(records: Sequence[FrameRecord]) -> pa.RecordBatch:
    """Convert records to one Arrow batch of `FRAMES_SCHEMA`."""
    columns = {
        field.name: _lanes_array([record.lanes for record in records])
        if field.name == "lanes"
        else pa.array([getattr(record, field.name) for record in records], field.type)
        for field in FRAMES_SCHEMA
    }
    return pa.RecordBatch.from_arrays(list(columns.values()), schema=FRAMES_SCHEMA)


def _lanes_array(lanes_of_frames: Sequence[Sequence[np.ndarray]]) -> pa.Array:
    """Build the nested lanes from flat buffers; lists of Python floats need a hundred times the memory."""
    lanes = [lane for frame in lanes_of_frames for lane in frame]
    values = np.concatenate(
        [np.asarray(lane, np.float32).reshape(-1) for lane in lanes] or [np.zeros(0, np.float32)]
    )
    points = pa.FixedSizeListArray.from_arrays(pa.array(values, pa.float32()), 2)
    lane_offsets = np.cumsum([0, *(len(lane) for lane in lanes)], dtype=np.int32)
    frame_offsets = np.cumsum([0, *(len(frame) for frame in lanes_of_frames)], dtype=np.int32)
    return pa.ListArray.from_arrays(frame_offsets, pa.ListArray.from_arrays(lane_offsets, points))
