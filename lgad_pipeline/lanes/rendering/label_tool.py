"""Label maps and list file of many frames, in the layout of CULane's published ones."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.extents import annotated_warnings, lane_extents
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import (
    Rejected,
    find_lane_file,
    lane_file,
    safe_stem,
)
from lgad_pipeline.lanes.odd_lanes import odd_lanes, odd_lanes_warnings
from lgad_pipeline.lanes.rendering.drawn_lanes import read_drawn
from lgad_pipeline.lanes.rendering.label_map import LABEL_WIDTH
from lgad_pipeline.lanes.rendering.label_runs import draw_label_runs
from lgad_pipeline.lanes.rendering.run_length_png import encode_pngs
from lgad_pipeline.lanes.shared_files import shared_file_warnings
from lgad_pipeline.lanes.slots import RULE_SIZE, assign_frames
from lgad_pipeline.lanes.spline import ragged, without_spline
from lgad_pipeline.process_pool import map_chunks
from lgad_pipeline.progress import Progress
from lgad_pipeline.wording import counted

FrameSizer = Callable[[Sequence[str]], np.ndarray]
"""Function from frames to their sizes, int (frames, 2 or more) as (H, W, ...), pixels; it can be pickled."""


@dataclass(frozen=True)
class Rasterized:
    """Result of `rasterize`.

    Attributes:
        label_list: path of the list file with label maps and existence flags.
        frames: number of label maps written.
        rejected: bad lines of lane files.
        left_out: frames with such a line, which have no label map and are not in the list.
        without_annotation: frames without a lane file, whose label maps are empty.
        sizes: sizes of all frames as the frame sizer returned them, int (frames, 2 or more), pixels.
        notes: warnings, one sentence each, such as lanes outside of their frames.
    """

    label_list: Path
    frames: int
    rejected: list[Rejected]
    left_out: tuple[str, ...]
    without_annotation: tuple[str, ...]
    sizes: np.ndarray
    notes: list[str]


class _Chunk(NamedTuple):
    """Result for a chunk of the frames.

    Attributes:
        existence: existence flags of each frame, bool (4,); None without a lane file.
        bad: bool (frames,): a line of the frame's lane file is bad, so that it is not drawn.
        rejected: bad lines of lane files.
        sizes: sizes of the frames, int (frames, 2 or more), pixels.
        extents: extents of the lanes of each frame.
        doubled: number of lanes with two equal neighbouring points.
        odd: numbers of odd lanes, see `odd_lanes`.
        without_slot: number of lanes of two points or more that are not drawn, because no slot holds them.
    """

    existence: list[np.ndarray | None]
    bad: np.ndarray
    rejected: list[Rejected]
    sizes: np.ndarray
    extents: np.ndarray
    doubled: int
    odd: np.ndarray
    without_slot: int


def rasterize(
    annotations: Path,
    frames: Sequence[str],
    *,
    output: Path,
    list_name: str = "train_gt.txt",
    lane_width: int = LABEL_WIDTH,
    frame_size: tuple[int, int] | FrameSizer = RULE_SIZE,
    strict: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Rasterized:
    """Draw the label maps of frames from their lane files, and write the list file that names them.

    Existing files are never replaced, because a data set may contain its own label maps and flags.

    Args:
        annotations: folder of the lane files.
        frames: paths of the frames relative to `annotations`.
        output: folder to write `laneseg_label_w<width>/<frame>.png` and `list/<list_name>` to.
        list_name: name of the list file; a line is a frame, its label map and four existence flags.
        lane_width: thickness of the lanes, frame pixels.
        frame_size: size of all frames (H, W), pixels, or a function that returns the size of each; see
            `lanes.slots` for sizes other than CULane's.
        strict: if true, a bad line or a missing lane file is an error; else frames with a bad line are left
            out, and frames without a lane file count as frames without lanes.
        workers: number of processes; None for one a core.
        progress: function called with the number of frames done and the number of all frames.

    Raises:
        LgadError: no frame has a lane file, or every one has a bad line; the list or a label map exists;
            `output` has a list without `_gt` that names further frames; or `strict` and bad input.
    """
    if not frames:
        raise LgadError("The list names no frame; give a list with at least one.")
    if not any(find_lane_file(annotations, frame).is_file() for frame in frames):
        raise LgadError(
            f"{annotations} holds no lane file of the {counted(len(frames), 'frame')} in the list (the first "
            f"would be {lane_file(annotations, frames[0])}); give the folder that they are relative to."
        )
    folder, label_list = f"laneseg_label_w{lane_width}", output / "list" / list_name
    ambiguous = _ambiguous(frames)
    label_maps = [resolve_inside(output / folder, _png(frame, ambiguous)) for frame in frames]
    _refuse_existing(label_list, label_maps)
    _refuse_smaller(label_list, set(frames))
    sizer = frame_size if callable(frame_size) else partial(_one_size, frame_size)
    run = partial(_rasterize_files, annotations, output / folder, ambiguous, lane_width, sizer, strict)
    lines: list[str] = []
    missing: list[str] = []
    left_out: list[str] = []
    chunks: list[_Chunk] = []
    done = 0
    for chunk in map_chunks(run, frames, workers=workers):
        chunks.append(chunk)
        of_chunk = frames[done : done + len(chunk.bad)]
        done += len(of_chunk)
        for frame, flags, bad in zip(of_chunk, chunk.existence, chunk.bad, strict=True):
            if bad:
                left_out.append(frame)
                continue
            if flags is None:
                missing.append(frame)
            present = flags if flags is not None else np.zeros(4, bool)
            digits = " ".join(str(int(flag)) for flag in present)
            lines.append(f"/{frame} /{folder}/{_png(frame, ambiguous)} {digits}")
        if progress:
            progress(done, len(frames))
    rejected = [fault for chunk in chunks for fault in chunk.rejected]
    if not lines:
        raise LgadError(f"The lane file of every frame has a bad line, so that none is drawn: {rejected[0]}")
    write_text(label_list, "\n".join(lines) + "\n")
    return Rasterized(
        label_list,
        len(lines),
        rejected,
        tuple(left_out),
        tuple(missing),
        np.concatenate([chunk.sizes for chunk in chunks]),
        [*_notes(annotations, frames, chunks), *shared_file_warnings(annotations, frames)],
    )


def _refuse_existing(label_list: Path, label_maps: Sequence[Path]) -> None:
    """Raise an error if any of the files to write exists."""
    existing = [path for path in (label_list, *label_maps) if path.exists()]
    if existing:
        others = f", like {len(existing) - 1} more of the files to write" if len(existing) > 1 else ""
        raise LgadError(
            f"{existing[0]} exists already{others}, and would be replaced; choose another output folder, or "
            "move what exists away to draw it again."
        )


def _refuse_smaller(label_list: Path, frames: set[str]) -> None:
    """Raise an error if the list without `_gt`, which readers then ignore, names further frames."""
    plain = label_list.with_name(label_list.name.replace("_gt.", "."))
    if plain == label_list or not plain.is_file():
        return
    listed = read_frame_list(plain, label_list.parents[1]).frames
    if further := len(set(listed) - frames):
        raise LgadError(
            f"{label_list} would be read instead of {plain}, which names {counted(further, 'frame')} that "
            "the given list has not; choose another output folder, or give a list with all of its frames."
        )


def _one_size(size: tuple[int, int], frames: Sequence[str]) -> np.ndarray:
    """Return the same size (H, W) for all frames, int32 (frames, 2)."""
    return np.tile(np.array(size, np.int32), (len(frames), 1))


def _notes(annotations: Path, frames: Sequence[str], chunks: Sequence[_Chunk]) -> list[str]:
    """Collect warnings on the annotations of all frames, one sentence each."""
    extents = np.concatenate([chunk.extents for chunk in chunks])
    sizes = np.concatenate([chunk.sizes for chunk in chunks])[:, :2]
    notes = annotated_warnings(extents, sizes=sizes, frames=frames)
    if not extents[:, 0].any():
        notes.append(f"The files in {annotations} hold no lane in the {counted(len(extents), 'frame')}.")
    notes += odd_lanes_warnings("annotated", np.sum([chunk.odd for chunk in chunks], axis=0))
    doubled = sum(chunk.doubled for chunk in chunks)
    if doubled:
        notes.append(
            f"{doubled} annotated lane{'s have' if doubled > 1 else ' has'} two equal neighbouring points: "
            "one of them is left out here, but in an evaluation such a lane matches nothing; remove it."
        )
    if without_slot := sum(chunk.without_slot for chunk in chunks):
        notes.append(
            f"{counted(without_slot, 'annotated lane')} {'is' if without_slot == 1 else 'are'} not drawn: a "
            "label map has two lanes on each side of the vehicle and one of each double line, and a lane "
            "needs two label rows."
        )
    return notes


def _ambiguous(frames: Sequence[str]) -> frozenset[str]:
    """Select the frames that differ from another in their ending alone, such as `a.jpg` and `a.png`."""
    counts = Counter(map(safe_stem, frames))
    return frozenset(frame for frame in frames if counts[safe_stem(frame)] > 1)


def _png(frame: str, ambiguous: frozenset[str]) -> str:
    """Return the path of a frame's label map: `.png` replaces the ending, or is added in ambiguous names."""
    return f"{frame if frame in ambiguous else safe_stem(frame)}.png"


