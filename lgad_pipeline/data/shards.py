"""Training shards: image, label map and flags of every frame at training size, memory-mapped."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.data.frames import SPLITS, described, set_aside_table
from lgad_pipeline.data.images import ImageError, decode_image, image_size
from lgad_pipeline.data.labels import slot_lanes_of
from lgad_pipeline.data.parallel import ordered_map
from lgad_pipeline.data.reading import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path, write_text
from lgad_pipeline.lanes.raster import label_map
from lgad_pipeline.lanes.view import View

Progress = Callable[[int, int], None]

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

_INDEX = "index.json"
_FORMAT = 1  # raise it when the same inputs give other shards, so that old parts are made anew


@dataclass(frozen=True)
class Sample:
    """One frame at training size.

    Attributes:
        frame: path of the image below the data set's root.
        image: uint8 (H, W, 3), RGB.
        label: uint8 (H, W), 0 background, 1..4 slots.
        existence: bool (4,), slots far left, left, right, far right.
        scenario: category of a test frame, else None.
    """

    frame: str
    image: np.ndarray
    label: np.ndarray
    existence: np.ndarray
    scenario: str | None


class ShardSplit:
    """The frames of one split, at random access; safe to read from several threads."""

    def __init__(self, folder: Path, parts: Sequence[Mapping]):
        self._paths = [folder / part["file"] for part in parts]
        self._batches = [
            _open_part(path, part["rows"]) for path, part in zip(self._paths, parts, strict=True)
        ]
        self._ends = np.cumsum([batch.num_rows for batch in self._batches])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> Sample:
        """Decode frame `index` of the split, 0 <= index < len.

        Raises:
            IndexError: there is no such frame.
            LgadError: the shard is damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(index)
        part = int(np.searchsorted(self._ends, index, side="right"))
        batch = self._batches[part]
        row = index - int(self._ends[part]) + batch.num_rows
        image = _decode(batch, "image", row, cv2.IMREAD_COLOR_RGB)
        label = _decode(batch, "label", row, cv2.IMREAD_UNCHANGED)
        if image is None or label is None:
            raise LgadError(f"{self._paths[part]} is damaged at row {row}; pack the shards again to mend it.")
        existence = np.array(batch.column("existence")[row].as_py(), dtype=bool)
        frame, scenario = (batch.column(name)[row].as_py() for name in ("frame", "scenario"))
        return Sample(frame, image, label, existence, scenario)

    @property
    def table(self) -> pd.DataFrame:
        """Frame and scenario of every sample, in order."""
        columns = [
            pa.table([batch.column("frame"), batch.column("scenario")], ["frame", "scenario"])
            for batch in self._batches
        ]
        return pa.concat_tables(columns).to_pandas()


@dataclass(frozen=True)
class ShardSet:
    """A packed data set.

    Attributes:
        splits: the splits that hold frames, by name.
        view: how a frame became an image.
        fingerprint: BLAKE2b-128, hexadecimal, of everything that the shards were made from.
        set_aside: frames that could not be packed (`SET_ASIDE_SCHEMA`).
    """

    splits: dict[str, ShardSplit]
    view: View
    fingerprint: str
    set_aside: pd.DataFrame

    @classmethod
    def open(cls, folder: Path) -> "ShardSet":
        """Map a packed data set into memory; nothing is decoded.

        Raises:
            LgadError: the folder holds no complete data set, or a part is missing or damaged.
        """
        try:
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            raise LgadError(f"{folder / _INDEX} is missing or damaged; pack the shards again.") from error
        height_width = {name: tuple(index["view"][name]) for name in ("frame_size", "image_size")}
        view = View(**height_width, crop_top=index["view"]["crop_top"])
        splits = {name: ShardSplit(folder, parts) for name, parts in index["splits"].items()}
        return cls(splits, view, index["fingerprint"], set_aside_table(map(tuple, index["set_aside"])))

    def __getitem__(self, split: str) -> ShardSplit:
        """The split of that name.

        Raises:
            LgadError: no frame of that split was packed.
        """
        if split not in self.splits:
            raise LgadError(
                f"The shards hold no split {split!r} but {', '.join(self.splits)}; add frames to its list."
            )
        return self.splits[split]


@dataclass(frozen=True)
class _Packing:
    """What one frame's entry in a shard depends on, beside the frame."""

    root: Path
    view: View
    lane_width: int
    quality: int


