"""Frames table: one row per frame, readable by pandas, DuckDB or any Parquet reader."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from lgad_pipeline.atomic_files import atomic_path, remove_left_overs
from lgad_pipeline.config.splits import SCENARIOS, SPLITS
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA, REJECTED_SCHEMA
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected, lane_file, write_lanes
from lgad_pipeline.lanes.lane_types import remove_types, write_types

_ROW_GROUP = 1 << 16
"""Rows that are compressed together."""
_READ_ROWS = 1 << 14
"""Rows that are decoded at a time."""
UNLISTED = "unlisted"
"""Name of the group of test frames that are in no category."""


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Convert to pandas; nested columns stay in Arrow memory, which is far smaller than NumPy objects."""
    return table.to_pandas(
        types_mapper=lambda kind: pd.ArrowDtype(kind) if pa.types.is_nested(kind) else None
    )


def rejected_table(rows: Iterable[Rejected]) -> pd.DataFrame:
    """Create the table of rejected items (`REJECTED_SCHEMA`)."""
    # A file name can contain bytes that are not UTF-8, which Arrow cannot store, so they are escaped.
    texts = ((encodable(file), line, encodable(reason)) for file, line, reason in rows)
    names = REJECTED_SCHEMA.names
    table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in texts], REJECTED_SCHEMA)
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def encodable(name: str) -> str:
    """Return a file name as text that can be stored: bytes that are not UTF-8 become escapes."""
    return name.encode(errors="backslashreplace").decode()


def lanes_of(value: Iterable) -> list[np.ndarray]:
    """Convert one cell of the column `lanes` to arrays: float32 (N, 2) each, (x, y) in frame pixels."""
    return [np.array(list(lane), np.float32).reshape(-1, 2) for lane in value]


def list_or_none(value: Any) -> list | None:
    """Return a list of a nullable column as a Python list; None for null."""
    return None if value is None or value is pd.NA else list(value)


def frames_by_scenario(table: pd.DataFrame) -> dict[str, list[str]]:
    """Group the frames of a split by scenario, in CULane's order; frames without one are `UNLISTED`."""
    names = table["scenario"].where(table["scenario"].isin(SCENARIOS), UNLISTED)
    lists = {name: table.loc[names == name, "frame"].tolist() for name in (*SCENARIOS, UNLISTED)}
    return {name: frames for name, frames in lists.items() if frames}


def write_lane_files(frames: pd.DataFrame, folder: Path) -> None:
    """Write the lanes of every frame in CULane's format: `.lines.txt` at the frame's path below `folder`.

    A frame with annotated types also gets a file of types.
    """
    for frame, lanes, types in zip(frames["frame"], frames["lanes"], frames["lane_types"], strict=True):
        path = lane_file(folder, frame)
        remove_types(path)
        write_lanes(path, lanes_of(lanes))
        write_types(path, list_or_none(types) or ())


def write_table(path: Path, table: pd.DataFrame, *, schema: pa.Schema) -> None:
    """Write a table as Parquet in one step, with the schema's field descriptions.

    Raises:
        LgadError: A column of the schema is missing or of another type, or the folder cannot be written to.
    """
    try:
        arrow = pa.Table.from_pandas(table, schema=schema, preserve_index=False)
    except (KeyError, pa.ArrowException) as error:
        raise LgadError(
            f"The table for {path} does not follow its schema ({error}); write it again."
        ) from error
    remove_left_overs(path.parent.glob(f".{path.name}.*.part"))
    with atomic_path(path) as temporary:
        # The metadata of pandas names types that pandas cannot read again, so only the Arrow schema is kept.
        pq.write_table(
            arrow.replace_schema_metadata(None), temporary, compression="zstd", row_group_size=_ROW_GROUP
        )


