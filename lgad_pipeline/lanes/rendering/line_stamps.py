"""Stamps of thick lines: the pixels that OpenCV draws for one short step of a path.

A stamp is measured on OpenCV's drawing, once for each direction of a step and each position relative to the
frame's border, where OpenCV clips lines by a pixel or two.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

_LONGEST = 3
"""Greatest length of a step in x and in y that is stamped, pixels; lanes with longer steps are drawn."""
_SIDE = 2 * _LONGEST + 1


@dataclass(frozen=True)
class Steps:
    """Steps of paths, each identified by the index of the point where it begins.

    Attributes:
        point: points of steps that are drawn, int (S,): they change the pixel or end a lane, and their stamp
            may reach the frame.
        stamp: index into `stamps` of each drawn step, int (S,).
        stamps: stamps in use.
        down: points where y grows (the path goes down in the frame), int.
        up: points where y decreases, int.
        irregular: points of steps that cannot be stamped, int.
    """

    point: np.ndarray
    stamp: np.ndarray
    stamps: "list[Stamp]"
    down: np.ndarray
    up: np.ndarray
    irregular: np.ndarray


def find_steps(
    points: np.ndarray, lane: np.ndarray, *, frame_size: tuple[int, int], lane_width: int
) -> Steps:
    """Find the steps of paths and their stamps.

    Args:
        points: pixels of all paths, int64 (M, 2) as (x, y).
        lane: index of the lane of each point, int64 (M,).
        frame_size: size of the frame (H, W), pixels.
        lane_width: thickness of the lines, pixels.
    """
    height, width = frame_size
    reach = stamp_reach(lane_width)
    ends_lane = np.append(lane[1:] != lane[:-1], True)
    dx, dy = (np.append(np.diff(side), 0) for side in points.T)
    point = np.flatnonzero((dx != 0) | (dy != 0) | ends_lane)
    inner = ~ends_lane[point]
    x, y, dx, dy = points[point, 0], points[point, 1], dx[point] * inner, dy[point] * inner
    down, up = point[dy > 0], point[dy < 0]
    if min(frame_size) < 2 * reach:
        return Steps(point[:0], point[:0], [], down, up, point)
    long = (dx > _LONGEST) | (dx < -_LONGEST) | (dy > _LONGEST) | (dy < -_LONGEST)
    irregular = point[long]
    near = ~long & (x >= -reach) & (x < width + reach) & (y >= -reach) & (y < height + reach)
    point, x, y, dx, dy = point[near], x[near], y[near], dx[near], dy[near]
    zones = 4 * reach + 1
    move = (dx + _LONGEST) * _SIDE + dy + _LONGEST
    code = (move * zones + _border_zone(x, width, reach)) * zones + _border_zone(y, height, reach)
    used = np.flatnonzero(np.bincount(code))
    stamps = [_stamp(key, lane_width) for key in used.tolist()]
    stamp = np.searchsorted(used, code)
    invalid = np.array([entry is None for entry in stamps], bool)
    if invalid.any():
        irregular = np.append(irregular, point[invalid[stamp]])
    return Steps(point, stamp, [_EMPTY if entry is None else entry for entry in stamps], down, up, irregular)


def stamp_reach(lane_width: int) -> int:
    """Return an upper bound of the distance that a stamp extends from the beginning of its step, pixels."""
    return lane_width // 2 + _LONGEST + 3


def _border_zone(position: np.ndarray, size: int, reach: int) -> np.ndarray:
    """Encode the position relative to the borders: 0 far from both, else 1 .. 4 * reach from the nearer one.

    Args:
        position: x or y, int64 (S,), pixels.
        size: width or height of the frame, pixels.
        reach: bound of the extent of a stamp, pixels.
    """
    lower = position + reach + 1
    upper = position - size + 3 * reach + 1
    return np.where(position < reach, lower, np.where(position >= size - reach, upper, 0))


@dataclass(frozen=True)
class Stamp:
    """Rows on which a step covers more than the round caps at its ends, relative to the step's beginning.

    Attributes:
        row: rows, int64 (N,), pixels.
        first: first column covered on each row, int64 (N,), pixels.
        last: last column covered on each row, int64 (N,), pixels.
    """

    row: np.ndarray
    first: np.ndarray
    last: np.ndarray


_EMPTY = Stamp(*np.zeros((3, 0), np.int64))


@cache
def _stamp(code: int, lane_width: int) -> Stamp | None:
    """Measure the stamp of a step in one position relative to the frame's border.

    Args:
        code: direction of the step and zones of its beginning; `find_steps` defines it.
        lane_width: thickness of the line, pixels.

    Returns:
        The stamp; None if a row is not one span or is outside of both caps, so that the lane has to be drawn.
    """
    reach = stamp_reach(lane_width)
    zones = 4 * reach + 1
    move, x_zone, y_zone = code // zones**2, code // zones % zones, code % zones
    size = 6 * reach
    x, y = (
        3 * reach if zone == 0 else zone - 1 - reach + (4 * reach if zone > 2 * reach else 0)
        for zone in (x_zone, y_zone)
    )
    end = (x + move // _SIDE - _LONGEST, y + move % _SIDE - _LONGEST)
    whole, caps = (np.zeros((size, size), np.uint8) for _ in range(2))
    cv2.line(whole, (x, y), end, 1, lane_width)
    for cap in ((x, y), end):
        cv2.line(caps, cap, cap, 1, lane_width)
    (low, high), (cap_low, cap_high) = _row_ends(whole), _row_ends(caps)
    covered = np.flatnonzero(high >= 0)
    cap_rows = np.flatnonzero(cap_high >= 0)
    if not len(covered):
        return _EMPTY
    one_span = (whole.sum(axis=1)[covered] == (high - low + 1)[covered]).all()
    if not one_span or not len(cap_rows) or covered[0] < cap_rows[0] or covered[-1] > cap_rows[-1]:
        return None
    more = covered[(low < cap_low)[covered] | (high > cap_high)[covered]]
    return Stamp(more - y, low[more] - x, high[more] - x)


def _row_ends(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first and the last covered column of each row; (columns, -1) where there is none."""
    covered = mask.any(axis=1)
    columns = mask.shape[1]
    first = np.where(covered, mask.argmax(axis=1), columns)
    last = np.where(covered, columns - 1 - mask[:, ::-1].argmax(axis=1), -1)
    return first, last


@cache
def cap_stamp(lane_width: int) -> Stamp:
    """Measure the round cap of a line: the pixels that a step of length 0 covers."""
    reach = stamp_reach(lane_width)
    mask = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    cv2.line(mask, (reach, reach), (reach, reach), 1, lane_width)
    row = np.flatnonzero(mask.any(axis=1))
    first, last = _row_ends(mask[row])
    return Stamp(row - reach, first - reach, last - reach)