def pack(
    frames: pd.DataFrame,
    labels: pd.DataFrame,
    root: Path,
    output: Path,
    view: View,
    lane_width: int,
    quality: int = 95,
    rows_per_shard: int = 512,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ShardSet:
    """Pack frames and their label maps, at training size, into Arrow IPC files.

    The label map is drawn at frame size and then reduced with exact nearest sampling; the existence flags
    stay those of the frame. A part is named by the fingerprint of its inputs and carries the checksum of
    its content: a part that is there and whole is kept, so a killed packing goes on where it was and a
    damaged part alone is made anew. The index is written last; until then the old shards stay valid. Then
    files that the index does not name are removed. The bytes depend on the inputs alone, not on `workers`.

    Args:
        frames: the frames table.
        labels: the lane labels, row by row of `frames`.
        root: folder below which the frames lie.
        output: folder for the shards; it belongs to them alone.
        view: how a frame becomes an image.
        lane_width: width of a lane in the label map, frame pixels.
        quality: JPEG quality of the packed images, 1..100.
        rows_per_shard: frames in a part.
        workers: threads; default one per core.
        progress: called as progress(frames done, frames in total).

    Raises:
        LgadError: the labels do not belong to the frames, not one frame can be packed, or `output` cannot be
            written to.
    """
    if not frames["frame"].reset_index(drop=True).equals(labels["frame"].reset_index(drop=True)):
        raise LgadError("The lane labels do not belong to the frames table; make the lane labels anew.")
    packing = _Packing(Path(root), view, lane_width, quality)
    rows = frames[["frame", "split", "scenario", "fingerprint"]].reset_index(drop=True)
    done, parts, set_aside = 0, {}, []
    for split in SPLITS:
        chosen = np.flatnonzero((rows["split"] == split).to_numpy())
        for number, first in enumerate(range(0, len(chosen), rows_per_shard)):
            positions = chosen[first : first + rows_per_shard]
            part_rows, part_labels = rows.iloc[positions], labels.iloc[positions]
            name = f"{split}-{number:05d}-{_part_fingerprint(part_rows, part_labels, packing)}.arrow"
            if not _is_whole(output / name):
                report = partial(_shifted, progress, done, len(rows)) if progress else None
                _write_part(
                    output / name, part_rows, part_labels, packing, workers or os.cpu_count() or 1, report
                )
            metadata, count = _read_metadata(output / name)
            set_aside += json.loads(metadata[b"set_aside"])
            if count:
                parts.setdefault(split, []).append({"file": name, "rows": count})
            done += len(positions)
            if progress is not None:
                progress(done, len(rows))
    if not parts:
        example = "; ".join(f"{file}: {reason}" for file, _, reason in set_aside[:1])
        raise LgadError(f"Not one frame below {root} could be packed ({example}); mend the data set.")
    _write_index(output, parts, view, set_aside)
    return ShardSet.open(output)


def _write_index(output: Path, parts: dict, view: View, set_aside: list) -> None:
    names = [part["file"] for split in parts.values() for part in split]
    fingerprint = blake2b("\n".join(names).encode(), digest_size=16).hexdigest()
    index = {"fingerprint": fingerprint, "view": asdict(view), "splits": parts, "set_aside": set_aside}
    write_text(output / _INDEX, json.dumps(index, indent=1) + "\n")
    for path in output.iterdir():
        if path.name not in {*names, _INDEX} and path.is_file():
            path.unlink()


def _shifted(progress: Progress, offset: int, total: int, done: int) -> None:
    progress(offset + done, total)


def _part_fingerprint(rows: pd.DataFrame, labels: pd.DataFrame, packing: _Packing) -> str:
    digest = blake2b(digest_size=8)
    view = packing.view
    digest.update(repr((_FORMAT, asdict(view), packing.lane_width, packing.quality)).encode())
    for row, label in zip(rows.itertuples(index=False), labels.itertuples(index=False), strict=True):
        lanes = slot_lanes_of(label)
        digest.update(repr(tuple(row)).encode())
        for array in (lanes.rows, lanes.xs, lanes.existence):
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _write_part(
    path: Path,
    rows: pd.DataFrame,
    labels: pd.DataFrame,
    packing: _Packing,
    workers: int,
    progress: Callable[[int], None] | None,
) -> None:
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


def _pack_frame(packing: _Packing, pair: tuple) -> dict | tuple[str, None, str]:
    """The shard's row of one frame, or (file, line, reason) when it cannot be packed."""
    row, label = pair
    try:
        data = read_inside(packing.root, row.frame, frame_limit(packing.view.frame_size))
        if blake2b(data, digest_size=16).hexdigest() != row.fingerprint:
            return row.frame, None, "has changed since it was ingested; ingest the data set again"
        if image_size(data) != packing.view.frame_size:
            raise ImageError("is not of the declared size; correct frame_size in lgad.yaml")
        image = packing.view.image(decode_image(data))
    except FileNotFoundError:
        return row.frame, None, "has gone since it was ingested; restore it or ingest the data set again"
    except LgadError as error:
        return row.frame, None, str(error)
    lanes = slot_lanes_of(label)
    drawn = packing.view.label(label_map(lanes, packing.view.frame_size, packing.lane_width))
    jpeg = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, packing.quality])[1]
    png = cv2.imencode(".png", drawn)[1]
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


def _is_whole(path: Path) -> bool:
    try:
        with pa.memory_map(str(path)) as source:
            batch = pa.ipc.open_file(source).get_batch(0)
            metadata = batch.schema.metadata
            # A frame that was set aside may have been restored since: such a part is tried again.
            return metadata[b"checksum"].decode() == _checksum(batch) and metadata[b"set_aside"] == b"[]"
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return False


def _read_metadata(path: Path) -> tuple[dict[bytes, bytes], int]:
    with pa.memory_map(str(path)) as source:
        reader = pa.ipc.open_file(source)
        return reader.schema.metadata, reader.get_batch(0).num_rows


def _open_part(path: Path, rows: int) -> pa.RecordBatch:
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
    except (OSError, pa.ArrowException) as error:
        raise LgadError(f"{path} is missing or damaged; pack the shards again to mend it.") from error
    if batch.num_rows != rows:
        raise LgadError(
            f"{path} holds {batch.num_rows} frames where the index says {rows}; pack the shards again."
        )
    return batch


def _decode(batch: pa.RecordBatch, column: str, row: int, flags: int) -> np.ndarray | None:
    return cv2.imdecode(np.frombuffer(batch.column(column)[row].as_buffer(), np.uint8), flags)
