"""Label maps for a whole list of frames, in the layout of CULane's published ones."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.lanes.extents import lane_extents, size_warnings
from lgad_pipeline.lanes.lane_files import Rejected, find_lane_file, lane_file, parse_lanes, resolve_inside
from lgad_pipeline.lanes.rendering.label_map import LABEL_WIDTH
from lgad_pipeline.lanes.rendering.label_runs import draw_label_runs
from lgad_pipeline.lanes.rendering.run_length_png import encode_pngs
from lgad_pipeline.lanes.slots import RULE_SIZE, assign_frames
from lgad_pipeline.lanes.spline import ragged, without_spline
from lgad_pipeline.process_pool import map_chunks
from lgad_pipeline.progress import Progress

FrameSizer = Callable[[Sequence[str]], np.ndarray]
"""Sizes of frames, int (frames, 2 or more) as (H, W, ...), px; can be pickled."""


@dataclass(frozen=True)
class Rasterized:
    """What was written.

    Attributes:
        label_list: the list file with label maps and existence flags.
        frames: label maps written.
        rejected: bad lines of lane files, which are left out of the label maps.
        without_annotation: frames without a lane file, whose label maps are empty.
        sizes: what the frame sizer returned, of all frames.
        notes: sentences on what makes the label maps doubtful, such as lanes outside of their frames.
    """

    label_list: Path
    frames: int
    rejected: list[Rejected]
    without_annotation: int
    sizes: np.ndarray
    notes: list[str]


class _Part(NamedTuple):
    """Some of the frames.

    Attributes:
        existence: flags of each frame; None without a lane file.
        rejected: bad lines.
        sizes: of each frame.
        extents: of each frame's lanes.
        doubled: lanes with two equal neighbouring points.
    """

    existence: list[np.ndarray | None]
    rejected: list[Rejected]
    sizes: np.ndarray
    extents: np.ndarray
    doubled: int


def rasterize(
    annotations: Path,
    frames: Sequence[str],
    output: Path,
    *,
    list_name: str = "train_gt.txt",
    lane_width: int = LABEL_WIDTH,
    frame_size: tuple[int, int] | FrameSizer = RULE_SIZE,
    strict: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Rasterized:
    """Draw the label maps of frames from their lane files, and write the list that names them.

    Files that exist are never replaced: a data set may hold label maps and flags of its own.

    Args:
        annotations: folder of the lane files.
        frames: relative to it.
        output: gets `laneseg_label_w<width>/<frame>.png` and `list/<list_name>`.
        list_name: name of the list: a frame, its label map and four existence flags a line.
        lane_width: thickness of the lanes, frame pixels.
        frame_size: (H, W), px, of all frames, or a function that gives the size of each; see `lanes.slots`
            for sizes other than CULane's.
        strict: a bad line in a lane file, or a missing lane file, is an error; else it is rejected.
        workers: processes; None for one a core.
        progress: called with (frames done, frames in all).

    Raises:
        LgadError: no frame has a lane file; the list or a label map exists; or `strict` and bad input.
    """
    if not frames:
        raise LgadError("The list names no frame; give a list with at least one.")
    if not any(find_lane_file(annotations, frame).is_file() for frame in frames):
        raise LgadError(
            f"{annotations} holds a lane file for none of the {len(frames)} frames in the list (the first "
            f"would be {lane_file(annotations, frames[0])}); give the folder that they are relative to."
        )
    folder, label_list = f"laneseg_label_w{lane_width}", output / "list" / list_name
    alike = _alike(frames)
    _refuse_existing(label_list, [resolve_inside(output / folder, _png(frame, alike)) for frame in frames])
    sizer = frame_size if callable(frame_size) else partial(_one_size, frame_size)
    run = partial(_rasterize_files, annotations, output / folder, alike, lane_width, sizer, strict)
    lines: list[str] = []
    parts: list[_Part] = []
    for part in map_chunks(run, frames, workers):
        parts.append(part)
        for flags in part.existence:
            frame = frames[len(lines)]
            present = flags if flags is not None else np.zeros(4, bool)
            lines.append(
                " ".join(
                    [f"/{frame}", f"/{folder}/{_png(frame, alike)}", *(str(int(flag)) for flag in present)]
                )
            )
        if progress:
            progress(len(lines), len(frames))
    write_text(label_list, "\n".join(lines) + "\n")
    return Rasterized(
        label_list,
        len(lines),
        [fault for part in parts for fault in part.rejected],
        sum(flags is None for part in parts for flags in part.existence),
        np.concatenate([part.sizes for part in parts]),
        _notes(annotations, parts),
    )


def _refuse_existing(label_list: Path, label_maps: Sequence[Path]) -> None:
    existing = [path for path in (label_list, *label_maps) if path.exists()]
    if existing:
        others = f", like {len(existing) - 1} more of the files to write" if len(existing) > 1 else ""
        raise LgadError(
            f"{existing[0]} exists already{others}, and would be replaced; choose another output folder, or "
            "move what exists away to draw it again."
        )


def _one_size(size: tuple[int, int], frames: Sequence[str]) -> np.ndarray:
    return np.tile(np.array(size, np.int32), (len(frames), 1))


def _notes(annotations: Path, parts: Sequence[_Part]) -> list[str]:
    extents = np.concatenate([part.extents for part in parts])
    found = size_warnings("annotated", extents, np.concatenate([part.sizes for part in parts])[:, :2])
    if not extents[:, 0].any():
        found.append(f"The files in {annotations} hold no lane in any of the {len(extents)} frames.")
    doubled = sum(part.doubled for part in parts)
    if doubled:
        found.append(
            f"{doubled} annotated lane{'s have' if doubled > 1 else ' has'} two equal neighbouring points: "
            "one of them is left out here, but in an evaluation such a lane matches nothing; remove it."
        )
    return found


def _stem(frame: str) -> str:
    return lane_file(Path(), frame).as_posix().removesuffix(".lines.txt")


def _alike(frames: Sequence[str]) -> frozenset[str]:
    """The frames that differ from another in their ending alone, such as `a.jpg` and `a.png`."""
    counts = Counter(map(_stem, frames))
    return frozenset(frame for frame in frames if counts[_stem(frame)] > 1)


def _png(frame: str, alike: frozenset[str]) -> str:
    """The label map of a frame: its ending replaced by `.png`; added, where `a.png` would be two frames'."""
    return f"{frame if frame in alike else _stem(frame)}.png"