def _rasterize_files(
    annotations: Path,
    output: Path,
    ambiguous: frozenset[str],
    lane_width: int,
    sizer: FrameSizer,
    strict: bool,
    frames: Sequence[str],
) -> _Chunk:
    """Draw and write the label maps of a chunk of frames.

    Args:
        annotations: folder of the lane files.
        output: folder of the label maps.
        ambiguous: frames whose label map keeps the frame's ending.
        lane_width: thickness of the lanes, frame pixels.
        sizer: function that returns the sizes of frames.
        strict: if true, a bad line or a missing lane file is an error.
        frames: paths of the frames of this chunk.
    """
    cv2.setNumThreads(1)
    sizes = sizer(frames)
    files, bad, rejected = read_drawn(annotations, frames, sizes=sizes, strict=strict)
    existence: list[np.ndarray | None] = [None] * len(frames)
    for height, width in np.unique(sizes[~bad, :2], axis=0).tolist():
        chosen = np.flatnonzero((sizes[:, :2] == (height, width)).all(axis=1) & ~bad).tolist()
        slots = assign_frames([files[i] or [] for i in chosen], (height, width))
        pictures = encode_pngs(
            draw_label_runs(slots, (height, width), lane_width=lane_width), len(chosen), size=(height, width)
        )
        for i, lanes, picture in zip(chosen, slots, pictures, strict=True):
            with atomic_path(resolve_inside(output, _png(frames[i], ambiguous)), durable=False) as temporary:
                temporary.write_bytes(picture)
            existence[i] = None if files[i] is None else lanes.existence
    lanes = ragged([lane for lanes in files for lane in lanes or []])
    doubled = int(without_spline(lanes).sum())
    drawn = sum(int(flags.sum()) for flags in existence if flags is not None)
    without_slot = int((np.diff(lanes.offsets) > 1).sum()) - drawn
    extents = lane_extents(files, sizes[:, :2])
    return _Chunk(existence, bad, rejected, sizes, extents, doubled, odd_lanes(lanes), without_slot)
