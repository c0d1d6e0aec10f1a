"""Conversion of the shapes of a frame to lanes, and counts of used, ignored and rejected shapes."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lgad_pipeline.datasets.importing.bands import centre_line
from lgad_pipeline.datasets.importing.points import OF_IMAGES, Shape
from lgad_pipeline.datasets.reader import AnnotationError, bottom_first
from lgad_pipeline.lanes.odd_lanes import count_turning
from lgad_pipeline.lanes.spline import ragged

_LINES = ("linestrip", "line", "polyline")
_POINTS = ("point", "points")
_POLYGON = "polygon"

_DOUBLED = 0.5  # pixels; a double click adds the last point of a line twice, so nearer points are merged
_REVERSAL = -0.9  # cosine of the turn between two segments of a line that folds back on itself
_LEAST_FOLD = 5.0  # pixels; a line whose end is a shorter hook is a lane
_HALF_PIXEL = 0.5  # annotation tools have the origin at the corner of the first pixel, CULane at its centre


class Example(NamedTuple):
    """Count of the shapes rejected for one reason.

    Attributes:
        count: number of rejected shapes.
        first: annotation file and line of the first one.
    """

    count: int
    first: str


@dataclass
class Tally:
    """Counts of the shapes of an import.

    Attributes:
        labels: label -> number of shapes with this label.
        used: (kind of shape, result such as "lane" or "centre line") -> number of shapes.
        ignored: "label" and the label -> number of shapes whose label was not chosen; "tag" or "flag" and
            its name -> number of images that have it.
        rejected: (kind, label, reason) -> number of shapes that are not lanes, and position of the first.
        doubled: number of points left out because they repeat the point before.
        repeated: number of lanes that are equal to another lane of their frame.
        grouped: number of lines and polygons that share their group with another one of their frame.
    """

    labels: Counter[str] = field(default_factory=Counter)
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    ignored: Counter[str] = field(default_factory=Counter)
    rejected: dict[tuple[str, str, str], Example] = field(default_factory=dict)
    doubled: int = 0
    repeated: int = 0
    grouped: int = 0

    def reject(self, shape: Shape, place: str, reason: str, count: int = 1) -> None:
        """Count shapes that are not lanes.

        Args:
            shape: rejected shape, the first one of a group of points.
            place: annotation file and line.
            reason: reason of the rejection.
            count: number of shapes.
        """
        key = (shape.kind, shape.label, reason)
        before = self.rejected.get(key, Example(0, place))
        self.rejected[key] = Example(before.count + count, before.first)


class Frame(NamedTuple):
    """Lanes of a frame, and reasons of its rejected shapes.

    Attributes:
        lanes: float32 (N, 2) each, (x, y) in frame pixels with pixel centres at integers, bottom first.
        types: type of each lane, empty where the tool states none.
        faults: one reason for each rejected shape or group of points.
        drawn: number of shapes of any label; tags and flags of the whole image do not count.
    """

    lanes: list[np.ndarray]
    types: list[str]
    faults: list[str]
    drawn: int


def lanes_of(
    shapes: Sequence[Shape],
    place: str,
    *,
    size: tuple[int, int],
    scale: tuple[float, float],
    labels: Collection[str] | None,
    tally: Tally,
) -> Frame:
    """Convert the shapes of one frame to lanes.

    A line is a lane; a polygon is replaced by its centre line (`bands.centre_line`); the points of one shape
    are joined to a lane, and so are single points of the same group, or of the same label where they have no
    group; every other shape is rejected.

    Args:
        shapes: shapes of the frame as annotated.
        place: annotation file and line, for the tally.
        size: (H, W) of the frame, pixels.
        scale: factors (x, y) from annotated pixels to frame pixels.
        labels: labels of the shapes that are lanes; None: all labels.
        tally: counts to which every shape is added.
    """
    frame = Frame([], [], [], sum(shape.kind not in OF_IMAGES for shape in shapes))
    clicks: dict[tuple[bool, str], list[Shape]] = {}
    for shape in shapes:
        if shape.kind in OF_IMAGES:
            tally.ignored[f"{shape.kind} {shape.label}"] += 1
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
    groups = Counter(shape.group for shape in shapes if shape.kind in (*_LINES, _POLYGON))
    tally.grouped += sum(count for group, count in groups.items() if group is not None and count > 1)
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
    frame.types.append(shape.type)


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
    raise AnnotationError("is not a line; draw the lane as a line")


def _joined(points: np.ndarray) -> np.ndarray:
    """Join points in their order, or by rows if that path is shorter, because they were set in no order."""
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
    """Return the lane of a line in frame pixels, and the number of doubled points that were left out."""
    kept = [0]
    for index in range(1, len(line)):
        if np.hypot(*(line[index] - line[kept[-1]])) >= _DOUBLED:
            kept.append(index)
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
    if _folds_back(lane):
        raise AnnotationError("folds back on itself; draw the lane as one line from one end to the other")
    if count_turning(ragged([lane])):
        raise AnnotationError(
            "runs up and down, as two lanes in one line do; draw each lane as one line from one end to the "
            "other"
        )
    return bottom_first(lane.astype(np.float32)), doubled


def _folds_back(line: np.ndarray) -> bool:
    """Return True if a line turns round, as when both edges of the paint are drawn in one line."""
    steps = np.diff(line, axis=0)
    lengths = np.hypot(*steps.T)
    turns = (steps[1:] * steps[:-1]).sum(axis=1) < _REVERSAL * lengths[1:] * lengths[:-1]
    turns &= steps[1:, 1] * steps[:-1, 1] < 0
    return bool((turns & (np.minimum(lengths[1:], lengths[:-1]) > _LEAST_FOLD)).any())


def _crosses_itself(line: np.ndarray) -> bool:
    """Return True if two segments that are not adjacent cross; segments that only touch do not cross."""
    steps = np.diff(line, axis=0)
    if len(steps) < 3 or any((axis >= 0).all() or (axis <= 0).all() for axis in steps.T):
        return False  # A line that is monotonic along an axis cannot cross itself.

    def side(start: np.ndarray, step: np.ndarray, point: np.ndarray) -> np.ndarray:
        across = step[..., 0] * (point[..., 1] - start[..., 1]) - step[..., 1] * (
            point[..., 0] - start[..., 0]
        )
        return np.sign(across)

    start, stop = line[:-1], line[1:]
    first, second = np.triu_indices(len(steps), 2)
    apart = side(start[first], steps[first], start[second]) * side(start[first], steps[first], stop[second])
    across = side(start[second], steps[second], start[first]) * side(
        start[second], steps[second], stop[first]
    )
    return bool(((apart < 0) & (across < 0)).any())
