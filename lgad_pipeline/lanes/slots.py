"""From annotated lanes to the four lane slots, as CULane's label tool (seg_label_generate) assigns them.

The rules, their constants and their arithmetic belong to frames of 1640 x 590 px. Frames of another size are
stretched to that size first, and the resulting rows stretched back. Which lane gets which slot is decided on
CULane's 35 rows; a data set whose lanes are annotated higher up may have them labelled on more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lgad_pipeline.lanes.polyfit import evaluate_polynomials, fit_polynomials, sequential_sum
from lgad_pipeline.lanes.spline import Ragged, ragged, sample_steps

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
        rows: float64 (R,) y of the label rows, frame px, bottom first; CULane has 35.
        xs: float64 (4, R) x of each slot's lane on the rows, frame px; NaN outside its valid range.
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
class _RowLanes:
    """The x of many lanes on label rows.

    Attributes:
        xs: float64 (L, R), NaN outside rows begin .. end - 1.
        begin, end: int (L,).
    """

    xs: np.ndarray
    begin: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class _Resampled:
    """Lanes of many frames, resampled to 35 points.

    Attributes:
        frame: int (L,) ascending: the frame that a lane belongs to.
        points: float32 (L, 35, 2).
        dense: the splines through them.
    """

    frame: np.ndarray
    points: np.ndarray
    dense: Ragged


def assign_slots(
    lanes: Sequence[np.ndarray], frame_size: tuple[int, int] = RULE_SIZE, row_count: int = len(ROWS)
) -> SlotLanes:
    """`assign_frames` for one frame."""
    return assign_frames([lanes], frame_size, row_count)[0]


def assign_frames(
    frames: Sequence[Sequence[np.ndarray]],
    frame_size: tuple[int, int] = RULE_SIZE,
    row_count: int = len(ROWS),
) -> list[SlotLanes]:
    """Assign the annotated lanes of frames to slots and sample them on the label rows.

    Follows seg_label_generate (XingangPan): repeated points dropped, 35 spline points a lane, lanes ordered
    from left to right, double lines thinned out, slots by slope and position.

    Args:
        frames: the lanes of each frame, float32 (N, 2) each, frame pixels, in any order and direction.
        frame_size: (H, W) of the frames, pixels.
        row_count: label rows from the bottom up, every 10 px of a frame 590 px high.
    """
    rows = RULE_SIZE[0] - 10.0 * np.arange(row_count)
    scale = np.array([RULE_SIZE[1] / frame_size[1], RULE_SIZE[0] / frame_size[0]])
    lanes = ragged([lane for frame in frames for lane in frame])
    if frame_size != RULE_SIZE:
        lanes = Ragged((lanes.points * scale).astype(np.float32), lanes.offsets)
    xs = np.full((len(frames), SLOTS, row_count), np.nan)
    existence = np.zeros((len(frames), SLOTS), bool)
    resampled = _resample(*_clean(lanes, np.repeat(np.arange(len(frames)), [len(frame) for frame in frames])))
    on_rows = _on_rows(resampled, ROWS)
    lane, slot = _in_slots(resampled, on_rows)
    if row_count != len(ROWS):
        on_rows = _on_rows(resampled, rows)
    xs[resampled.frame[lane], slot] = on_rows.xs[lane] / scale[0]
    existence[resampled.frame[lane], slot] = (on_rows.end - on_rows.begin)[lane] >= 2
    return [SlotLanes(rows / scale[1], *both) for both in zip(xs, existence, strict=True)]


def _clean(lanes: Ragged, frame: np.ndarray) -> tuple[Ragged, np.ndarray]:
    """Lanes without near-repeated points, bottom first; those of one point or none are dropped."""
    lane = lanes.lane
    repeats = _repeats(np.diff(lanes.points, axis=0)) & (lane[1:] == lane[:-1])
    kept = np.ones(len(lane), bool)
    for i in np.unique(lane[1:][repeats]).tolist():
        here = slice(lanes.offsets[i], lanes.offsets[i + 1])
        kept[here] = _without_repeats(lanes.points[here])
    counts = np.bincount(lane[kept], minlength=len(frame))
    kept &= (counts >= 2)[lane]
    points = lanes.points[kept]
    points = points[np.lexsort((-points[:, 1], lane[kept]))]  # equal heights keep their order
    offsets = np.concatenate([[0], np.cumsum(counts[counts >= 2])])
    return Ragged(points, offsets), frame[counts >= 2]


def _without_repeats(lane: np.ndarray) -> np.ndarray:
    """Which points of a lane are kept, bool (N,)."""
    kept = np.zeros(len(lane), bool)
    last = 0
    kept[last] = True
    for i in range(1, len(lane)):
        if not _repeats(lane[i] - lane[last]):
            last = i
            kept[last] = True
    return kept


def _repeats(delta: np.ndarray) -> np.ndarray:
    """True for steps (..., 2) that are shorter than 2 px or climb less than 1 px, in single precision."""
    square = delta * delta
    return (np.sqrt(square[..., 0] + square[..., 1]) < 2) | (np.abs(delta[..., 1]) < 1)


def _resample(lanes: Ragged, frame: np.ndarray) -> _Resampled:
    """Lanes long enough for 35 samples, resampled to them."""
    count = len(ROWS)
    samples = sample_steps(lanes)
    sizes = np.diff(samples.offsets)
    long = np.flatnonzero(sizes >= count)
    step = (sizes[long] - 1.0) / (count - 1.0)
    chosen = samples.offsets[long, None] + (np.arange(count) * step[:, None]).astype(np.int64)
    points = samples.points[chosen]
    dense = sample_steps(Ragged(points.reshape(-1, 2), count * np.arange(len(long) + 1)))
    return _Resampled(frame[long], points, dense)


def _on_rows(lanes: _Resampled, rows: np.ndarray) -> _RowLanes:
    """Lanes sampled on label rows, bottom first."""
    count, dense = len(rows), lanes.dense
    bottom, top = (
        dense.points[at, 1].astype(np.float64) for at in (dense.offsets[:-1], dense.offsets[1:] - 1)
    )
    begin = _first(bottom[:, None] >= rows - _TOLERANCE)
    sampled = np.arange(count) >= begin[:, None]
    reached = _first(sampled & (top[:, None] > rows - _TOLERANCE))
    sampled &= np.arange(count) < reached[:, None]
    xs = _nearest(dense, rows, sampled)
    end = np.minimum(_first(xs <= _LEFTMOST), reached)
    xs[np.arange(count) >= end[:, None]] = np.nan
    # A lane that begins between two rows: its cubic fit reaches down to the lower one.
    inside = (begin > 0) & (begin < count)
    between = np.flatnonzero(inside & (bottom > rows[np.minimum(begin, count - 1)]))
    begin[between] -= 1
    cubics = fit_polynomials(lanes.points[between, :, 1], lanes.points[between, :, 0], 3)
    xs[between, begin[between]] = evaluate_polynomials(cubics, rows[begin[between]])
    return _RowLanes(xs, begin, end)


def _first(flags: np.ndarray) -> np.ndarray:
    """Index of the first true one in each row, or the rows' length."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1])


