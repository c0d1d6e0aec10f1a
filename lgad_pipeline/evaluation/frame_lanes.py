"""Lanes of some frames, joined, checked and sampled once for all steps of an evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from lgad_pipeline.lanes.lane_files import LaneFileError, Rejected, find_lane_file, read_frame_lanes
from lgad_pipeline.lanes.spline import Ragged, drawn_paths, ragged, without_spline


@dataclass(frozen=True)
class FrameLanes:
    """Lanes of some frames, stored end to end.

    Attributes:
        counts: number of lanes of each frame, int64 (frames,).
        joined: the lanes of all frames, in the order of the frames.
        doubled: lanes with two equal neighbouring points, and so without a spline, bool (lanes,).
        paths: points between which CULane's tool draws straight lines; none for a lane of fewer than 2
            points or without a spline.
    """

    counts: np.ndarray
    joined: Ragged
    doubled: np.ndarray
    paths: Ragged

    @classmethod
    def of(cls, frames: Sequence[Sequence[np.ndarray]]) -> Self:
        """Join, check and sample the lanes of each frame, float32 (N, 2) each, frame pixels."""
        counts = np.array([len(lanes) for lanes in frames], np.int64)
        joined = ragged([lane for lanes in frames for lane in lanes])
        doubled = without_spline(joined)
        return cls(counts, joined, doubled, drawn_paths(joined, doubled))

    def chosen(self, frames: np.ndarray) -> Self:
        """Return the lanes of the flagged frames, in the same order; flags are bool (frames,)."""
        if frames.all():
            return self
        lanes = np.repeat(frames, self.counts)
        joined, paths = self.joined.chosen(lanes), self.paths.chosen(lanes)
        return type(self)(self.counts[frames], joined, self.doubled[lanes], paths)


@dataclass(frozen=True)
class FolderLanes:
    """Lanes of some frames, from the lane files of one directory.

    Attributes:
        files: lanes of each frame, float32 (N, 2) each, frame pixels; None for a frame without a lane file.
        lanes: the same lanes, joined, checked and sampled; a frame without a lane file has none.
        blank: number of lanes without points, from blank lines.
    """

    files: Sequence[Sequence[np.ndarray] | None]
    lanes: FrameLanes
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
        files = [read_frame_lanes(root, frame, rejected=rejected) for frame in frames]
        bad_lines = len(rejected or ()) - before
        lanes = FrameLanes.of([of_frame or [] for of_frame in files])
        ends = np.cumsum(lanes.counts)
        for lane in np.flatnonzero(lanes.doubled).tolist():
            index = int(np.searchsorted(ends, lane, side="right"))
            line = lane - int(ends[index] - lanes.counts[index]) + 1
            reason = "two neighbouring points are equal, so that there is no spline; remove one of them"
            fault = Rejected(str(find_lane_file(root, frames[index])), line, reason)
            if rejected is None:
                raise LaneFileError(str(fault))
            rejected.append(fault)
        # A bad line is a lane without points, too.
        empty = int((np.diff(lanes.joined.offsets) == 0).sum())
        return cls(files, lanes, blank=empty - bad_lines)

    @property
    def counts(self) -> np.ndarray:
        """Number of lanes of each frame, int32 (frames,); -1 for a frame without a lane file."""
        return np.array([-1 if lanes is None else len(lanes) for lanes in self.files], np.int32)
