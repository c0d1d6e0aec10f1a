"""Shapes of a frame become lanes; what was done with every shape is counted."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lgad_pipeline.datasets.importing.bands import centre_line
from lgad_pipeline.datasets.importing.points import Shape
from lgad_pipeline.datasets.reader import AnnotationError

_LINES = ("linestrip", "line", "polyline")
_POINTS = ("point", "points")
_POLYGON = "polygon"
_NOT_ABOUT_LANES = ("tag",)  # of the whole image

_DOUBLED = 0.5  # pixels; a double click ends a line with the same point twice
_HALF_PIXEL = 0.5  # annotation tools have the origin at the corner of the first pixel, CULane at its centre


class Example(NamedTuple):
    """How often a shape was rejected for a reason, and where first."""

    count: int
    first: str


@dataclass
class Tally:
    """What was done with the shapes of an import.

    Attributes:
        labels: label -> shapes that have it.
        used: (kind of shape, what it became) -> shapes.
        ignored: label -> shapes left out because the label was not chosen; kind -> shapes that mark no place.
        rejected: (kind, label, reason) -> shapes that are no lane, and the first of them.
        doubled: points left out because they repeat the point before.
        repeated: lanes that are equal to another lane of their frame.
    """

    labels: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    rejected: dict[tuple[str, str, str], Example] = field(default_factory=dict)
    doubled: int = 0
    repeated: int = 0

    def reject(self, shape: Shape, place: str, reason: str, count: int = 1) -> None:
        """Count shapes that are no lane."""
        key = (shape.kind, shape.label, reason)
        before = self.rejected.get(key, Example(0, place))
        self.rejected[key] = Example(before.count + count, before.first)


class Frame(NamedTuple):
    """The lanes of a frame, and why shapes of it were rejected.

    Attributes:
        lanes: float32 (N, 2) each, (x, y) in frame pixels with pixel centres at integers, bottom first.
        faults: one reason for each rejected shape or group of points.
    """

    lanes: list[np.ndarray]
    faults: list[str]


def lanes_of(
    shapes: Sequence[Shape],
    place: str,
    size: tuple[int, int],
    scale: tuple[float, float],
    labels: Collection[str] | None,
    tally: Tally,
) -> Frame:
    """Turn the shapes of one frame into lanes.

    Lines stay as they are; a polygon becomes its centre line (`bands.centre_line`); points of one group, or
    without groups of one label, are joined in their order; every other shape is rejected.

    Args:
        shapes: as annotated.
        place: annotation file and line, for the tally.
        size: (H, W) of the frame, pixels.
        scale: (x, y), frame pixels in an annotated pixel.
        labels: labels that mean lanes; None: all.
        tally: counts every shape.
    """
    frame = Frame([], [])
    clicks: dict[tuple[bool, str], list[Shape]] = {}
    for shape in shapes:
        if shape.kind in _NOT_ABOUT_LANES:
            tally.ignored[shape.kind] += 1
            continue
        tally.labels[shape.label] += 1
        if labels is not None and shape.label not in labels:
            tally.ignored[f"label {shape.label}"] += 1
        elif shape.kind in _POINTS and len(shape.points) == 1:
            key = (True, shape.group) if shape.group is not None else (False, shape.label)
            clicks.setdefault(key, []).append(shape)
        else:
            _add([shape], place, size, scale, frame, tally)
    for group in clicks.values():
        _add(group, place, size, scale, frame, tally)
    return frame


def _add(
    group: list[Shape],
    place: str,
    size: tuple[int, int],
    scale: tuple[float, float],
    frame: Frame,
    tally: Tally,
) -> None:
    """Add the lane of a shape, or of several points, or the reason why there is none."""
    shape = group[0]
    try:
        line, became = _line(group, size, scale)
        lane, doubled = _lane(line, size)
    except AnnotationError as error:
        tally.reject(shape, place, str(error), len(group))
        frame.faults.append(f"{shape.kind} {shape.label}: {error}")
        return
    tally.used[shape.kind, became] += len(group)
    tally.doubled += doubled
    tally.repeated += any(np.array_equal(lane, other) for other in frame.lanes)
    frame.lanes.append(lane)


def _line(group: list[Shape], size: tuple[int, int], scale: tuple[float, float]) -> tuple[np.ndarray, str]:
    shape = group[0]
    if shape.fault is not None:
        raise AnnotationError(shape.fault)
    if shape.kind in (*_LINES, *_POINTS, _POLYGON) and not len(shape.points):
        raise AnnotationError("has no points; remove it or draw the line")
    points = np.concatenate([shape.points for shape in group]).astype(np.float64) * scale
    if shape.kind in _LINES:
        return points, "lane"
    if shape.kind == _POLYGON:
        return centre_line(points, size[1]), "centre line"
    if shape.kind in _POINTS:
        return _joined(points), "joined to a lane"
    raise AnnotationError("is no line; draw the lane as a line")


def _joined(points: np.ndarray) -> np.ndarray:
    """Points in their order, or by rows where that path is shorter: they were not set in order."""
    if len(points) < 2:
        raise AnnotationError(
            "is a single click; remove it, or give the points of a lane one group or a label of their own"
        )
    by_row = points[np.argsort(-points[:, 1], kind="stable")]
    line = min((points, by_row), key=lambda path: np.hypot(*np.diff(path, axis=0).T).sum())
    steps = np.diff(line, axis=0)
    if ((steps[1:] * steps[:-1]).sum(axis=1) < 0).any():
        raise AnnotationError(
            f"are {len(points)} points that follow no single line; give the points of each lane a group or a "
            "label of their own"
        )
    return line


def _lane(line: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, int]:
    """The lane of a line in frame pixels, and the number of doubled points that were left out."""
    kept = [0]
    for place in range(1, len(line)):
        if np.hypot(*(line[place] - line[kept[-1]])) >= _DOUBLED:
            kept.append(place)
    doubled = len(line) - len(kept)
    lane = line[kept] - _HALF_PIXEL
    if len(lane) < 2:
        raise AnnotationError("is a single click; remove it or draw the line")
    frame = np.array(size[::-1])
    if (
        ((lane < -frame) | (lane > 2 * frame)).any()
        or (lane.max(axis=0) < 0).any()
        or (lane.min(axis=0) >= frame).any()
    ):
        raise AnnotationError(f"is outside the frame of {size[1]} x {size[0]} px; correct it")
    if _crosses_itself(lane):
        raise AnnotationError("crosses itself; draw the lane as one line")
    lane = lane.astype(np.float32)
    return (lane if lane[0, 1] >= lane[-1, 1] else lane[::-1]), doubled


def _crosses_itself(line: np.ndarray) -> bool:
    """Two segments that are no neighbours cross; one that only touches does not count."""
    steps = np.diff(line, axis=0)
    if len(steps) < 3 or any((axis >= 0).all() or (axis <= 0).all() for axis in steps.T):
        return False  # a line that always runs to one side cannot

    def side(start: np.ndarray, step: np.ndarray, point: np.ndarray) -> np.ndarray:
        across = step[..., 0] * (point[..., 1] - start[..., 1]) - step[..., 1] * (
            point[..., 0] - start[..., 0]
        )
        return np.sign(across)

    start, stop = line[:-1], line[1:]
    one, two = np.triu_indices(len(steps), 2)
    apart = side(start[one], steps[one], start[two]) * side(start[one], steps[one], stop[two])
    across = side(start[two], steps[two], start[one]) * side(start[two], steps[two], stop[one])
    return bool(((apart < 0) & (across < 0)).any())
