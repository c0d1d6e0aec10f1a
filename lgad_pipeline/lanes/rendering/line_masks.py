"""Masks of many lanes as pixel spans: the pixels that OpenCV would draw, computed without drawing most lanes.

A thick line between neighbouring pixels always covers the same small shape (a stamp), except for a pixel or
two where OpenCV clips it at the frame's border. Consider a lane that never turns back in y and is drawn in
short steps. Two steps that touch a row share a round cap that touches the row too, so the lane covers each
row in one span, from the least to the greatest column of its stamps. Stamps are measured on OpenCV's own
drawing, also at the border. Lanes that turn back in y or have long steps are drawn by OpenCV, and their spans
are read from the drawing.
"""

from dataclasses import dataclass

import numpy as np

from lgad_pipeline.lanes.rendering.label_map import draw_path, round_to_pixels
from lgad_pipeline.lanes.rendering.line_stamps import Stamp, Steps, cap_stamp, find_steps, stamp_reach
from lgad_pipeline.lanes.spline import Ragged


@dataclass(frozen=True)
class Spans:
    """Masks of lanes as layers, each with at most one span of pixels a row; most lanes have one layer.

    Attributes:
        start: first column of each row's span, int32 (K, H).
        stop: column behind each row's span, int32 (K, H); the span is empty where start >= stop.
        lane: index of the lane of each layer, int (K,), ascending.
    """

    start: np.ndarray
    stop: np.ndarray
    lane: np.ndarray


def lane_spans(paths: Ragged, frame_size: tuple[int, int], *, lane_width: int) -> Spans:
    """Compute the masks of lanes drawn as consecutive thick lines.

    Args:
        paths: sampled points of the lanes, frame pixels; lanes of fewer than 2 points have no layer.
        frame_size: size of the frame (H, W), pixels.
        lane_width: thickness of the lines, frame pixels.
    """
    points, lane = round_to_pixels(paths.points), paths.lane
    counts = np.diff(paths.offsets)
    if not len(points):
        empty = np.zeros((0, frame_size[0]), np.int32)
        return Spans(empty, empty, lane)
    steps = find_steps(points, lane, frame_size=frame_size, lane_width=lane_width)
    backwards = _flags(lane[steps.down], len(counts)) & _flags(lane[steps.up], len(counts))
    drawn = backwards | _flags(lane[steps.irregular], len(counts))
    layers = [_stamped(points, lane, steps, (counts >= 2) & ~drawn, frame_size, lane_width)]
    for i in np.flatnonzero((counts >= 2) & drawn).tolist():
        layers.append(_drawn(points[paths.offsets[i] : paths.offsets[i + 1]], i, frame_size, lane_width))
    lanes = np.concatenate([layer.lane for layer in layers])
    order = np.argsort(lanes, kind="stable")
    start = np.concatenate([layer.start for layer in layers])
    stop = np.concatenate([layer.stop for layer in layers])
    return Spans(start[order], stop[order], lanes[order])


def _flags(members: np.ndarray, count: int) -> np.ndarray:
    """Return bool (count,), true at the indices `members`."""
    flags = np.zeros(count, bool)
    flags[members] = True
    return flags


def _stamped(
    points: np.ndarray,
    lane: np.ndarray,
    steps: Steps,
    chosen: np.ndarray,
    frame_size: tuple[int, int],
    lane_width: int,
) -> Spans:
    """Compute the layers of lanes from the stamps of their steps.

    Args:
        points: pixels of all paths, int64 (M, 2) as (x, y).
        lane: index of the lane of each point, int64 (M,).
        steps: steps of all paths.
        chosen: lanes to compute, bool (lanes,).
        frame_size: size of the frame (H, W), pixels.
        lane_width: thickness of the lines, pixels.
    """
    height, width = frame_size
    margin = 2 * stamp_reach(lane_width)
    rows = height + 2 * margin
    selected = chosen[lane[steps.point]]
    point, stamp = steps.point[selected], steps.stamp[selected]
    x = points[point, 0].astype(np.int32)
    cell = (np.cumsum(chosen) - 1)[lane[point]] * rows + points[point, 1] + margin
    shape = (int(chosen.sum()), rows)
    low, high = _extremes(cell, x, shape)
    first, last = np.full(shape, width, np.int32), np.full(shape, -1, np.int32)
    cap = cap_stamp(lane_width)
    for row, left, right in zip(cap.row, cap.first, cap.last, strict=True):
        source = slice(max(0, -row), rows - max(0, row))
        target = slice(max(0, row), rows - max(0, -row))
        np.minimum(first[:, target], low[:, source] + np.int32(left), out=first[:, target])
        np.maximum(last[:, target], high[:, source] + np.int32(right), out=last[:, target])
    _add_stamps(first.reshape(-1), last.reshape(-1), cell, x, stamp, steps.stamps)
    inside = slice(margin, margin + height)
    start = np.maximum(first[:, inside], 0)
    stop = np.minimum(last[:, inside] + 1, width)
    return Spans(start, stop, np.flatnonzero(chosen))


