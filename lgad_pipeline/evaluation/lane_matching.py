"""IoU of annotated and predicted lanes, drawn as thick lines, and their one-to-one matching.

The answers are those of CULane's lane_evaluation (XingangPan/SCNN), to the last lane.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.evaluation.frame_lanes import FrameLanes
from lgad_pipeline.lanes.rendering.line_masks import Spans, lane_spans

LANE_WIDTH = 30
"""Width at which CULane compares lanes, px."""

_SLACK = 1e-2
_LEAST = -1e5  # below every similarity


class Matches(NamedTuple):
    """Matched lanes of some frames, one pair an entry, at any IoU.

    Attributes:
        frame: index of the frame, int64 (pairs,).
        annotated: index of the annotated lane in its frame, int64 (pairs,).
        predicted: index of the predicted lane in its frame, int64 (pairs,).
        iou: IoU of the two, float64 (pairs,).
    """

    frame: np.ndarray
    annotated: np.ndarray
    predicted: np.ndarray
    iou: np.ndarray

    def true_positives(self, frames: int, thresholds: Sequence[float]) -> np.ndarray:
        """Count the matches with an IoU above each threshold, int32 (frames, thresholds).

        Args:
            frames: number of frames.
            thresholds: IoU; a match is a true positive when its IoU is greater.
        """
        counts = [np.bincount(self.frame[self.iou > value], minlength=frames) for value in thresholds]
        return np.stack(counts, axis=1).astype(np.int32)


def match_lanes(
    annotated: FrameLanes,
    predicted: FrameLanes,
    *,
    frame_size: tuple[int, int] = CULANE_FRAME,
    lane_width: int = LANE_WIDTH,
) -> Matches:
    """Match the lanes of each frame one to one.

    Args:
        annotated: annotated lanes of the frames.
        predicted: predicted lanes of the same frames.
        frame_size: (H, W), pixels.
        lane_width: width at which lanes are compared, frame pixels.
    """
    pairs = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, int), np.zeros(0))]
    ious = lane_ious(annotated, predicted, frame_size=frame_size, lane_width=lane_width)
    for frame, iou in enumerate(ious):
        partner = match(iou)
        lanes = np.flatnonzero(partner >= 0)
        others = partner[lanes]
        pairs.append((np.full(len(lanes), frame), lanes, others, iou[lanes, others]))
    return Matches(*map(np.concatenate, zip(*pairs, strict=True)))


def true_positives(
    annotated: FrameLanes,
    predicted: FrameLanes,
    *,
    thresholds: Sequence[float] = (0.5,),
    frame_size: tuple[int, int] = CULANE_FRAME,
    lane_width: int = LANE_WIDTH,
) -> np.ndarray:
    """Count the matches with an IoU above each threshold, int32 (frames, thresholds).

    Args:
        annotated: annotated lanes of the frames.
        predicted: predicted lanes of the same frames.
        thresholds: IoU; a match is a true positive when its IoU is greater.
        frame_size: (H, W), pixels.
        lane_width: width at which lanes are compared, frame pixels.
    """
    matches = match_lanes(annotated, predicted, frame_size=frame_size, lane_width=lane_width)
    return matches.true_positives(len(annotated.counts), thresholds)


def lane_ious(
    annotated: FrameLanes,
    predicted: FrameLanes,
    *,
    frame_size: tuple[int, int] = CULANE_FRAME,
    lane_width: int = LANE_WIDTH,
) -> list[np.ndarray]:
    """Compute the IoU of every annotated lane with every predicted one, each drawn as a thick line.

    Args:
        annotated: annotated lanes of the frames.
        predicted: predicted lanes of the same frames.
        frame_size: (H, W), pixels; lanes count within the frame only.
        lane_width: thickness of the lines, frame pixels.

    Returns:
        For each frame float64 (annotated lanes, predicted lanes). 0 where a lane has fewer than 2 points or
        no spline; NaN where neither enters the frame.
    """
    sides = [_draw(side, frame_size, lane_width) for side in (annotated, predicted)]
    return [_frame_ious(*sides, frame=frame) for frame in range(len(annotated.counts))]


class _DrawnLanes(NamedTuple):
    """Lanes of some frames, drawn as thick lines.

    Attributes:
        spans: masks of the lanes.
        area: pixels of each lane, float64 (lanes,).
        drawn: lanes that can be drawn, bool (lanes,).
        lanes: first lane of each frame and the total, int64 (frames + 1,).
        layers: first layer of the masks of each frame and the total, int64 (frames + 1,).
    """

    spans: Spans
    area: np.ndarray
    drawn: np.ndarray
    lanes: np.ndarray
    layers: np.ndarray


def _draw(side: FrameLanes, frame_size: tuple[int, int], lane_width: int) -> _DrawnLanes:
    spans = lane_spans(side.paths, frame_size, lane_width=lane_width)
    lanes = np.concatenate([[0], np.cumsum(side.counts)])
    area = np.bincount(spans.lane, np.maximum(spans.stop - spans.start, 0).sum(axis=1), lanes[-1])
    layers = np.searchsorted(spans.lane, lanes)
    return _DrawnLanes(spans, area, np.diff(side.paths.offsets) > 0, lanes, layers)


def _frame_ious(annotated: _DrawnLanes, predicted: _DrawnLanes, *, frame: int) -> np.ndarray:
    """Return the IoUs of the lanes of one frame, float64 (annotated lanes, predicted lanes)."""
    rows, columns = (slice(*side.layers[frame : frame + 2]) for side in (annotated, predicted))
    start = np.maximum(annotated.spans.start[rows, None], predicted.spans.start[None, columns])
    stop = np.minimum(annotated.spans.stop[rows, None], predicted.spans.stop[None, columns])
    shared_by_layers = np.maximum(stop - start, 0).sum(axis=2)
    lanes, others = (slice(*side.lanes[frame : frame + 2]) for side in (annotated, predicted))
    shared = np.zeros((lanes.stop - lanes.start, others.stop - others.start))
    lane = annotated.spans.lane[rows] - lanes.start
    other = predicted.spans.lane[columns] - others.start
    np.add.at(shared, np.ix_(lane, other), shared_by_layers)
    with np.errstate(invalid="ignore"):
        iou = shared / (annotated.area[lanes, None] + predicted.area[others] - shared)
    iou[~(annotated.drawn[lanes, None] & predicted.drawn[others])] = 0
    return iou


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
