"""Shard file: one part of the training shards, an Arrow IPC file with images, label maps and flags."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.data.frame_schema import described, file_fingerprint
from lgad_pipeline.data.lane_labels import slot_lanes_of
from lgad_pipeline.data.shard_index import PartEntry, digest_of, is_undamaged
from lgad_pipeline.datasets.image_headers import ImageError
from lgad_pipeline.datasets.images import image_size, read_image
from lgad_pipeline.datasets.safe_io import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.thread_pool import ordered_map
from lgad_pipeline.view import View

SHARD_SCHEMA = pa.schema(
    [
        described("frame", pa.string(), "path of the image below the data set's root"),
        described("scenario", pa.string(), "category of a test frame", nullable=True),
        described("existence", pa.list_(pa.bool_()), "existence flags of the slots, from left to right"),
        described("image", pa.binary(), "JPEG at training size"),
        described("label", pa.binary(), "PNG at training size: 0 background, slots from 1"),
    ]
)

_CLASSES = b"classes"


def types_field(lane_types: Sequence[str]) -> pa.Field:
    """Return the optional column of the lane types: an index of `lane_types` for each slot, -1 unknown."""
    field = described("types", pa.list_(pa.int8()), "type of the lane in each slot: index of classes, or -1")
    return field.with_metadata({**(field.metadata or {}), _CLASSES: json.dumps(list(lane_types)).encode()})


def shard_schema(lane_types: Sequence[str]) -> pa.Schema:
    """Return the schema of a part: `SHARD_SCHEMA`, with the column `types` if types are named."""
    return SHARD_SCHEMA.append(types_field(lane_types)) if lane_types else SHARD_SCHEMA


def lane_types_of(schema: pa.Schema) -> tuple[str, ...]:
    """Return the names of the lane types of a part; empty for a part without the column `types`."""
    if "types" not in schema.names:
        return ()
    return tuple(json.loads((schema.field("types").metadata or {})[_CLASSES]))


@dataclass(frozen=True)
class Packing:
    """Settings of the packing that the content of a shard depends on.

    Attributes:
        root: root directory of the data set.
        view: crop and size to pack the frames with.
        lane_width: width of a lane in the label map, in frame pixels.
        quality: JPEG quality of the packed images, 1..100.
        follow_links: True to accept frames that are links out of `root`.
        lane_types: names of the lane types; empty to pack none.
    """

    root: Path
    view: View
    lane_width: int
    quality: int
    follow_links: bool = False
    lane_types: tuple[str, ...] = ()


def write_part(
    path: Path,
    rows: pd.DataFrame,
    *,
    labels: pd.DataFrame,
    packing: Packing,
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> tuple[PartEntry | None, list[Rejected]]:
    """Pack the frames of one part, in order, and write the file in one step.

    Args:
        path: file to write.
        rows: table of frame, split, scenario and fingerprint of each frame.
        labels: lane labels (`labels_schema`), with the rows of `rows` in the same order.
        packing: settings of the packing.
        workers: number of threads.
        progress: called with the number of frames done.

    Returns:
        The entry of the part for the index, None if no frame can be packed; and the rejected frames
        (file, line, reason).
    """
    pairs = list(zip(rows.itertuples(index=False), labels.itertuples(index=False), strict=True))
    packed: list[dict] = []
    rejected: list[Rejected] = []
    for count, result in enumerate(
        ordered_map(partial(_pack_frame, packing), pairs, workers=workers, ahead=4 * workers), 1
    ):
        if isinstance(result, dict):
            packed.append(result)
        else:
            rejected.append(result)
        if progress is not None:
            progress(count)
    if not packed:
        return None, rejected
    schema = shard_schema(packing.lane_types)
    with (
        atomic_path(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(pa.RecordBatch.from_pylist(packed, schema))
    return PartEntry(file=path.name, rows=len(packed), digest=digest_of(path)), rejected


def _pack_frame(packing: Packing, pair: tuple) -> dict | Rejected:
    """Pack one frame; return its row of the shard, or the rejected item if it cannot be packed."""
    row, label = pair
    try:
        data = read_inside(
            packing.root,
            row.frame,
            limit=frame_limit(packing.view.frame_size),
            follow_links=packing.follow_links,
        )
        if file_fingerprint(data) != row.fingerprint:
            return Rejected(row.frame, None, "has changed since it was ingested; ingest the data set again")
        if image_size(data) != packing.view.frame_size:
            raise ImageError("is not of the declared size; correct frame_size")
        image = packing.view.image(read_image(data))
    except FileNotFoundError:
        return Rejected(
            row.frame, None, "has gone since it was ingested; restore it or ingest the data set again"
        )
    except LgadError as error:
        return Rejected(row.frame, None, str(error))
    lanes = slot_lanes_of(label)
    drawn = packing.view.label(label_map(lanes, packing.view.frame_size, lane_width=packing.lane_width))
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, packing.quality])[1]
    # Without row filters, the PNG of a label map is smaller and takes a third of the time to decode.
    png = cv2.imencode(".png", drawn, [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE])[1]
    packed = {
        "frame": row.frame,
        "scenario": row.scenario if isinstance(row.scenario, str) else None,
        "existence": lanes.existence.tolist(),
        "image": jpeg.tobytes(),
        "label": png.tobytes(),
    }
    if packing.lane_types:
        packed["types"] = [packing.lane_types.index(name) if name else -1 for name in label.types]
    return packed


def open_part(path: Path, part: PartEntry) -> pa.RecordBatch:
    """Map a part into memory after its digest is compared with the index.

    Arrow does not check the offsets in a file and can crash the process on a damaged one, so the digest is
    checked first.

    Args:
        path: file of the part.
        part: entry of the part in the index.

    Raises:
        LgadError: The file is missing or damaged, or its content does not agree with the index.
    """
    if not is_undamaged(path, part.digest):
        raise LgadError(f"{path} is missing or damaged; pack the shards again.")
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        batch = reader.get_batch(0)
        batch.validate(full=True)
        lane_types = lane_types_of(batch.schema)
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise LgadError(f"{path} is not an Arrow file of shards; pack the shards again.") from error
    schema = SHARD_SCHEMA.append(types_field(())) if "types" in batch.schema.names else SHARD_SCHEMA
    required = [field.name for field in schema if not field.nullable]
    agrees = batch.schema.equals(schema) and reader.num_record_batches == 1
    if agrees and lane_types:
        indices = batch.column("types").flatten().to_numpy(zero_copy_only=False)
        agrees = bool(((indices >= -1) & (indices < len(lane_types))).all())
    if not agrees or batch.num_rows != part.rows or any(batch.column(name).null_count for name in required):
        raise LgadError(
            f"{path} does not hold the {part.rows} frames that the index names; pack the shards again."
        )
    return batch


def packed_image(batch: pa.RecordBatch, column: str, *, row: int, flags: int) -> np.ndarray | None:
    """Decode an image of a part directly from the mapped file; return None if it is damaged."""
    data = np.frombuffer(batch.column(column)[row].as_buffer(), np.uint8)
    return cv2.imdecode(data, flags) if len(data) else None
