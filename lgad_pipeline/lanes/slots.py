"""From annotated lanes to the four lane slots, as CULane's label tool (seg_label_generate) assigns them.

The rules, their constants and their arithmetic belong to frames of 1640 x 590 px. Frames of another size are
stretched to that size first, and the resulting rows stretched back.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lgad_pipeline.lanes.spline import ragged, sample_steps

SLOTS = 4
RULE_SIZE = (590, 1640)
"""(H, W) of the frames that the rules are made for."""
ROWS = RULE_SIZE[0] - 10.0 * np.arange(35)
"""The 35 label rows y = 590, 580, ..., 250, bottom first."""

_TOLERANCE = 1.0  # rows by which a lane may end short of a label row
_LEFTMOST = -500.0  # a lane that passes it has left the frame for good
_DOUBLE_LINE = 120.0  # px; nearer neighbours are one lane painted twice
_APART = 300.0  # px; the gap of lanes that share no row


@dataclass(frozen=True)
class SlotLanes:
    """The lanes of a frame by slot: far left, left, right, far right.

    Attributes:
        rows: float64 (35,) y of the label rows, frame px, bottom first.
        xs: float64 (4, 35) x of each slot's lane on the rows, frame px; NaN outside its valid range.
        existence: bool (4,): the lane is valid on two rows or more, and so is drawn.
    """

    rows: np.ndarray
    xs: np.ndarray
    existence: np.ndarray

    def points(self, slot: int) -> np.ndarray:
        """The slot's lane as float32 (N, 2) points, frame px, bottom first."""
        valid = ~np.isnan(self.xs[slot])
        return np.stack([self.xs[slot][valid], self.rows[valid]], axis=1).astype(np.float32)


@dataclass(frozen=True)
class _RowLane:
    """A lane brought to 35 points, and its x on the label rows."""

    points: np.ndarray  # float32 (35, 2)
    xs: np.ndarray  # float64 (35,), NaN outside rows begin .. end - 1
    begin: int
    end: int
    crossing: float  # x of its least-squares line at the frame's bottom


def assign_slots(lanes: Sequence[np.ndarray], frame_size: tuple[int, int] = RULE_SIZE) -> SlotLanes:
    """Assign the annotated lanes of a frame to slots and sample them on the label rows.

    Follows seg_label_generate (XingangPan): repeated points dropped, 35 spline points a lane, lanes ordered
    from left to right, double lines thinned out, slots by slope and position.

    Args:
        lanes: float32 (N, 2) each, frame pixels, in any order and direction.
        frame_size: (H, W) of the frame, pixels.
    """
    scale = np.array([RULE_SIZE[1] / frame_size[1], RULE_SIZE[0] / frame_size[0]])
    if frame_size != RULE_SIZE:
        lanes = [(lane * scale).astype(np.float32) for lane in lanes]
    xs = np.full((SLOTS, len(ROWS)), np.nan)
    existence = np.zeros(SLOTS, bool)
    found = _thin_out(_row_lanes(_clean(lanes)))
    for slot, lane in zip(_slots(found), found, strict=True):
        if slot is not None:
            xs[slot] = lane.xs / scale[0]
            existence[slot] = lane.end - lane.begin >= 2
    return SlotLanes(ROWS / scale[1], xs, existence)


