"""Centre line of a polygon that is drawn around a lane marking."""

from typing import NamedTuple

import cv2
import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError

_SLIMMEST = 3.0  # minimum ratio of length to width of a band
_WIDEST = 1 / 16  # maximum mean width / frame width; CULane's markings have 1/100
_REVERSAL = -0.9  # cosine of the turn between two segments below which the line folds back on itself
_CORNERS = 48  # a polygon with more corners is simplified before its ends are searched for
_SAMPLES = 33  # positions along the sides at which their distance is measured


class _Ends(NamedTuple):
    """Candidates for an end of the band: sections of the outline; every corner, then every edge.

    Attributes:
        start: float64 (K,), position of the section's start along the outline, pixels.
        stop: float64 (K,), position of its stop along the outline, pixels; equals `start` for a corner.
        bend: float64 (K,), turn of the outline inside the section, which the sides do not contain, rad.
        direction: float64 (K, 2), unit vector along an edge; (0, 0) for a corner.
    """

    start: np.ndarray
    stop: np.ndarray
    bend: np.ndarray
    direction: np.ndarray


def centre_line(outline: np.ndarray, frame_width: int) -> np.ndarray:
    """Compute the centre line of a band.

    The outline is cut at its two ends, each an edge or a corner, into two long sides. All pairs of ends are
    compared, and the pair whose sides are nearest to each other and bend least is used. The centre line runs
    through the midpoints of positions on the two sides at the same fraction of the side's length. It has a
    point for each corner of either side, so it is exact for straight sides.

    A polygon whose last corner is connected to its first by one long straight edge is a line that was drawn
    with the polygon tool; its corners are the points of the line.

    Args:
        outline: float (N, 2) as (x, y), frame pixels; the first corner is not repeated.
        frame_width: width of the frame, pixels.

    Returns:
        float64 (M, 2) as (x, y), frame pixels, from one end to the other.

    Raises:
        AnnotationError: the polygon is not a band, because it is less than 3 times as long as wide, or wider
            than 1/16 of the frame; or its centre line folds back on itself.
    """
    corners = _simplified(np.asarray(outline, np.float64))
    if len(corners) < 3:
        raise AnnotationError("is a polygon of fewer than three corners; draw the lane as a line")
    first, second, both_corners = _sides(corners)
    line = _middle(first, second)
    length = float(_steps(line).sum())
    width = _mean_width(first, second)
    if length < _SLIMMEST * width:
        raise AnnotationError(
            f"is a polygon about {length:.0f} px long and {width:.0f} px wide, which is not a band along "
            "a lane; draw the lane as a line"
        )
    if width > _WIDEST * frame_width:
        raise AnnotationError(
            f"is a polygon {width:.0f} px wide on average, more than the {_WIDEST * frame_width:.0f} px that "
            "a marking can have in this frame; draw the lane as a line"
        )
    if both_corners and 2 in (len(first), len(second)):
        line = first if len(second) == 2 else second
    steps = np.diff(line, axis=0)
    turns = (steps[1:] * steps[:-1]).sum(axis=1) / np.maximum(_steps(line)[1:] * _steps(line)[:-1], 1e-9)
    if (turns < _REVERSAL).any():
        raise AnnotationError("is a polygon that folds back on itself; draw the lane as a line")
    return line


def _simplified(corners: np.ndarray) -> np.ndarray:
    corners = corners[_steps(np.vstack([corners[-1:], corners])) > 1e-3]
    tolerance = 0.5
    while len(corners) > _CORNERS:
        corners = cv2.approxPolyDP(corners.astype(np.float32), tolerance, True)[:, 0].astype(np.float64)
        tolerance *= 2
    return corners


