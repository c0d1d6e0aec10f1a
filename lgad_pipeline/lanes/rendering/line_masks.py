"""The masks of many lanes at once, as spans of pixels: what OpenCV would draw, without drawing most of it.

A thick line between neighbouring pixels is the same small stamp wherever it lies, but for a pixel or two
where OpenCV clips it at the frame's border. A lane that never turns back in y, drawn in short steps, covers
every row in one span, because two steps that touch a row share a round cap that touches it too; the span's
ends are then the least and the greatest over the stamps. Stamps are measured from OpenCV's own drawing, at
the border too. Lanes for which that argument fails are drawn, and their spans read off.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from lgad_pipeline.lanes.rendering.label_map import draw, pixels
from lgad_pipeline.lanes.spline import Ragged

_LONGEST = 3
"""Steps of a path up to so many pixels in x and in y are stamped; longer ones are drawn."""
_SIDE = 2 * _LONGEST + 1


@dataclass(frozen=True)
class Spans:
    """Masks of lanes as layers, each with at most one span of pixels a row; most lanes have one layer.

    Attributes:
        start, stop: int32 (K, H); the span of a row is start .. stop - 1, empty where start >= stop.
        lane: int (K,), ascending: the lane that a layer belongs to.
    """

    start: np.ndarray
    stop: np.ndarray
    lane: np.ndarray


def lane_spans(paths: Ragged, frame_size: tuple[int, int], lane_width: int) -> Spans:
    """Spans of the masks of lanes drawn as consecutive thick lines.

    Args:
        paths: points of the lanes as sampled, frame pixels; lanes of fewer than 2 points have no layer.
        frame_size: (H, W), pixels.
        lane_width: thickness of the lines, frame pixels.
    """
    points, lane = pixels(paths.points), paths.lane
    counts = np.diff(paths.offsets)
    if not len(points):
        nothing = np.zeros((0, frame_size[0]), np.int32)
        return Spans(nothing, nothing, lane)
    steps = _steps(points, lane, frame_size, lane_width)
    backwards = _flags(lane[steps.down], len(counts)) & _flags(lane[steps.up], len(counts))
    by_hand = backwards | _flags(lane[steps.irregular], len(counts))
    layers = [_stamped(points, lane, steps, (counts >= 2) & ~by_hand, frame_size, lane_width)]
    for i in np.flatnonzero((counts >= 2) & by_hand).tolist():
        layers.append(_drawn(points[paths.offsets[i] : paths.offsets[i + 1]], i, frame_size, lane_width))
    lanes = np.concatenate([layer.lane for layer in layers])
    order = np.argsort(lanes, kind="stable")
    start = np.concatenate([layer.start for layer in layers])
    stop = np.concatenate([layer.stop for layer in layers])
    return Spans(start[order], stop[order], lanes[order])


def _flags(members: np.ndarray, count: int) -> np.ndarray:
    flags = np.zeros(count, bool)
    flags[members] = True
    return flags


@dataclass(frozen=True)
class _Steps:
    """The steps of paths, each at the point (index) where it begins.

    Attributes:
        point: int (S,) the points that matter: they move on or end a lane, and their stamp reaches the frame.
        stamp: int (S,) index into `stamps`.
        stamps: the stamps in use.
        down, up, irregular: points where the path falls, climbs, or takes a step that cannot be stamped.
    """

    point: np.ndarray
    stamp: np.ndarray
    stamps: "list[_Stamp]"
    down: np.ndarray
    up: np.ndarray
    irregular: np.ndarray


def _steps(points: np.ndarray, lane: np.ndarray, frame_size: tuple[int, int], lane_width: int) -> _Steps:
    height, width = frame_size
    reach = _reach(lane_width)
    ends_lane = np.append(lane[1:] != lane[:-1], True)
    dx, dy = (np.append(np.diff(side), 0) for side in points.T)
    point = np.flatnonzero((dx != 0) | (dy != 0) | ends_lane)
    inner = ~ends_lane[point]
    x, y, dx, dy = points[point, 0], points[point, 1], dx[point] * inner, dy[point] * inner
    down, up = point[dy > 0], point[dy < 0]
    if min(frame_size) < 2 * reach:
        return _Steps(point[:0], point[:0], [], down, up, point)
    long = (dx > _LONGEST) | (dx < -_LONGEST) | (dy > _LONGEST) | (dy < -_LONGEST)
    irregular = point[long]
    near = ~long & (x >= -reach) & (x < width + reach) & (y >= -reach) & (y < height + reach)
    point, x, y, dx, dy = point[near], x[near], y[near], dx[near], dy[near]
    places = 4 * reach + 1
    move = (dx + _LONGEST) * _SIDE + dy + _LONGEST
    code = (move * places + _border_place(x, width, reach)) * places + _border_place(y, height, reach)
    used = np.flatnonzero(np.bincount(code))
    found = [_stamp(key, lane_width) for key in used.tolist()]
    stamp = np.searchsorted(used, code)
    bad = np.array([one is None for one in found], bool)
    if bad.any():
        irregular = np.append(irregular, point[bad[stamp]])
    return _Steps(point, stamp, [_NOTHING if one is None else one for one in found], down, up, irregular)


def _reach(lane_width: int) -> int:
    """How far a stamp may extend from where its step begins, px, with something to spare."""
    return lane_width // 2 + _LONGEST + 3


def _border_place(position: np.ndarray, size: int, reach: int) -> np.ndarray:
    """0 far from both borders, else the place relative to the nearer one, as 1 .. 4 * reach."""
    lower = position + reach + 1
    upper = position - size + 3 * reach + 1
    return np.where(position < reach, lower, np.where(position >= size - reach, upper, 0))


@dataclass(frozen=True)
class _Stamp:
    """Spans by rows, relative to a step's beginning, where the step covers more than the caps at its ends."""

    row: np.ndarray
    first: np.ndarray
    last: np.ndarray


