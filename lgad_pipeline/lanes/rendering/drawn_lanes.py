"""Lane files of the frames to draw: their lanes, and the frames that are not drawn because a line is bad."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.lanes.lane_files import LaneFileError, Rejected, find_lane_file, read_frame_lanes
from lgad_pipeline.lanes.slots import RULE_SIZE
from lgad_pipeline.lanes.spline import ragged

_LONGEST = 1e6  # pixels of `RULE_SIZE`; a lane is sampled at each pixel of its length


class DrawnLanes(NamedTuple):
    """Lanes of the frames to draw.

    Attributes:
        files: lanes of each frame, float32 (N, 2) each, frame pixels; none for a frame with a bad line; None
            without a lane file.
        bad: bool (frames,): a line of the frame's lane file is bad.
        rejected: the bad lines.
    """

    files: list[list[np.ndarray] | None]
    bad: np.ndarray
    rejected: list[Rejected]


def read_drawn(root: Path, frames: Sequence[str], *, sizes: np.ndarray, strict: bool) -> DrawnLanes:
    """Read the lane files of frames; a lane that is too long to be sampled, which cannot be meant, is bad.

    Args:
        root: folder of the lane files.
        frames: paths of the frames relative to the root.
        sizes: sizes of the frames, int (frames, 2 or more) as (H, W, ...), pixels.
        strict: if true, a bad line or a missing lane file is an error.

    Raises:
        LgadError: a file cannot be read; or `strict`, and a line is bad or a file is missing.
    """
    files: list[list[np.ndarray] | None] = []
    rejected: list[list[Rejected]] = []
    for frame in frames:
        faults: list[Rejected] = []
        files.append(read_frame_lanes(root, frame, rejected=None if strict else faults, required=strict))
        rejected.append(faults)
    for index, number, length in _long_lanes(files, sizes):
        reason = f"the lane has a length of {length:.0f} px; correct its coordinates or remove the line"
        fault = Rejected(str(find_lane_file(root, frames[index])), number, reason)
        if strict:
            raise LaneFileError(str(fault))
        rejected[index].append(fault)
    bad = np.array([bool(faults) for faults in rejected])
    drawn = [[] if faults else lanes for lanes, faults in zip(files, rejected, strict=True)]
    return DrawnLanes(drawn, bad, [fault for faults in rejected for fault in faults])


def _long_lanes(files: Sequence[list[np.ndarray] | None], sizes: np.ndarray) -> list[tuple[int, int, float]]:
    """Return index of the frame, line (from 1) and length in pixels of each lane that is too long."""
    owner = [
        (index, number) for index, lanes in enumerate(files) for number in range(1, len(lanes or []) + 1)
    ]
    lanes = ragged([lane for lanes in files for lane in lanes or []])
    scale = np.array([max(RULE_SIZE[0] / height, RULE_SIZE[1] / width) for height, width in sizes[:, :2]])
    lane = lanes.lane
    points = lanes.points[np.lexsort((-lanes.points[:, 1], lane))]  # bottom first, as they are sampled
    steps = np.hypot(*np.diff(points.astype(np.float64), axis=0).T)
    within = lane[1:] == lane[:-1]
    lengths = np.bincount(lane[1:][within], steps[within], minlength=len(owner))
    return [
        (index, number, length)
        for (index, number), length in zip(owner, lengths.tolist(), strict=True)
        if length * scale[index] > _LONGEST
    ]