def _nearest(samples: Ragged, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The x of each lane's first sample nearest in y to the label rows wanted, bool (lanes, R)."""
    xs = np.full(wanted.shape, np.nan)
    y, lane, last = samples.points[:, 1].astype(np.float64), samples.lane, samples.offsets[1:] - 1
    climbing = (y[1:] < y[:-1]) | (lane[1:] != lane[:-1])
    steady = np.bincount(lane[1:][~climbing], minlength=len(last)) == 0
    # The samples of a lane that only climbs are passed in order: those above a row's y come first.
    passed = np.clip(np.floor((rows[0] - y) / 10) + 1, 0, len(rows)).astype(np.int64)
    places = (len(last), len(rows) + 1)
    table = np.bincount(lane * places[1] + passed, minlength=places[0] * places[1])
    above = table.reshape(places).cumsum(axis=1)[:, :-1]
    lanes, row = np.nonzero(wanted & steady[:, None])
    after = samples.offsets[lanes] + above[lanes, row]
    before, after = np.maximum(after - 1, samples.offsets[lanes]), np.minimum(after, last[lanes])
    nearer = np.abs(y[before] - rows[row]) <= np.abs(y[after] - rows[row])
    xs[lanes, row] = samples.points[np.where(nearer, before, after), 0]
    for i in np.flatnonzero(~steady):
        here = slice(samples.offsets[i], samples.offsets[i + 1])
        distance = np.abs(y[here] - rows[wanted[i], None])
        xs[i, wanted[i]] = samples.points[here, 0][distance.argmin(axis=1)]
    return xs


def _in_slots(lanes: _Resampled, on_rows: _RowLanes) -> tuple[np.ndarray, np.ndarray]:
    """The lanes (index) that have a slot, and their slots; `on_rows` are CULane's 35."""
    lines = fit_polynomials(lanes.points[..., 1], lanes.points[..., 0], 1)
    # x of the least-squares lines at the frame's bottom
    crossing = evaluate_polynomials(lines, np.full(len(lines), float(RULE_SIZE[0]))).tolist()
    bounds = np.flatnonzero(np.diff(lanes.frame, prepend=-1, append=-1)).tolist()
    order = [
        lane
        for begin, end in pairwise(bounds)
        for lane in sorted(range(begin, end), key=crossing.__getitem__)
    ]
    doubled = _doubled(on_rows, np.array(order, np.int64))
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = lanes.points[:, 0] - lanes.points[:, -1]
        leans_right = (rise[:, 1] / rise[:, 0] < 0).tolist()
        step = lanes.points[:, 1] - lanes.points[:, 0]
        slope = (step[:, 0] / step[:, 1]).tolist()
    chosen, slots = [], []
    for begin, end in pairwise(bounds):
        left_over = _thin_out(order[begin:end], doubled[begin : end - 1], leans_right)
        split = _split([slope[lane] for lane in left_over], [crossing[lane] for lane in left_over])
        for n, lane in enumerate(left_over):
            if 0 <= n - split + 2 < SLOTS:
                chosen.append(lane)
                slots.append(n - split + 2)
    return np.array(chosen, np.int64), np.array(slots, np.int64)


def _doubled(lanes: _RowLanes, order: np.ndarray) -> list[bool]:
    """For each lane in order but the last: it and its right neighbour are one line painted twice."""
    left, right = order[:-1], order[1:]
    begin = np.maximum(lanes.begin[left], lanes.begin[right])
    shared = np.minimum(lanes.end[left], lanes.end[right]) - begin
    row = np.arange(len(ROWS)) - begin[:, None]
    inside = (row >= 0) & (row < shared[:, None])
    total = sequential_sum(np.where(inside, lanes.xs[right] - lanes.xs[left], 0.0))
    return (np.where(shared > 0, total / np.maximum(shared, 1), _APART) < _DOUBLE_LINE).tolist()


def _thin_out(lanes: list[int], doubled: list[bool], leans_right: list[bool]) -> list[int]:
    """Drop one lane of each double line: the one that leans towards the other as it goes up."""
    left_over = list(lanes)
    dropped = 0
    for n, double in enumerate(doubled):
        if double:
            left = n - dropped
            del left_over[left if leans_right[left_over[left]] else left + 1]
            dropped += 1
    return left_over


def _split(slope: list[float], crossing: list[float]) -> int:
    """How many of a frame's lanes, from left to right, lie to the left of the car."""
    if len(slope) == 2:
        return 1
    for n in range(1, len(slope)):
        if slope[n - 1] <= 0 and slope[n] > 0:
            return n
    for n, x in enumerate(crossing):
        if x > RULE_SIZE[1] * 0.5:
            return n
    return len(slope)