_NOTHING = _Stamp(*np.zeros((3, 0), np.int64))


@cache
def _stamp(code: int, lane_width: int) -> _Stamp | None:
    """The stamp of a step at a place relative to the frame's border; see `_steps` for the code.

    None if the argument for one span a row does not hold: a row is not one span, or lies beyond both caps.
    """
    reach = _reach(lane_width)
    places = 4 * reach + 1
    move, across, along = code // places**2, code // places % places, code % places
    size = 6 * reach
    x, y = (
        3 * reach if at == 0 else at - 1 - reach + (4 * reach if at > 2 * reach else 0)
        for at in (across, along)
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
        return _NOTHING
    one_span = (whole.sum(axis=1)[covered] == (high - low + 1)[covered]).all()
    if not one_span or not len(cap_rows) or covered[0] < cap_rows[0] or covered[-1] > cap_rows[-1]:
        return None
    more = covered[(low < cap_low)[covered] | (high > cap_high)[covered]]
    return _Stamp(more - y, low[more] - x, high[more] - x)


def _row_ends(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last column covered in each row; (columns, -1) where there is none."""
    covered = mask.any(axis=1)
    columns = mask.shape[1]
    first = np.where(covered, mask.argmax(axis=1), columns)
    last = np.where(covered, columns - 1 - mask[:, ::-1].argmax(axis=1), -1)
    return first, last


@cache
def _cap(lane_width: int) -> _Stamp:
    """The round cap: all that a step of no length covers."""
    reach = _reach(lane_width)
    mask = np.zeros((2 * reach + 1, 2 * reach + 1), np.uint8)
    cv2.line(mask, (reach, reach), (reach, reach), 1, lane_width)
    row = np.flatnonzero(mask.any(axis=1))
    first, last = _row_ends(mask[row])
    return _Stamp(row - reach, first - reach, last - reach)


def _stamped(
    points: np.ndarray,
    lane: np.ndarray,
    steps: _Steps,
    chosen: np.ndarray,
    frame_size: tuple[int, int],
    lane_width: int,
) -> Spans:
    """Layers of the lanes `chosen`, bool (lanes,), from the stamps of their steps."""
    height, width = frame_size
    margin = 2 * _reach(lane_width)
    rows = height + 2 * margin
    mine = chosen[lane[steps.point]]
    point, stamp = steps.point[mine], steps.stamp[mine]
    x = points[point, 0].astype(np.int32)
    place = (np.cumsum(chosen) - 1)[lane[point]] * rows + points[point, 1] + margin
    shape = (int(chosen.sum()), rows)
    low, high = _extremes(place, x, shape)
    first, last = np.full(shape, width, np.int32), np.full(shape, -1, np.int32)
    cap = _cap(lane_width)
    for row, left, right in zip(cap.row, cap.first, cap.last, strict=True):
        source = slice(max(0, -row), rows - max(0, row))
        target = slice(max(0, row), rows - max(0, -row))
        np.minimum(first[:, target], low[:, source] + np.int32(left), out=first[:, target])
        np.maximum(last[:, target], high[:, source] + np.int32(right), out=last[:, target])
    _add_stamps(first.reshape(-1), last.reshape(-1), place, x, stamp, steps.stamps)
    inside = slice(margin, margin + height)
    start = np.maximum(first[:, inside], 0)
    stop = np.minimum(last[:, inside] + 1, width)
    return Spans(start, stop, np.flatnonzero(chosen))


def _extremes(place: np.ndarray, x: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest x at each place, of places that come in runs; far off where there is none."""
    low = np.full(shape, 1 << 24, np.int32)
    high = np.full(shape, -(1 << 24), np.int32)
    if len(place):
        begin = np.flatnonzero(np.append(True, place[1:] != place[:-1]))
        low.reshape(-1)[place[begin]] = np.minimum.reduceat(x, begin)
        high.reshape(-1)[place[begin]] = np.maximum.reduceat(x, begin)
    return low, high


def _add_stamps(
    first: np.ndarray,
    last: np.ndarray,
    place: np.ndarray,
    x: np.ndarray,
    stamp: np.ndarray,
    stamps: list[_Stamp],
) -> None:
    """Widen the spans by all that the steps cover beyond their caps, in place."""
    if not stamps:
        return
    sizes = np.array([len(one.row) for one in stamps])
    row, left, right = (
        np.concatenate([getattr(one, name) for one in stamps]) for name in ("row", "first", "last")
    )
    counts = sizes[stamp]
    step = np.repeat(np.arange(len(stamp)), counts)
    entry = np.arange(len(step)) + np.repeat(
        (np.cumsum(sizes) - sizes)[stamp] - (np.cumsum(counts) - counts), counts
    )
    target = place[step] + row[entry]
    np.minimum.at(first, target, x[step] + left[entry].astype(np.int32))
    np.maximum.at(last, target, x[step] + right[entry].astype(np.int32))


def _drawn(path: np.ndarray, lane: int, frame_size: tuple[int, int], lane_width: int) -> Spans:
    """Layers of one lane, read off its drawing on the part of the frame that it can reach."""
    height, width = frame_size
    margin = _reach(lane_width)
    # A side of the window is the frame's own side wherever the lane could cross it: clipping is the same.
    low = np.maximum(path.min(axis=0) - margin, 0)
    high = np.minimum(path.max(axis=0) + margin + 1, (width, height))
    start = stop = np.zeros((1, height), np.int32)
    if (low < high).all():
        window = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        draw(window, path - low, 1, lane_width)
        start, stop = _read_spans(window, low, height)
    return Spans(start, stop, np.full(len(start), lane))


def _read_spans(window: np.ndarray, corner: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    padded = np.pad(window, ((0, 0), (1, 1)))
    columns = padded.shape[1]
    flat = padded.ravel()
    row, column = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), columns)
    row, begin, end = row[::2], column[::2], column[1::2]
    layer = np.arange(len(row)) - np.searchsorted(row, row)
    layers = int(layer.max(initial=0)) + 1
    start, stop = np.zeros((2, layers, height), np.int32)
    start[layer, row + corner[1]] = begin + corner[0]
    stop[layer, row + corner[1]] = end + corner[0]
    return start, stop
