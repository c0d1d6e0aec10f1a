"""Label maps for a whole list of frames, in the layout of CULane's published ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path, write_text
from lgad_pipeline.lanes.changes import label_changes
from lgad_pipeline.lanes.chunks import map_chunks
from lgad_pipeline.lanes.files import SetAside, find_lane_file, lane_file, parse_lanes, resolve_inside
from lgad_pipeline.lanes.png import encode_pngs
from lgad_pipeline.lanes.raster import LABEL_WIDTH
from lgad_pipeline.lanes.slots import RULE_SIZE, assign_frames


@dataclass(frozen=True)
class Rasterized:
    """What was written.

    Attributes:
        label_list: the list file with label maps and existence flags.
        frames: label maps written.
        set_aside: bad lines of lane files, which are left out of the label maps.
        without_annotation: frames without a lane file, whose label maps are empty.
    """

    label_list: Path
    frames: int
    set_aside: list[SetAside]
    without_annotation: int


def rasterize(
    annotations: Path,
    frames: Sequence[str],
    output: Path,
    *,
    list_name: str = "train_gt.txt",
    lane_width: int = LABEL_WIDTH,
    frame_size: tuple[int, int] = RULE_SIZE,
    strict: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Rasterized:
    """Draw the label maps of frames from their lane files, and write the list that names them.

    Args:
        annotations: folder of the lane files.
        frames: relative to it.
        output: gets `laneseg_label_w<width>/<frame>.png` and `list/<list_name>`.
        list_name: name of the list: a frame, its label map and four existence flags a line.
        lane_width: thickness of the lanes, frame pixels.
        frame_size: (H, W), pixels; see `lanes.slots` for sizes other than CULane's.
        strict: a bad line in a lane file, or a missing lane file, is an error; else it is set aside.
        workers: processes; None for one a core.
        progress: called with (frames done, frames in all).

    Raises:
        LgadError: no frame has a lane file; or `strict` and bad input.
    """
    folder = f"laneseg_label_w{lane_width}"
    run = partial(_rasterize_files, annotations, output / folder, lane_width, frame_size, strict)
    lines: list[str] = []
    set_aside: list[SetAside] = []
    missing = 0
    for existence, faults in map_chunks(run, frames, workers):
        for flags in existence:
            frame = frames[len(lines)]
            present = flags if flags is not None else np.zeros(4, bool)
            missing += flags is None
            lines.append(
                " ".join([f"/{frame}", f"/{folder}/{_png(frame)}", *(str(int(flag)) for flag in present)])
            )
        set_aside += faults
        if progress:
            progress(len(lines), len(frames))
    if missing == len(frames):
        raise LgadError(
            f"{annotations} holds a lane file for none of the {len(frames)} frames in the list (the first "
            f"would be {lane_file(annotations, frames[0])}); give the folder that they are relative to."
        )
    label_list = output / "list" / list_name
    write_text(label_list, "\n".join(lines) + "\n")
    return Rasterized(label_list, len(lines), set_aside, missing)


def _png(frame: str) -> str:
    stem, dot, ending = frame.rpartition(".")
    return f"{stem if dot else ending}.png"


def _rasterize_files(
    annotations: Path,
    output: Path,
    lane_width: int,
    frame_size: tuple[int, int],
    strict: bool,
    frames: Sequence[str],
) -> tuple[list[np.ndarray | None], list[SetAside]]:
    """Existence flags of the frames, None without a lane file; and the bad lines."""
    cv2.setNumThreads(1)
    set_aside: list[SetAside] = []
    files = [_read(find_lane_file(annotations, frame), None if strict else set_aside) for frame in frames]
    slots = assign_frames([lanes or [] for lanes in files], frame_size)
    pictures = encode_pngs(label_changes(slots, frame_size, lane_width), len(frames), frame_size)
    for frame, picture in zip(frames, pictures, strict=True):
        with atomic_path(resolve_inside(output, _png(frame)), durable=False) as beside:
            beside.write_bytes(picture)
    existence = [None if lanes is None else one.existence for lanes, one in zip(files, slots, strict=True)]
    return existence, set_aside


def _read(path: Path, set_aside: list[SetAside] | None) -> list[np.ndarray] | None:
    """Lanes of a file; None without the file, unless `set_aside` is None: that is an error then."""
    try:
        return parse_lanes(path.read_bytes(), path, set_aside)
    except OSError as error:
        if set_aside is not None and isinstance(error, FileNotFoundError):
            return None
        raise LgadError(f"{path} cannot be read ({error.strerror}); correct the path.") from error
