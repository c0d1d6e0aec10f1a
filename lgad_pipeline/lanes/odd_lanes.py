"""Odd lanes, probably not meant: single points, two lanes in one line, numbers that are no points."""

import numpy as np

from lgad_pipeline.lanes.spline import Ragged
from lgad_pipeline.wording import counted

_TURN = 0.4  # least share of a turning lane's height that it runs both up and down
_LEAST_TURN = 5.0  # pixels; a shorter hook at an end comes from an unsteady hand
_SMALL = 10.0  # greatest class number or score, and mark of an absent point, that is recognized at an end
_JUMP = 2.0  # least ratio of the distance of such an end to the other distances of neighbouring points


def odd_lanes(lanes: Ragged) -> np.ndarray:
    """Count odd lanes.

    Returns:
        int64 (4,): lanes of one point, lanes with marks of absent points (`repeated_x`, 0 included), lanes
        that run up and down, and other lanes with an end near (0, 0), far from their other points.
    """
    single, marked, turned = np.diff(lanes.offsets) == 1, repeated_x(lanes) <= 0, _turning(lanes)
    ended = _ends_at_zero(lanes) & ~marked & ~turned
    return np.array([single.sum(), marked.sum(), turned.sum(), ended.sum()], np.int64)


def odd_lanes_warnings(kind: str, counts: np.ndarray) -> list[str]:
    """Return a sentence for each number of `odd_lanes` that is not 0.

    Args:
        kind: adjective for the lanes, such as "predicted".
        counts: result of `odd_lanes`.
    """
    single, marked, turned, ended = counts.tolist()
    found = []
    if single:
        lanes = f"{counted(single, f'{kind} lane')} {'has' if single == 1 else 'have'}"
        found.append(f"{lanes} a single point and no length; give at least two points.")
    if marked:
        lanes = f"{counted(marked, f'{kind} lane')} {'has' if marked == 1 else 'have'}"
        found.append(
            f"{lanes} two points or more at one x of 0 or less, as programs mark absent points, which count "
            "as points here; leave these points out."
        )
    if turned:
        lanes = f"{counted(turned, f'{kind} lane')} {'runs' if turned == 1 else 'run'}"
        found.append(
            f"{lanes} up and down, so that points are not in order, a line holds two lanes, or numbers "
            "before the points are read as a point; give each lane a line, from one end to the other."
        )
    if ended:
        lanes = f"{counted(ended, f'{kind} lane')} {'has' if ended == 1 else 'have'}"
        found.append(
            f"{lanes} an end near (0, 0), far from the other points, as where a class number and a score, or "
            "a mark of an absent point, are read as a point; leave these numbers out."
        )
    return found


def repeated_x(lanes: Ragged) -> np.ndarray:
    """Return the least whole x, 0 or less, that two points of a lane share: float32 (lanes,), pixels.

    Programs that write a value for every row mark absent points by -2, -1 or 0. Points that an annotation
    tool kept at the border of the image are imported at x = -0.5, which is no mark. Infinity: there is none.
    """
    found = np.full(len(lanes.offsets) - 1, np.inf, np.float32)
    left = (lanes.points[:, 0] <= 0) & (lanes.points[:, 0] == np.rint(lanes.points[:, 0]))
    x, lane = lanes.points[left, 0], lanes.lane[left]
    order = np.lexsort((x, lane))
    x, lane = x[order], lane[order]
    equal = (x[1:] == x[:-1]) & (lane[1:] == lane[:-1])
    np.minimum.at(found, lane[1:][equal], x[1:][equal])
    return found


def count_turning(lanes: Ragged) -> int:
    """Count the lanes that run up and down.

    A label map has one x on each row, so that such a lane cannot be drawn. A curve at the horizon turns less.
    """
    return int(_turning(lanes).sum())


def _turning(lanes: Ragged) -> np.ndarray:
    """Flag the lanes that run up and down, bool (lanes,)."""
    long = np.diff(lanes.offsets) > 1
    flags = np.zeros(len(long), bool)
    lanes = lanes if long.all() else lanes.chosen(long)
    begins, y = lanes.offsets[:-1], lanes.points[:, 1]
    if not len(begins):
        return flags
    steps = np.diff(y)
    steps[begins[1:] - 1] = 0.0  # from one lane to the next
    down = np.add.reduceat(np.maximum(steps, 0.0), begins)
    up = -np.add.reduceat(np.minimum(steps, 0.0), begins)
    height = np.maximum.reduceat(y, begins) - np.minimum.reduceat(y, begins)
    back = np.minimum(down, up)
    flags[long] = (back > _LEAST_TURN) & (back > _TURN * height)
    return flags


def _ends_at_zero(lanes: Ragged) -> np.ndarray:
    """Flag the lanes with a first or last point near (0, 0), far from the point next to it, bool (lanes,)."""
    flags = np.zeros(len(lanes.offsets) - 1, bool)
    small = np.abs(lanes.points).max(axis=1) <= _SMALL
    long = np.flatnonzero(np.diff(lanes.offsets) > 2)
    begins, ends = lanes.offsets[long], lanes.offsets[long + 1]
    for index in long[small[begins] | small[ends - 1]].tolist():
        begin, end = lanes.offsets[index], lanes.offsets[index + 1]
        steps = np.hypot(*np.diff(lanes.points[begin:end], axis=0).T)
        flags[index] = (small[begin] and steps[0] > _JUMP * steps[1:].max()) or (
            small[end - 1] and steps[-1] > _JUMP * steps[:-1].max()
        )
    return flags
