"""IoU of annotated and predicted lanes, drawn as thick lines, and their one-to-one matching.

The answers are those of CULane's lane_evaluation (XingangPan/SCNN), to the last lane.
"""

import math
from collections.abc import Sequence

import numpy as np

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.lanes.rendering.line_masks import Spans, lane_spans
from lgad_pipeline.lanes.spline import Ragged, ragged, sample_times, without_spline

LANE_WIDTH = 30
"""Width at which CULane compares lanes, px."""

_SLACK = 1e-2
_LEAST = -1e5  # below every similarity

Lanes = Sequence[np.ndarray]


def true_positives(
    frames: Sequence[tuple[Lanes, Lanes]],
    thresholds: Sequence[float] = (0.5,),
    *,
    frame_size: tuple[int, int] = CULANE_FRAME,
    lane_width: int = LANE_WIDTH,
) -> np.ndarray:
    """Count the matches with an IoU above each threshold, int (frames, thresholds).

    Args:
        frames: pairs (annotated, predicted) of lanes, float32 (N, 2) each, frame pixels.
        thresholds: IoU; a match is a true positive when its IoU is greater.
        frame_size: (H, W), pixels.
        lane_width: width at which lanes are compared, frame pixels.
    """
    counts = np.zeros((len(frames), len(thresholds)), np.int32)
    for row, ious in zip(counts, frame_ious(frames, frame_size, lane_width=lane_width), strict=True):
        partner = match(ious)
        matched = ious[np.flatnonzero(partner >= 0), partner[partner >= 0]]
        row[:] = (matched[:, None] > np.array(thresholds)).sum(axis=0)
    return counts


def lane_ious(
    annotated: Lanes,
    predicted: Lanes,
    *,
    frame_size: tuple[int, int] = CULANE_FRAME,
    lane_width: int = LANE_WIDTH,
) -> np.ndarray:
    """Compute the IoU of every annotated lane with every predicted one, each drawn as a thick line.

    Args:
        annotated: A lanes, float32 (N, 2) each, frame pixels.
        predicted: P lanes, likewise.
        frame_size: (H, W), pixels; lanes count within the frame only.
        lane_width: thickness of the lines, frame pixels.

    Returns:
        float64 (A, P). 0 where a lane has fewer than 2 points or no spline (see `without_spline`); NaN where
        neither enters the frame.
    """
    return frame_ious([(annotated, predicted)], frame_size, lane_width=lane_width)[0]


def frame_ious(
    frames: Sequence[tuple[Lanes, Lanes]], frame_size: tuple[int, int], *, lane_width: int
) -> list[np.ndarray]:
    """`lane_ious` of many frames, each a pair (annotated, predicted); faster than one by one."""
    lanes = ragged([lane for pair in frames for side in pair for lane in side])
    drawable = (np.diff(lanes.offsets) >= 2) & ~without_spline(lanes)
    spans = lane_spans(_paths(lanes, drawable), frame_size, lane_width=lane_width)
    areas = np.maximum(spans.stop - spans.start, 0).sum(axis=1)
    layer_begin = np.searchsorted(spans.lane, np.arange(len(drawable) + 1))
    ious = []
    begin = 0
    for annotated, predicted in frames:
        middle, end = begin + len(annotated), begin + len(annotated) + len(predicted)
        rows = slice(layer_begin[begin], layer_begin[middle])
        columns = slice(layer_begin[middle], layer_begin[end])
        size = (len(annotated), len(predicted))
        shared = np.zeros(size)
        np.add.at(
            shared,
            np.ix_(spans.lane[rows] - begin, spans.lane[columns] - middle),
            _shared(spans, rows, columns),
        )
        area = np.bincount(
            spans.lane[rows.start : columns.stop] - begin, areas[rows.start : columns.stop], sum(size)
        )
        with np.errstate(invalid="ignore"):
            iou = shared / (area[: size[0], None] + area[size[0] :] - shared)
        iou[~(drawable[begin:middle, None] & drawable[middle:end])] = 0
        ious.append(iou)
        begin = end
    return ious


def _paths(lanes: Ragged, drawable: np.ndarray) -> Ragged:
    """Return the drawn points of lanes: 2 points as they are, 3 or more by *times* sampling."""
    counts = np.where(drawable, np.diff(lanes.offsets), 0)
    curved, straight = counts >= 3, counts == 2
    sampled = sample_times(_choose(lanes, curved))
    sizes = np.where(straight, 2, 0)
    sizes[curved] = np.diff(sampled.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    points = np.empty((offsets[-1], 2), np.float32)
    points[np.repeat(curved, sizes)] = sampled.points
    points[np.repeat(straight, sizes)] = _choose(lanes, straight).points
    return Ragged(points, offsets)


def _choose(lanes: Ragged, chosen: np.ndarray) -> Ragged:
    counts = np.diff(lanes.offsets)
    return Ragged(lanes.points[np.repeat(chosen, counts)], np.concatenate([[0], np.cumsum(counts[chosen])]))


def _shared(spans: Spans, rows: slice, columns: slice) -> np.ndarray:
    """Pixels shared by every pair of layers, (layers in rows, layers in columns)."""
    start = np.maximum(spans.start[rows, None], spans.start[None, columns])
    stop = np.minimum(spans.stop[rows, None], spans.stop[None, columns])
    return np.maximum(stop - start, 0).sum(axis=2)


def match(similarity: np.ndarray) -> np.ndarray:
    """Match annotated and predicted lanes one to one, for the greatest total similarity.

    Kuhn-Munkres with the tolerance of the official tool: values within 1e-2 count as equal, so that the order
    decides between nearly equal matchings, and the result is the greatest within that tolerance only.

    Args:
        similarity: similarity of every annotated lane with every predicted one, (A, P).

    Returns:
        int (A,): the predicted lane matched with each annotated one, or -1.
    """
    annotated, predicted = similarity.shape
    partner = np.full(annotated, -1)
    if not annotated or not predicted:
        return partner
    if annotated <= predicted:
        for right, left in enumerate(_assign(similarity.tolist())):
            if left >= 0:
                partner[left] = right
    else:
        partner[:] = _assign(similarity.T.tolist())
    return partner


def _assign(weight: list[list[float]]) -> list[int]:
    """Return the left node matched with each right one, or -1; there are no more left than right nodes."""
    lefts, rights = range(len(weight)), range(len(weight[0]))
    label_left = [max([_LEAST, *(value for value in row if not math.isnan(value))]) for row in weight]
    label_right = [0.0] * len(rights)
    partner = [-1] * len(rights)
    seen_left: set[int] = set()
    seen_right: set[int] = set()

    def augment(left: int) -> bool:
        seen_left.add(left)
        for right in rights:
            excess = label_left[left] + label_right[right] - weight[left][right]
            if right not in seen_right and abs(excess) < _SLACK:
                seen_right.add(right)
                if partner[right] < 0 or augment(partner[right]):
                    partner[right] = left
                    return True
        return False

    for left in lefts:
        while True:
            seen_left.clear()
            seen_right.clear()
            if augment(left):
                break
            gaps = [
                label_left[i] + label_right[j] - weight[i][j]
                for i in seen_left
                for j in rights
                if j not in seen_right
            ]
            lowest = min((gap for gap in gaps if not math.isnan(gap)), default=None)
            if lowest is None:
                return partner
            for i in seen_left:
                label_left[i] -= lowest
            for j in seen_right:
                label_right[j] += lowest
    return partner
