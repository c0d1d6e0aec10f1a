"""Training shards: image, label map and flags of every frame at training size."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from lgad_pipeline.atomic_files import atomic_path, locked
from lgad_pipeline.data.frame_table import rejected_table
from lgad_pipeline.data.lane_labels import unlabelled
from lgad_pipeline.data.shard_file import Packing, write_part
from lgad_pipeline.data.shard_index import (
    LOCAL,
    STREAM,
    Journal,
    Origin,
    PartEntry,
    ShardIndex,
    new_index,
    read_index,
    write_index,
)
from lgad_pipeline.data.shard_parts import PartInput, packed_part, part_inputs
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.process_pool import map_parts, uses_cluster
from lgad_pipeline.progress import Progress
from lgad_pipeline.view import View

_MISLEADING = "has annotated lanes of which none fits a slot; correct them or take the frame out of the list"


@dataclass(frozen=True)
class ShardSet:
    """Packed data set.

    Attributes:
        splits: splits with frames, by name.
        view: crop and size that frames were packed with.
        fingerprint: BLAKE2b-128 digest of all inputs of the shards, hexadecimal.
        rejected: table of the frames that cannot be packed (`REJECTED_SCHEMA`).
    """

    splits: dict[str, ShardSplit]
    view: View
    fingerprint: str
    rejected: pd.DataFrame

    @classmethod
    def open(cls, folder: Path) -> "ShardSet":
        """Map a packed data set into memory; digests of the files are checked, no image is decoded.

        If `folder` has only the index of shards in a store (see `streamed_shards.stream`), their files are
        downloaded as frames are read.

        Raises:
            LgadError: The folder contains no complete data set, or a part is missing or damaged.
        """
        index = read_index(folder)
        try:
            return cls._of(folder, index)
        except LgadError:
            # If another process has replaced the shards since the index was read, the new ones are opened.
            newer = read_index(folder)
            if newer == index:
                raise
            return cls._of(folder, newer)

    @classmethod
    def _of(cls, folder: Path, index: ShardIndex) -> "ShardSet":
        view = View(index.view.frame_size, index.view.image_size, index.view.crop_top)
        splits = {name: _split_class(folder)(folder, parts) for name, parts in index.splits.items()}
        return cls(splits, view, index.fingerprint, rejected_table(index.rejected))

    def __getitem__(self, split: str) -> ShardSplit:
        """Return the split of that name.

        Raises:
            LgadError: No frame of that split was packed.
        """
        if split not in self.splits:
            raise LgadError(
                f"The shards hold no split {split!r} but {', '.join(self.splits)}; add frames to its list."
            )
        return self.splits[split]


def _split_class(folder: Path) -> type[ShardSplit]:
    """Return the class that reads the files of `folder`, or those of the store that it names."""
    if not (folder / STREAM).is_file():
        return ShardSplit
    from lgad_pipeline.data.streamed_shards import StreamedSplit  # the clients of stores take time to import

    return StreamedSplit


def pack_shards(
    frames: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    root: Path,
    output: Path,
    view: View,
    lane_width: int,
    quality: int = 95,
    rows_per_shard: int = 512,
    workers: int | None = None,
    progress: Progress | None = None,
    follow_links: bool = False,
    origin: Origin = LOCAL,
    lane_types: Sequence[str] = (),
) -> ShardSet:
    """Pack frames and their label maps, at training size, into Arrow IPC files.

    The label map is drawn at frame size and then reduced by exact nearest-neighbour sampling; the existence
    flags are those of the frame. The name of a part contains the fingerprint of its inputs, and the index the
    digest of its bytes. A finished, undamaged part is kept, so a killed packing resumes, and only damaged
    parts are packed again. A training frame with annotated lanes of which none is in a slot is rejected,
    because its empty label map would be wrong. The index is written last; until then the old shards are
    valid. Afterwards, parts that are not in the index are removed. The bytes depend only on the inputs, not
    on `workers`. The lock of the folder is held during the packing, see `atomic_files.locked`.

    Args:
        frames: frames table (`FRAMES_SCHEMA`).
        labels: lane labels (`labels_schema`), with the rows of `frames` in the same order.
        root: root directory of the data set.
        output: directory for the shards, without other files.
        view: crop and size to pack the frames with.
        lane_width: width of a lane in the label map, in frame pixels.
        quality: JPEG quality of the packed images, 1..100.
        rows_per_shard: number of frames in a part.
        workers: number of threads; by default one per core.
        progress: called as progress(frames done, frames in total).
        follow_links: accept frames that are links out of `root`.
        origin: project and data set of the frames; a store rejects shards of another origin.
        lane_types: names of the lane types, with which the lane labels were assigned; empty to pack none.

    Raises:
        LgadError: The labels do not belong to the frames, no frame can be packed, or `output` cannot be
            written to.
    """
    if not frames["frame"].reset_index(drop=True).equals(labels["frame"].reset_index(drop=True)):
        raise LgadError("The lane labels do not belong to the frames table; assign the lane slots again.")
    if lane_types and "types" not in labels:
        raise LgadError("The lane labels hold no types of lanes; assign the lane slots again.")
    packing = Packing(Path(root), view, lane_width, quality, follow_links, tuple(lane_types))
    rows = frames[["frame", "split", "scenario", "fingerprint"]].reset_index(drop=True)
    misleading = unlabelled(frames, labels) & (rows["split"] == "train").to_numpy()
    rejected: list[Rejected] = [Rejected(frame, None, _MISLEADING) for frame in rows["frame"][misleading]]
    inputs = list(part_inputs(rows, labels, ~misleading, size=rows_per_shard, packing=packing))
    done, parts = len(rejected), {}
    with locked(output):
        journal = Journal(output)
        finished = {part.name: journal.finished(part.name, len(part.rows)) for part in inputs}
        missing = [part for part in inputs if finished[part.name] is None]
        if uses_cluster():
            packed = _packed_on_cluster(missing, output=output, packing=packing)
        else:
            packed = _packed_here(
                missing,
                output=output,
                packing=packing,
                workers=workers or os.cpu_count() or 1,
                progress=lambda count: progress(done + count, len(rows)) if progress else None,
            )
        for part in inputs:
            entry, refused = finished[part.name], []
            if entry is None:
                entry, refused = next(packed)
            rejected += refused
            if entry is not None:
                journal.add(entry)
                parts.setdefault(part.split, []).append(entry)
            done += len(part.rows)
            if progress is not None:
                progress(done, len(rows))
        if not parts:
            example = "; ".join(f"{file}: {reason}" for file, _, reason in rejected[:1])
            raise LgadError(f"Not one frame below {root} could be packed ({example}); correct the data set.")
        index = new_index(parts, view, rejected=rejected, origin=origin)
        write_index(output, index.to_bytes(), names={part.file for part in index.parts})
        return ShardSet.open(output)


def _packed_here(
    parts: Sequence[PartInput],
    *,
    output: Path,
    packing: Packing,
    workers: int,
    progress: Callable[[int], None],
) -> Iterator[tuple[PartEntry | None, list[Rejected]]]:
    """Pack parts one after the other, in threads."""
    for part in parts:
        yield write_part(
            output / part.name,
            part.rows,
            labels=part.labels,
            packing=packing,
            workers=workers,
            progress=progress,
        )


def _packed_on_cluster(
    parts: Sequence[PartInput], *, output: Path, packing: Packing
) -> Iterator[tuple[PartEntry | None, list[Rejected]]]:
    """Pack parts on the cluster in use, and write their files here."""
    results = map_parts(partial(packed_part, packing), parts, workers=1)
    for part, (entry, rejected, content) in zip(parts, results, strict=True):
        if entry is not None:
            with atomic_path(output / part.name) as unfinished:
                unfinished.write_bytes(content)
        yield entry, rejected