def _sides(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the two long sides in the same direction, and True if both ends are corners."""
    count = len(corners)
    along = np.concatenate([[0.0], np.cumsum(_steps(np.vstack([corners, corners[:1]])))])
    perimeter = along[-1]
    if perimeter <= 0:
        raise AnnotationError("is a polygon without extent; draw the lane as a line")
    ends = _candidates(corners, along)
    one, two = np.triu_indices(2 * count, 1)
    # Lengths of the sides after each end. Two ends that touch have a side of length 0, so they are excluded.
    forward = (ends.start[two] - ends.stop[one]) % perimeter
    backward = (ends.start[one] - ends.stop[two]) % perimeter
    possible = (forward > 1e-6) & (backward > 1e-6)
    one, two, forward, backward = one[possible], two[possible], forward[possible], backward[possible]
    if not len(one):
        raise AnnotationError("is a polygon without two sides; draw the lane as a line")
    fractions = np.linspace(0, 1, _SAMPLES)
    outline = _Outline(corners, along)
    left = outline.at(ends.stop[one, None] + fractions * forward[:, None])
    right = outline.at(ends.stop[two, None] + (1 - fractions) * backward[:, None])
    apart = np.hypot(*np.moveaxis(left - right, -1, 0)).mean(axis=1)
    bend = ends.bend[:count].sum() - ends.bend[one] - ends.bend[two]
    caps = (ends.stop - ends.start)[one] + (ends.stop - ends.start)[two]
    # The end edges of a band have opposite directions along the outline; the first and the third edge of a
    # line closed by the polygon tool do not. The other costs do not distinguish the two for four corners, so
    # opposite directions reduce the cost.
    facing = (count == 4) & ((ends.direction[one] * ends.direction[two]).sum(axis=1) < -0.5)
    cost = bend / np.pi + apart / (8 * max(apart.min(), 0.5)) + caps / perimeter - 0.5 * facing
    best = int(np.argmin(cost))
    one, two = int(one[best]), int(two[best])
    first = outline.between(ends.stop[one], ends.stop[one] + forward[best])
    second = outline.between(ends.stop[two], ends.stop[two] + backward[best])[::-1]
    return first, second, one < count and two < count


def _candidates(corners: np.ndarray, along: np.ndarray) -> _Ends:
    """Return every corner, then every edge, each kind in the outline's order."""
    edges = np.roll(corners, -1, axis=0) - corners
    heading = np.arctan2(edges[:, 1], edges[:, 0])
    turn = np.abs((heading - np.roll(heading, 1) + np.pi) % (2 * np.pi) - np.pi)
    return _Ends(
        start=np.concatenate([along[:-1], along[:-1]]),
        stop=np.concatenate([along[:-1], along[1:]]),
        bend=np.concatenate([turn, turn + np.roll(turn, -1)]),
        direction=np.concatenate([np.zeros_like(edges), edges / np.hypot(*edges.T)[:, None]]),
    )


class _Outline:
    """Lookup of points on a closed outline by their distance along it, up to twice its length."""

    def __init__(self, corners: np.ndarray, along: np.ndarray) -> None:
        self._along = np.concatenate([along, along[1:] + along[-1]])
        self._corners = np.vstack([corners, corners, corners[:1]])

    def at(self, distance: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.interp(distance, self._along, self._corners[:, axis]) for axis in (0, 1)], axis=-1
        )

    def between(self, start: float, stop: float) -> np.ndarray:
        inner = self._along[(self._along > start + 1e-6) & (self._along < stop - 1e-6)]
        return self.at(np.concatenate([[start], inner, [stop]]))


def _middle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    own = [np.concatenate([[0.0], np.cumsum(_steps(side))]) for side in (first, second)]
    own = [distance / distance[-1] for distance in own]
    fractions = np.unique(np.concatenate(own))
    fractions = fractions[np.concatenate([[True], np.diff(fractions) > 1e-3])]
    fractions[-1] = 1.0
    sides = [
        np.stack([np.interp(fractions, distance, side[:, axis]) for axis in (0, 1)], axis=-1)
        for distance, side in zip(own, (first, second), strict=True)
    ]
    return (sides[0] + sides[1]) / 2


def _mean_width(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean distance of the sides, measured perpendicular to the centre line, pixels."""
    fractions = np.linspace(0, 1, _SAMPLES)
    sides = []
    for side in (first, second):
        distance = np.concatenate([[0.0], np.cumsum(_steps(side))])
        sides.append(
            np.stack(
                [np.interp(fractions * distance[-1], distance, side[:, axis]) for axis in (0, 1)], axis=-1
            )
        )
    across = sides[1] - sides[0]
    direction = np.gradient((sides[0] + sides[1]) / 2, axis=0)
    direction /= np.maximum(np.hypot(*direction.T), 1e-9)[:, None]
    return float(np.abs(across[:, 0] * direction[:, 1] - across[:, 1] * direction[:, 0]).mean())


def _steps(line: np.ndarray) -> np.ndarray:
    return np.hypot(*np.diff(line, axis=0).T)