def _extremes(cell: np.ndarray, x: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the greatest x of each cell, of one x a point.

    Args:
        cell: cell of each point, int64 (S,); equal cells are consecutive.
        x: column of each point, int32 (S,), pixels.
        shape: shape of the cells (lanes, rows).

    Returns:
        int32 of that shape each; empty cells have 2**24 and -2**24.
    """
    low = np.full(shape, 1 << 24, np.int32)
    high = np.full(shape, -(1 << 24), np.int32)
    if len(cell):
        begin = np.flatnonzero(np.append(True, cell[1:] != cell[:-1]))
        low.reshape(-1)[cell[begin]] = np.minimum.reduceat(x, begin)
        high.reshape(-1)[cell[begin]] = np.maximum.reduceat(x, begin)
    return low, high


def _add_stamps(
    first: np.ndarray,
    last: np.ndarray,
    cell: np.ndarray,
    x: np.ndarray,
    stamp: np.ndarray,
    stamps: list[Stamp],
) -> None:
    """Widen spans, in cell, by the pixels that steps cover in addition to their caps.

    Args:
        first: first column of each cell, int32, flat.
        last: last column of each cell, int32, flat.
        cell: cell of the beginning of each step, int64 (S,).
        x: column of the beginning of each step, int32 (S,), pixels.
        stamp: index of the stamp of each step, int64 (S,).
        stamps: stamps in use.
    """
    if not stamps:
        return
    sizes = np.array([len(entry.row) for entry in stamps])
    row, left, right = (
        np.concatenate([getattr(entry, name) for entry in stamps]) for name in ("row", "first", "last")
    )
    counts = sizes[stamp]
    step = np.repeat(np.arange(len(stamp)), counts)
    stamp_row = np.arange(len(step)) + np.repeat(
        (np.cumsum(sizes) - sizes)[stamp] - (np.cumsum(counts) - counts), counts
    )
    target = cell[step] + row[stamp_row]
    np.minimum.at(first, target, x[step] + left[stamp_row].astype(np.int32))
    np.maximum.at(last, target, x[step] + right[stamp_row].astype(np.int32))


def _drawn(path: np.ndarray, lane: int, frame_size: tuple[int, int], lane_width: int) -> Spans:
    """Draw one lane on the part of the frame that it can reach, and read its layers from the drawing.

    Args:
        path: pixels of the lane, int64 (N, 2) as (x, y).
        lane: index of the lane.
        frame_size: size of the frame (H, W), pixels.
        lane_width: thickness of the lines, pixels.
    """
    height, width = frame_size
    margin = stamp_reach(lane_width)
    # Where the lane could cross the frame's border, the window ends at that border, so clipping is the same.
    low = np.maximum(path.min(axis=0) - margin, 0)
    high = np.minimum(path.max(axis=0) + margin + 1, (width, height))
    start = stop = np.zeros((1, height), np.int32)
    if (low < high).all():
        window = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
        draw_path(window, path - low, value=1, lane_width=lane_width)
        start, stop = _read_spans(window, low, height)
    return Spans(start, stop, np.full(len(start), lane))


def _read_spans(window: np.ndarray, corner: np.ndarray, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Read the spans of a drawn mask, one layer for each span of a row.

    Args:
        window: mask of a part of the frame, uint8 (h, w).
        corner: upper left corner of the window (x, y), frame pixels.
        height: height of the frame, pixels.

    Returns:
        Starts and stops of the spans, int32 (layers, height) each, frame pixels.
    """
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