def _clean(lanes: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Lanes without near-repeated points, bottom first; those of one point or none are dropped."""
    cleaned = []
    for lane in lanes:
        lane = _without_repeats(np.asarray(lane, np.float32))
        if len(lane) >= 2:
            cleaned.append(lane[np.argsort(-lane[:, 1], kind="stable")])
    return cleaned


def _without_repeats(lane: np.ndarray) -> np.ndarray:
    if not _repeats(np.diff(lane, axis=0)).any():
        return lane
    kept = [0]
    for i in range(1, len(lane)):
        if not _repeats(lane[i] - lane[kept[-1]]):
            kept.append(i)
    return lane[kept]


def _repeats(delta: np.ndarray) -> np.ndarray:
    """Whether steps (..., 2) are shorter than 2 px or climb less than 1 px, in single precision."""
    square = delta * delta
    return (np.sqrt(square[..., 0] + square[..., 1]) < 2) | (np.abs(delta[..., 1]) < 1)


def _row_lanes(lanes: list[np.ndarray]) -> list[_RowLane]:
    """Lanes long enough for 35 samples, from left to right, on the label rows."""
    count = len(ROWS)
    brought = []
    for samples in sample_steps(ragged(lanes)):
        if len(samples) >= count:
            step = (len(samples) - 1.0) / (count - 1.0)
            brought.append(samples[(np.arange(count) * step).astype(np.int64)])
    dense = sample_steps(ragged(brought))
    on_rows = [_on_rows(points, samples) for points, samples in zip(brought, dense, strict=True)]
    return sorted(on_rows, key=lambda lane: lane.crossing)


def _on_rows(points: np.ndarray, samples: np.ndarray) -> _RowLane:
    xs = np.full(len(ROWS), np.nan)
    bottom, top = float(samples[0, 1]), float(samples[-1, 1])
    begin = row = int(np.argmax(np.append(bottom >= ROWS - _TOLERANCE, True)))
    if 0 < row < len(ROWS) and bottom > ROWS[row]:
        # The lane begins between two rows: its cubic fit reaches down to the lower one.
        begin = row - 1
        xs[begin] = evaluate(fit_polynomial(points[:, 1], points[:, 0], 3), ROWS[begin])
    reached = int(np.argmax(np.append(ROWS[row:] - _TOLERANCE < top, True)))
    distance = np.abs(samples[:, 1].astype(np.float64) - ROWS[row : row + reached, None])
    nearest = samples[distance.argmin(axis=1), 0].astype(np.float64)
    gone = int(np.argmax(np.append(nearest <= _LEFTMOST, True)))
    end = row + gone
    xs[row:end] = nearest[:gone]
    crossing = evaluate(fit_polynomial(points[:, 1], points[:, 0], 1), float(RULE_SIZE[0]))
    return _RowLane(points, xs, begin, end, crossing)


def fit_polynomial(xs: np.ndarray, ys: np.ndarray, degree: int) -> list[float]:
    """Coefficients, constant first, of the least-squares polynomial y(x).

    By the normal equations and Gaussian elimination with partial pivoting, summed in order: badly
    conditioned, but then the label tool's rounding errors (which reach whole pixels) come out the same.
    """
    columns = [np.where(xs == 0, 0.0, 1.0)]
    for _ in range(degree):
        columns.append(columns[-1] * xs.astype(np.float64))
    products = [[_dot(left, right) for right in columns] for left in columns]
    return _solve(products, [_dot(column, ys.astype(np.float64)) for column in columns])


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    # add.accumulate sums from the first to the last; np.dot and np.sum do not.
    return float(np.add.accumulate(left * right)[-1])


def _solve(matrix: list[list[float]], right: list[float]) -> list[float]:
    size = len(right)
    for i in range(size - 1):
        pivot = max(range(i, size), key=lambda row: abs(matrix[row][i]))
        matrix[i], matrix[pivot] = matrix[pivot], matrix[i]
        right[i], right[pivot] = right[pivot], right[i]
        if matrix[i][i] == 0:
            continue
        for row in range(i + 1, size):
            factor = matrix[row][i] / matrix[i][i]
            matrix[row][i] = factor
            for column in range(i + 1, size):
                matrix[row][column] -= factor * matrix[i][column]
    for i in range(size):
        for j in range(i):
            right[i] += -matrix[i][j] * right[j]
    with np.errstate(divide="ignore", invalid="ignore"):
        for i in range(size - 1, -1, -1):
            diagonal = np.float64(matrix[i][i])
            value = right[i] / diagonal
            for j in range(i + 1, size):
                value += -matrix[i][j] * right[j] / diagonal
            right[i] = float(value)
    return right


def evaluate(coefficients: list[float], x: float) -> float:
    """The polynomial's value at `x`, which is not 0, summed from the constant up."""
    total, power = 0.0, 1.0
    for coefficient in coefficients:
        total += coefficient * power
        power *= x
    return total


def _thin_out(lanes: list[_RowLane]) -> list[_RowLane]:
    """Drop one lane of each double line: the one that leans towards the other as it goes up."""
    left_over = list(lanes)
    dropped = 0
    for n in range(1, len(lanes)):
        if _gap(lanes[n - 1], lanes[n]) < _DOUBLE_LINE:
            left = left_over[n - 1 - dropped].points
            rise = left[0] - left[-1]
            with np.errstate(divide="ignore", invalid="ignore"):
                leans_right = rise[1] / rise[0] < 0
            del left_over[n - 1 - dropped if leans_right else n - dropped]
            dropped += 1
    return left_over


def _gap(left: _RowLane, right: _RowLane) -> float:
    begin, end = max(left.begin, right.begin), min(left.end, right.end)
    if begin >= end:
        return _APART
    return _dot(np.ones(end - begin), right.xs[begin:end] - left.xs[begin:end]) / (end - begin)


def _slots(lanes: list[_RowLane]) -> list[int | None]:
    """The slot of each lane, in order from left to right; None: more lanes than slots on its side."""
    if len(lanes) == 2:
        return [1, 2]
    split = _split(lanes)
    slots = [n - split + 2 for n in range(len(lanes))]
    return [slot if 0 <= slot < SLOTS else None for slot in slots]


def _split(lanes: list[_RowLane]) -> int:
    """How many lanes lie to the left of the car."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = np.array([lane.points[1] - lane.points[0] for lane in lanes]).reshape(-1, 2)
        slope = rise[:, 0] / rise[:, 1]
    for n in range(1, len(lanes)):
        if slope[n - 1] <= 0 and slope[n] > 0:
            return n
    for n, lane in enumerate(lanes):
        if lane.crossing > RULE_SIZE[1] * 0.5:
            return n
    return len(lanes)
