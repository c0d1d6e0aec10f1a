"""One part of the training shards: an Arrow IPC file that knows what it was made from and if it is whole."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.frames import described
from lgad_pipeline.data.images import ImageError, image_size, read_image
from lgad_pipeline.data.labels import slot_lanes_of
from lgad_pipeline.data.parallel import ordered_map
from lgad_pipeline.data.reading import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path
from lgad_pipeline.lanes.raster import label_map
from lgad_pipeline.lanes.view import View

SHARD_SCHEMA = pa.schema(
    [
        described("frame", pa.string(), "path of the image below the data set's root"),
        described("scenario", pa.string(), "category of a test frame", nullable=True),
        described(
            "existence", pa.list_(pa.bool_(), 4), "flags of the slots far left, left, right, far right"
        ),
        described("image", pa.binary(), "JPEG at training size"),
        described("label", pa.binary(), "PNG at training size: 0 background, 1..4 slots"),
    ]
)

_FORMAT = 3  # raise it when the same inputs give other shards, so that old parts are made anew


@dataclass(frozen=True)
class Packing:
    """What one frame's entry in a shard depends on, beside the frame."""

    root: Path
    view: View
    lane_width: int
    quality: int
    follow_links: bool = False


def part_fingerprint(rows: pd.DataFrame, labels: pd.DataFrame, packing: Packing) -> str:
    """BLAKE2b-64, hexadecimal, of all that a part's content depends on."""
    digest = blake2b(digest_size=8)
    digest.update(repr((_FORMAT, asdict(packing.view), packing.lane_width, packing.quality)).encode())
    for row, label in zip(rows.itertuples(index=False), labels.itertuples(index=False), strict=True):
        lanes = slot_lanes_of(label)
        digest.update(repr(tuple(row)).encode())
        for array in (lanes.rows, lanes.xs, lanes.existence):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def write_part(
    path: Path,
    rows: pd.DataFrame,
    labels: pd.DataFrame,
    packing: Packing,
    workers: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Pack the frames of one part, in order, and write the file in one step.

    Args:
        path: the file.
        rows: frame, split, scenario and fingerprint of each.
        labels: their lane labels, row by row.
        packing: what else the content depends on.
        workers: threads.
        progress: called with the number of frames done.
    """
    pairs = list(zip(rows.itertuples(index=False), labels.itertuples(index=False), strict=True))
    packed, set_aside = [], []
    for count, result in enumerate(
        ordered_map(partial(_pack_frame, packing), pairs, workers, 4 * workers), 1
    ):
        (packed if isinstance(result, dict) else set_aside).append(result)
        if progress is not None:
            progress(count)
    batch = pa.RecordBatch.from_pylist(packed, SHARD_SCHEMA)
    metadata = {"checksum": _checksum(batch), "set_aside": json.dumps(set_aside)}
    schema = SHARD_SCHEMA.with_metadata(metadata)
    with (
        atomic_path(path) as beside,
        pa.OSFile(str(beside), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        writer.write_batch(batch.replace_schema_metadata(metadata))


def _pack_frame(packing: Packing, pair: tuple) -> dict | tuple[str, None, str]:
    """The shard's row of one frame, or (file, line, reason) when it cannot be packed."""
    row, label = pair
    try:
        data = read_inside(
            packing.root, row.frame, frame_limit(packing.view.frame_size), packing.follow_links
        )
        if blake2b(data, digest_size=16).hexdigest() != row.fingerprint:
            return row.frame, None, "has changed since it was ingested; ingest the data set again"
        if image_size(data) != packing.view.frame_size:
            raise ImageError("is not of the declared size; correct frame_size in lgad.yaml")
        image = packing.view.image(read_image(data))
    except FileNotFoundError:
        return row.frame, None, "has gone since it was ingested; restore it or ingest the data set again"
    except LgadError as error:
        return row.frame, None, str(error)
    lanes = slot_lanes_of(label)
    drawn = packing.view.label(label_map(lanes, packing.view.frame_size, packing.lane_width))
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, packing.quality])[1]
    # Without row filters the few values of a label map take less room, and a third of the time to decode.
    png = cv2.imencode(".png", drawn, [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE])[1]
    return {
        "frame": row.frame,
        "scenario": row.scenario if isinstance(row.scenario, str) else None,
        "existence": lanes.existence.tolist(),
        "image": jpeg.tobytes(),
        "label": png.tobytes(),
    }


def _checksum(batch: pa.RecordBatch) -> str:
    """BLAKE2b-128 of every value; the buffers' padding does not count."""
    digest = blake2b(digest_size=16)
    for name in ("image", "label"):
        for value in batch.column(name):
            digest.update(value.as_buffer())
    digest.update(
        repr([batch.column(name).to_pylist() for name in ("frame", "scenario", "existence")]).encode()
    )
    return digest.hexdigest()


def is_undamaged(path: Path) -> bool:
    """Whether a part is there, and its content has the checksum with which it was written."""
    return _sound_metadata(path) is not None


def is_whole(path: Path) -> bool:
    """Whether a part is there, undamaged by its checksum, and holds every frame that it should."""
    metadata = _sound_metadata(path)
    # A frame that was set aside may have been restored since: such a part is tried again.
    return metadata is not None and metadata.get(b"set_aside") == b"[]"


def _sound_metadata(path: Path) -> dict[bytes, bytes] | None:
    try:
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
            metadata = batch.schema.metadata
            return metadata if metadata[b"checksum"].decode() == _checksum(batch) else None
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def read_notes(path: Path) -> tuple[list[tuple[str, None, str]], int]:
    """What was set aside when a part was written, as (file, line, reason), and how many frames it holds."""
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        return json.loads(reader.schema.metadata[b"set_aside"]), reader.get_batch(0).num_rows


def open_part(path: Path, rows: int) -> pa.RecordBatch:
    """Map a part of `rows` frames into memory.

    Raises:
        LgadError: it is missing, damaged, or of another length.
    """
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise LgadError(f"{path} is missing or damaged; pack the shards again to mend it.") from error
    if batch.num_rows != rows:
        raise LgadError(
            f"{path} holds {batch.num_rows} frames where the index says {rows}; pack the shards again."
        )
    return batch


def packed_image(batch: pa.RecordBatch, column: str, row: int, flags: int) -> np.ndarray | None:
    """Decode an image of a part straight from the mapped file; None when it is damaged."""
    return cv2.imdecode(np.frombuffer(batch.column(column)[row].as_buffer(), np.uint8), flags)