def _rasterize_files(
    annotations: Path,
    output: Path,
    alike: frozenset[str],
    lane_width: int,
    sizer: FrameSizer,
    strict: bool,
    frames: Sequence[str],
) -> _Part:
    cv2.setNumThreads(1)
    rejected: list[Rejected] = []
    files = [_read(find_lane_file(annotations, frame), None if strict else rejected) for frame in frames]
    sizes = sizer(frames)
    existence: list[np.ndarray | None] = [None] * len(frames)
    for height, width in np.unique(sizes[:, :2], axis=0).tolist():
        chosen = np.flatnonzero((sizes[:, :2] == (height, width)).all(axis=1)).tolist()
        slots = assign_frames([files[i] or [] for i in chosen], (height, width))
        pictures = encode_pngs(
            draw_label_runs(slots, (height, width), lane_width), len(chosen), (height, width)
        )
        for i, lanes, picture in zip(chosen, slots, pictures, strict=True):
            with atomic_path(resolve_inside(output, _png(frames[i], alike)), durable=False) as temporary:
                temporary.write_bytes(picture)
            existence[i] = None if files[i] is None else lanes.existence
    doubled = without_spline(ragged([lane for lanes in files for lane in lanes or []])).sum()
    return _Part(existence, rejected, sizes, lane_extents(files, sizes[:, :2]), int(doubled))


def _read(path: Path, rejected: list[Rejected] | None) -> list[np.ndarray] | None:
    """Lanes of a file; None without the file, unless `rejected` is None: that is an error then."""
    try:
        return parse_lanes(path.read_bytes(), path, rejected)
    except OSError as error:
        if rejected is not None and isinstance(error, FileNotFoundError):
            return None
        raise os_fault(error, path, "read") from error
