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

from lgad_pipeline.data.entries import SetAside
from lgad_pipeline.data.frames import SPLITS, set_aside_table
from lgad_pipeline.data.labels import unlabelled
from lgad_pipeline.data.parts import (
    Packing,
    is_whole,
    open_part,
    packed_image,
    part_fingerprint,
    read_notes,
    write_part,
)
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import write_text
from lgad_pipeline.lanes.view import View

Progress = Callable[[int, int], None]

INDEX = "index.json"  # names the parts of every split
_MISLEADING = "has annotated lanes of which none fits a slot; correct them or take the frame out of the list"


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
        self._batches = [open_part(path, part["rows"]) for path, part in zip(self._paths, parts, strict=True)]
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
        image = packed_image(batch, "image", row, cv2.IMREAD_COLOR_RGB)
        label = packed_image(batch, "label", row, cv2.IMREAD_UNCHANGED)
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
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError, RecursionError) as error:
            raise LgadError(f"{folder / INDEX} is missing or damaged; pack the shards again.") from error
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
    follow_links: bool = False,
) -> ShardSet:
    """Pack frames and their label maps, at training size, into Arrow IPC files.

    The label map is drawn at frame size and then reduced with exact nearest sampling; the existence flags
    stay those of the frame. A part is named by the fingerprint of its inputs and carries the checksum of
    its content: a part that is there and whole is kept, so a killed packing goes on where it was and a
    damaged part alone is made anew. A training frame whose annotated lanes all got no slot would teach that
    there are none: it is set aside. The index is written last; until then the old shards stay valid. Then
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
        follow_links: frames may be links that lead out of `root`.

    Raises:
        LgadError: the labels do not belong to the frames, not one frame can be packed, or `output` cannot be
            written to.
    """
    if not frames["frame"].reset_index(drop=True).equals(labels["frame"].reset_index(drop=True)):
        raise LgadError("The lane labels do not belong to the frames table; make the lane labels anew.")
    packing = Packing(Path(root), view, lane_width, quality, follow_links)
    rows = frames[["frame", "split", "scenario", "fingerprint"]].reset_index(drop=True)
    misleading = unlabelled(frames, labels) & (rows["split"] == "train").to_numpy()
    done, parts = int(misleading.sum()), {}
    set_aside: list[SetAside] = [(frame, None, _MISLEADING) for frame in rows["frame"][misleading]]
    for split in SPLITS:
        chosen = np.flatnonzero((rows["split"] == split).to_numpy() & ~misleading)
        for number, first in enumerate(range(0, len(chosen), rows_per_shard)):
            positions = chosen[first : first + rows_per_shard]
            part_rows, part_labels = rows.iloc[positions], labels.iloc[positions]
            name = f"{split}-{number:05d}-{part_fingerprint(part_rows, part_labels, packing)}.arrow"
            if not is_whole(output / name):
                report = partial(_shifted, progress, done, len(rows)) if progress else None
                write_part(
                    output / name, part_rows, part_labels, packing, workers or os.cpu_count() or 1, report
                )
            refused, count = read_notes(output / name)
            set_aside += refused
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
    fingerprint = blake2b(json.dumps([names, set_aside]).encode(), digest_size=16).hexdigest()
    index = {"fingerprint": fingerprint, "view": asdict(view), "splits": parts, "set_aside": set_aside}
    write_text(output / INDEX, json.dumps(index, indent=1) + "\n")
    for path in output.iterdir():
        if path.name not in {*names, INDEX} and path.is_file():
            path.unlink()


def _shifted(progress: Progress, offset: int, total: int, done: int) -> None:
    progress(offset + done, total)