def read_table(path: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Read a Parquet table that `write_table` wrote; nested columns stay in Arrow memory.

    Args:
        path: file of the table.
        columns: names of the columns to read; None for all.

    Raises:
        LgadError: The file is missing or damaged.
    """
    try:
        # Decoding all lanes at once would need four times the memory of the table.
        with pq.ParquetFile(path) as file:
            batches = list(file.iter_batches(_READ_ROWS, columns=columns and list(columns)))
            return to_pandas(pa.Table.from_batches(batches, None if batches else file.schema_arrow))
    except FileNotFoundError as error:
        raise LgadError(f"{path} is missing; create it again.") from error
    except pa.ArrowException as error:
        raise LgadError(f"{path} is damaged ({error}); delete it and create it again.") from error


def dataset_fingerprint(frames: pd.DataFrame, *, lane_types: bool = False) -> str:
    """Compute the BLAKE2b-128 digest, hexadecimal, of all columns that a model depends on, in row order.

    Args:
        frames: frames table (`FRAMES_SCHEMA`).
        lane_types: True for models that learn the types of lanes.
    """
    digest = blake2b(digest_size=16)
    names = ["frame", "split", "scenario", "existence", "fingerprint", "lane_fingerprint"]
    for row in frames[names].itertuples(index=False):
        flags = "".join(str(int(flag)) for flag in list_or_none(row[3]) or ())
        scenario = row[2] if isinstance(row[2], str) else ""
        digest.update("\t".join([row[0], row[1], scenario, flags, row[4], row[5]]).encode() + b"\n")
    for content in _lane_bytes(frames["lanes"]):
        digest.update(content)
    for types in frames["lane_types"] if lane_types else ():
        digest.update(repr(list_or_none(types)).encode())
    return digest.hexdigest()


def _lane_bytes(column: pd.Series) -> Iterator[bytes]:
    """Yield the column `lanes`, some rows at a time: lanes per frame, points per lane, points.

    The annotation's bytes are not enough for a fingerprint: other code may read other lanes from them.
    """
    kind = FRAMES_SCHEMA.field("lanes").type
    for first in range(0, len(column), _READ_ROWS):
        rows = pa.array(column.iloc[first : first + _READ_ROWS], kind)
        frames = pa.chunked_array(rows).combine_chunks()
        lanes = frames.flatten()
        for lists in (frames, lanes):
            yield np.diff(lists.offsets.to_numpy()).tobytes()
        yield lanes.flatten().flatten().to_numpy().tobytes()


def require_splits(frames: pd.DataFrame) -> None:
    """Check that every split of the frames table has frames.

    Raises:
        LgadError: A split has no frames; the message gives the number of frames of each split and the remedy.
    """
    counts = {split: int((frames["split"] == split).sum()) for split in SPLITS}
    empty = [split for split, count in counts.items() if not count]
    if empty:
        listed = ", ".join(f"{split} {count}" for split, count in counts.items())
        raise LgadError(
            f"No usable frame is in the split {' and '.join(empty)} (frames: {listed}), and all three splits "
            "are needed. Import a set of `lgad import` again without `--run`, or with "
            "smaller `--val` or `--test`; in another set, add frames of the split to its lists."
        )


def split_leakage(frames: pd.DataFrame) -> pd.DataFrame:
    """Find the test frames that are also in train or val, by path or by the same bytes under another name.

    Returns:
        Table with one row per such test frame, matches by path first: test_frame, other_frame (the first of
        several), other_split, by ("path" or "bytes"); empty without leakage.
    """
    names = {"frame": "other_frame", "split": "other_split"}
    test = frames.loc[frames["split"] == "test", ["frame", "fingerprint"]]
    train_and_val = frames.loc[frames["split"] != "test", ["frame", "split", "fingerprint"]].rename(
        columns=names
    )
    # Only the first of several equal frames: a thousand on either side would give a million pairs.
    by_path = test.merge(
        train_and_val.drop_duplicates("other_frame"), left_on="frame", right_on="other_frame"
    )
    rest = test[~test["frame"].isin(by_path["frame"])]
    by_bytes = rest.merge(train_and_val.drop_duplicates("fingerprint"), on="fingerprint")
    pairs = pd.concat([by_path.assign(by="path"), by_bytes.assign(by="bytes")], ignore_index=True)
    return pairs.rename(columns={"frame": "test_frame"})[["test_frame", "other_frame", "other_split", "by"]]
