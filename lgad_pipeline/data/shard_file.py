"""Shard file: one part of the training shards, an Arrow IPC file with images, label maps and flags."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.data.frame_table import described
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


@dataclass(frozen=True)
class Packing:
    """Settings of the packing that the content of a shard depends on.

    Attributes:
        root: root directory of the data set.
        view: crop and size to pack the frames with.
        lane_width: width of a lane in the label map, in frame pixels.
        quality: JPEG quality of the packed images, 1..100.
        follow_links: True to accept frames that are links out of `root`.
    """

    root: Path
    view: View
    lane_width: int
    quality: int
    follow_links: bool = False


def part_fingerprint(rows: pd.DataFrame, labels: pd.DataFrame, *, packing: Packing) -> str:
    """Compute the BLAKE2b-64 digest, hexadecimal, of all inputs of a part."""
    digest = blake2b(digest_size=8)
    code = code_fingerprint(
        "lgad_pipeline.data.shard_file:_pack_frame", "lgad_pipeline.data.shard_file:write_part"
    )
    settings = asdict(packing.view), packing.lane_width, packing.quality
    digest.update(repr((code, *settings)).encode())
    for row, label in zip(rows.itertuples(index=False), labels.itertuples(index=False), strict=True):
        lanes = slot_lanes_of(label)
        digest.update(repr(tuple(row)).encode())
        for array in (lanes.rows, lanes.xs, lanes.existence):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_part(
    path: Path,
    rows: pd.DataFrame,
    *,
    labels: pd.DataFrame,
    packing: Packing,
    workers: int,
    progress: Callable[[int], None] | None,
) -> tuple[PartEntry | None, list[Rejected]]:
    """Pack the frames of one part, in order, and write the file in one step.

    Args:
        path: file to write.
        rows: table of frame, split, scenario and fingerprint of each frame.
        labels: lane labels (`LABELS_SCHEMA`), with the rows of `rows` in the same order.
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
    with (
        atomic_path(path) as unfinished,
        pa.OSFile(str(unfinished), "wb") as sink,
        pa.ipc.new_file(sink, SHARD_SCHEMA) as writer,
    ):
        writer.write_batch(pa.RecordBatch.from_pylist(packed, SHARD_SCHEMA))
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
        if blake2b(data, digest_size=16).hexdigest() != row.fingerprint:
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
    return {
        "frame": row.frame,
        "scenario": row.scenario if isinstance(row.scenario, str) else None,
        "existence": lanes.existence.tolist(),
        "image": jpeg.tobytes(),
        "label": png.tobytes(),
    }


@dataclass(frozen=True)
class PartInput:
    """Inputs of one part.

    Attributes:
        split: split of the frames.
        name: file name of the part.
        rows: table of frame, split, scenario and fingerprint of each frame.
        labels: lane labels (`LABELS_SCHEMA`), with the rows of `rows` in the same order.
    """

    split: str
    name: str
    rows: pd.DataFrame
    labels: pd.DataFrame


def part_inputs(
    rows: pd.DataFrame, labels: pd.DataFrame, usable: np.ndarray, *, size: int, packing: Packing
) -> Iterator[PartInput]:
    """Yield the inputs of the parts, split by split.

    Args:
        rows: table of frame, split, scenario and fingerprint of each frame.
        labels: lane labels (`LABELS_SCHEMA`), with the rows of `rows` in the same order.
        usable: flags, bool (frames,), of the frames to pack.
        size: number of frames in a part.
        packing: settings of the packing.
    """
    for split in SPLITS:
        chosen = np.flatnonzero((rows["split"] == split).to_numpy() & usable)
        for number, first in enumerate(range(0, len(chosen), size)):
            positions = chosen[first : first + size]
            part_rows, part_labels = rows.iloc[positions], labels.iloc[positions]
            fingerprint = part_fingerprint(part_rows, part_labels, packing=packing)
            yield PartInput(split, f"{split}-{number:05d}-{fingerprint}.arrow", part_rows, part_labels)


class PackedPart(NamedTuple):
    """Result of packing a part on a cluster.

    Attributes:
        entry: entry of the part for the index, None if no frame can be packed.
        rejected: rejected frames (file, line, reason).
        content: bytes of the file.
    """

    entry: PartEntry | None
    rejected: list[Rejected]
    content: bytes


def packed_part(packing: Packing, part: PartInput) -> PackedPart:
    """Pack a part, and return the file instead of writing it; for a machine without the folder of shards."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / part.name
        entry, rejected = write_part(
            path, part.rows, labels=part.labels, packing=packing, workers=os.cpu_count() or 1, progress=None
        )
        return PackedPart(entry, rejected, path.read_bytes() if entry else b"")


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
    except (OSError, ValueError, pa.ArrowException) as error:
        raise LgadError(f"{path} is not an Arrow file of shards; pack the shards again.") from error
    required = [field.name for field in SHARD_SCHEMA if not field.nullable]
    agrees = batch.schema.equals(SHARD_SCHEMA) and reader.num_record_batches == 1
    if not agrees or batch.num_rows != part.rows or any(batch.column(name).null_count for name in required):
        raise LgadError(
            f"{path} does not hold the {part.rows} frames that the index names; pack the shards again."
        )
    return batch


def packed_image(batch: pa.RecordBatch, column: str, *, row: int, flags: int) -> np.ndarray | None:
    """Decode an image of a part directly from the mapped file; return None if it is damaged."""
    data = np.frombuffer(batch.column(column)[row].as_buffer(), np.uint8)
    return cv2.imdecode(data, flags) if len(data) else None
