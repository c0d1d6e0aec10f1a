"""Lanes of a video smoothed over time, each with an identity that stays the same from frame to frame."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lgad_pipeline.inference.frame_predictor import Lane

_GATE = 0.04  # largest mean distance of a lane from its track, share of the frame's width
_LEAST_SHARED = 5  # rows that a lane and a track must share to be compared


@dataclass(frozen=True)
class TrackedLane(Lane):
    """Smoothed lane of a video.

    Attributes:
        track: number of the lane in the video, from 1; the same in all frames.
    """

    track: int = 0


@dataclass
class _Track:
    """State of a lane: x and its velocity on each row of the grid; NaN where the lane has not been seen."""

    number: int
    xs: np.ndarray
    velocity: np.ndarray  # pixels per second
    seen: np.ndarray  # time at which each row was seen last, seconds
    lane: Lane
    frames: int = 1  # in which it was found

    @property
    def last_seen(self) -> float:
        return float(self.seen.max())


class LaneTracker:
    """Filter of the lanes of a video: lanes that flicker are held, single false lanes are removed.

    Lanes are compared and filtered on a grid of rows of the frame. A lane continues the track whose predicted
    x differs least from it (mean distance on shared rows below 4 % of the frame's width), whatever its slot,
    so that a change of lanes does not change the identity. On each row an alpha-beta filter (Benedict and
    Bordner, 1962) with the residual r = x - (x' + v' dt):

        x = x' + v' dt + a r,  v = v' + b r / dt,  a = 1 - exp(-dt / time_constant),  b = a^2 / (2 - a)

    It follows a lane that moves at constant velocity without a lag. A track is returned from its
    `least_frames`-th frame on, and for `hold` seconds after it was found last.

    Args:
        frame_size: height and width (H, W) of the frames, pixels.
        row_step: distance of the rows, pixels.
        time_constant: time after which a step of x is followed to 63 %, seconds.
        hold: time for which a lane that is not found is continued, seconds.
        least_frames: number of frames in which a lane must be found before it is returned.
    """

    def __init__(
        self,
        frame_size: tuple[int, int],
        row_step: float,
        *,
        time_constant: float = 0.2,
        hold: float = 0.4,
        least_frames: int = 3,
    ) -> None:
        self.width = frame_size[1]
        self.rows = np.arange(frame_size[0], -row_step, -row_step)  # bottom first
        self.time_constant, self.hold, self.least_frames = time_constant, hold, least_frames
        self._tracks: list[_Track] = []
        self._time = 0.0
        self._made = 0

    def update(self, lanes: Sequence[Lane], time: float) -> list[TrackedLane]:
        """Add the lanes of the next frame.

        Args:
            lanes: lanes that were found in the frame.
            time: time of the frame, seconds; greater than that of the frame before.

        Returns:
            The lanes to show for this frame, in the order of their slots.
        """
        step = max(time - self._time, 1e-6)
        self._time = time
        for track in self._tracks:
            track.xs += track.velocity * step
        found = [self._on_rows(lane) for lane in lanes]
        free = set(range(len(lanes)))
        for index, track in self._pairs(found):
            self._correct(track, lanes[index], found[index], step)
            free.discard(index)
        for index in sorted(free):
            self._made += 1
            seen = np.where(np.isfinite(found[index]), time, -np.inf)
            velocity = np.zeros_like(self.rows)
            self._tracks.append(_Track(self._made, found[index], velocity, seen, lanes[index]))
        self._tracks = [track for track in self._tracks if time - track.last_seen <= self._patience(track)]
        return self._shown()

    def _patience(self, track: _Track) -> float:
        """Return how long a track is continued; one that is not established yet ends at its first gap."""
        return self.hold if track.frames >= self.least_frames else 0.0

    def _on_rows(self, lane: Lane) -> np.ndarray:
        """Return x of a lane on the rows of the grid, NaN outside of it."""
        x, y = lane.points[::-1].T.astype(np.float64)  # y ascending
        return np.interp(self.rows, y, x, left=np.nan, right=np.nan)

    def _pairs(self, found: Sequence[np.ndarray]) -> list[tuple[int, _Track]]:
        """Assign lanes to tracks, the nearest pair first; each lane and each track is used once."""
        distances = []
        for index, xs in enumerate(found):
            for track in self._tracks:
                shared = np.isfinite(xs) & np.isfinite(track.xs)
                if shared.sum() >= min(_LEAST_SHARED, int(np.isfinite(xs).sum())):
                    distance = float(np.abs(xs[shared] - track.xs[shared]).mean()) if shared.any() else np.inf
                    distances.append((distance, index, track.number))
        by_number = {track.number: track for track in self._tracks}
        pairs: list[tuple[int, _Track]] = []
        used: set[int] = set()
        for distance, index, number in sorted(distances):
            if distance > _GATE * self.width or index in used or number not in by_number:
                continue
            used.add(index)
            pairs.append((index, by_number.pop(number)))
        return pairs

    def _correct(self, track: _Track, lane: Lane, xs: np.ndarray, step: float) -> None:
        gain = 1 - np.exp(-step / self.time_constant)
        seen, known = np.isfinite(xs), np.isfinite(track.xs)
        both, new = seen & known, seen & ~known
        residual = xs[both] - track.xs[both]
        track.xs[both] += gain * residual
        track.velocity[both] += gain**2 / (2 - gain) * residual / step
        track.xs[new] = xs[new]
        track.velocity[new] = track.velocity[both].mean() if both.any() else 0.0
        track.seen[seen] = self._time
        track.lane = lane
        track.frames += 1

    def _shown(self) -> list[TrackedLane]:
        """Return the established tracks; of two with one slot, that which was seen last."""
        by_slot: dict[int, TrackedLane] = {}
        for track in sorted(self._tracks, key=lambda track: (track.last_seen, track.frames)):
            if track.frames < self.least_frames:
                continue
            recent = np.isfinite(track.xs) & (self._time - track.seen <= self.hold)
            recent &= (track.xs > -0.5) & (track.xs < self.width - 0.5)
            if recent.sum() < 2:
                continue
            points = np.stack([track.xs[recent], self.rows[recent]], axis=1).astype(np.float32)
            lane = track.lane
            by_slot[lane.slot] = TrackedLane(
                lane.slot,
                points,
                lane.confidence,
                lane.existence,
                lane.type,
                lane.type_probability,
                track=track.number,
            )
        return [by_slot[slot] for slot in sorted(by_slot)]
