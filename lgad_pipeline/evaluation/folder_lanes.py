"""Lanes of some frames, read from the lane files of one directory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from lgad_pipeline.lanes.lane_files import LaneFileError, Rejected, find_lane_file, read_frame_lanes
from lgad_pipeline.lanes.spline import Ragged, ragged, without_spline


@dataclass(frozen=True)
class FolderLanes:
    """Lanes of some frames, from the lane files of one directory.

    Attributes:
        lanes: lanes of each frame, float32 (N, 2) each, frame pixels; None for a frame without a lane file.
        joined: the lanes of all frames, in the same order.
        doubled: number of lanes with two equal neighbouring points, and so without a spline.
        blank: number of lanes without points, from blank lines.
    """

    lanes: list[list[np.ndarray] | None]
    joined: Ragged
    doubled: int
    blank: int

    @classmethod
    def read(cls, root: Path, frames: Sequence[str], *, rejected: list[Rejected] | None) -> Self:
        """Read the lane files of frames.

        Args:
            root: directory of the lane files.
            frames: paths of the frames relative to the directory.
            rejected: list that bad lines, and lanes without a spline, are appended to; if None, the first one
                is an error.

        Raises:
            LaneFileError: a line is bad, and `rejected` is None.
        """
        before = len(rejected or ())
        lanes = [read_frame_lanes(root, frame, rejected=rejected) for frame in frames]
        every = [lane for of_frame in lanes for lane in of_frame or []]
        blank = sum(not len(lane) for lane in every) - (len(rejected or ()) - before)
        joined = ragged(every)
        repeats = np.flatnonzero(without_spline(joined))
        if len(repeats):
            positions = [
                (frame, line)
                for frame, of_frame in zip(frames, lanes, strict=True)
                for line in range(1, len(of_frame or []) + 1)
            ]
            for i in repeats:
                frame, line = positions[i]
                reason = "two neighbouring points are equal, so that there is no spline; remove one of them"
                fault = Rejected(str(find_lane_file(root, frame)), line, reason)
                if rejected is None:
                    raise LaneFileError(str(fault))
                rejected.append(fault)
        return cls(lanes, joined, len(repeats), blank)

    @property
    def counts(self) -> np.ndarray:
        """Number of lanes of each frame, int32 (frames,); -1 for a frame without a lane file."""
        return np.array([-1 if lanes is None else len(lanes) for lanes in self.lanes], np.int32)
