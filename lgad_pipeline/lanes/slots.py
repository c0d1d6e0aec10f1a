"""Assignment of annotated lanes to lane slots, by the rules of CULane's label tool.

The tool is seg_label_generate. Its rules, constants and arithmetic are defined for frames of 1640 x 590 px.
Lanes of frames of another size are scaled to that size first, and the resulting points are scaled back. Slots
are decided on CULane's 35 label rows. A data set whose lanes are annotated higher up may be labelled on more
rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.config.slots import CULANE, SlotScheme
from lgad_pipeline.lanes.polyfit import evaluate_polynomials, fit_polynomials, sequential_sum
from lgad_pipeline.lanes.row_sampling import ResampledLanes, RowLanes, clean_lanes, resample, sample_rows
from lgad_pipeline.lanes.spline import Ragged, ragged

RULE_SIZE = CULANE_FRAME
"""Frame size (H, W) that the rules are defined for, pixels."""
ROWS = RULE_SIZE[0] - 10.0 * np.arange(35)
"""CULane's 35 label rows y = 590, 580, ..., 250, float64, frame pixels, bottom first."""

_DOUBLE_LINE = 120.0  # px; neighbours with a smaller mean distance are one lane painted twice
_APART = 300.0  # px; assumed distance of lanes that share no row


@dataclass(frozen=True)
class SlotLanes:
    """Lanes of a frame by slot, from left to right; for four slots: far left, left, right, far right.

    Attributes:
        rows: y of the label rows, float64 (R,), frame pixels, bottom first; CULane has 35.
        xs: x of each slot's lane on the label rows, float64 (slots, R), frame pixels; NaN outside its valid
            range.
        existence: existence flags, bool (slots,); true where the lane is valid on two rows or more, and so
            is drawn.
    """

    rows: np.ndarray
    xs: np.ndarray
    existence: np.ndarray

    def points(self, slot: int) -> np.ndarray:
        """Return the valid points of one slot's lane.

        Args:
            slot: index of the slot, from 0.

        Returns:
            float32 (N, 2) as (x, y), frame pixels, bottom first.
        """
        valid = ~np.isnan(self.xs[slot])
        return np.stack([self.xs[slot][valid], self.rows[valid]], axis=1).astype(np.float32)


def assign_slots(
    lanes: Sequence[np.ndarray], frame_size: tuple[int, int] = RULE_SIZE, *, scheme: SlotScheme = CULANE
) -> SlotLanes:
    """Assign the annotated lanes of one frame to slots; see `assign_frames`.

    Args:
        lanes: float32 (N, 2) each as (x, y), frame pixels, in any order and direction.
        frame_size: size of the frame (H, W), pixels.
        scheme: number of slots and label rows.
    """
    return assign_frames([lanes], frame_size, scheme=scheme)[0]


def assign_frames(
    frames: Sequence[Sequence[np.ndarray]],
    frame_size: tuple[int, int] = RULE_SIZE,
    *,
    scheme: SlotScheme = CULANE,
) -> list[SlotLanes]:
    """Assign the annotated lanes of frames to slots and sample them on the label rows.

    Follows seg_label_generate (XingangPan): drop repeated points, resample each lane to 35 spline points,
    sort the lanes from left to right, keep one lane of each double line, assign slots by slope and position.

    Args:
        frames: lanes of each frame, float32 (N, 2) each as (x, y), frame pixels, in any order and direction.
        frame_size: size of all frames (H, W), pixels.
        scheme: number of slots and label rows. The rules are the same for any number of slots: the two
            slots in the middle are the borders of the car's own lane.

    Returns:
        Lanes by slot, one entry a frame, in frame pixels.
    """
    return assign_frames_with_sources(frames, frame_size, scheme=scheme)[0]


def assign_frames_with_sources(
    frames: Sequence[Sequence[np.ndarray]],
    frame_size: tuple[int, int] = RULE_SIZE,
    *,
    scheme: SlotScheme = CULANE,
) -> tuple[list[SlotLanes], np.ndarray]:
    """Assign lanes to slots as `assign_frames`, and return which annotated lane each slot holds.

    Args:
        frames: as for `assign_frames`.
        frame_size: size of all frames (H, W), pixels.
        scheme: number of slots and label rows.

    Returns:
        Lanes by slot, one entry a frame; and the index of the annotated lane in each slot, int64 (frames,
        slots), -1 for an empty slot.
    """
    rows = RULE_SIZE[0] - RULE_SIZE[0] / scheme.divisions * np.arange(scheme.rows)
    scale = np.array([RULE_SIZE[1] / frame_size[1], RULE_SIZE[0] / frame_size[0]])
    lanes = ragged([lane for frame in frames for lane in frame])
    if frame_size != RULE_SIZE:
        lanes = Ragged((lanes.points * scale).astype(np.float32), lanes.offsets)
    xs = np.full((len(frames), scheme.slots, scheme.rows), np.nan)
    existence = np.zeros((len(frames), scheme.slots), bool)
    sources = np.full((len(frames), scheme.slots), -1)
    counts = np.array([len(frame) for frame in frames], np.int64)
    resampled = resample(*clean_lanes(lanes, np.arange(counts.sum())))
    source = resampled.frame  # index among the lanes of all frames
    resampled = replace(resampled, frame=np.repeat(np.arange(len(frames)), counts)[source])
    on_rows = sample_rows(resampled, ROWS)
    lane, slot = _in_slots(resampled, on_rows, scheme.slots)
    if (scheme.rows, scheme.divisions) != (CULANE.rows, CULANE.divisions):
        on_rows = sample_rows(resampled, rows, with_end=scheme.divisions != CULANE.divisions)
    frame = resampled.frame[lane]
    xs[frame, slot] = on_rows.xs[lane] / scale[0]
    existence[frame, slot] = (on_rows.end - on_rows.begin)[lane] >= 2
    sources[frame, slot] = source[lane] - (counts.cumsum() - counts)[frame]
    return [SlotLanes(rows / scale[1], *both) for both in zip(xs, existence, strict=True)], sources


def _in_slots(lanes: ResampledLanes, on_rows: RowLanes, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose the lanes that get a slot.

    Args:
        lanes: resampled lanes.
        on_rows: the same lanes on CULane's 35 label rows.
        count: number of slots.

    Returns:
        Indices of the chosen lanes and their slots (from 0), int64 (K,) each.
    """
    lines = fit_polynomials(lanes.points[..., 1], lanes.points[..., 0], degree=1)
    # x at which the least-squares line of each lane meets the frame's bottom row
    bottom_x = evaluate_polynomials(lines, np.full(len(lines), float(RULE_SIZE[0]))).tolist()
    bounds = np.flatnonzero(np.diff(lanes.frame, prepend=-1, append=-1)).tolist()
    order = [
        lane
        for begin, end in pairwise(bounds)
        for lane in sorted(range(begin, end), key=bottom_x.__getitem__)
    ]
    doubled = _doubled(on_rows, np.array(order, np.int64))
    with np.errstate(divide="ignore", invalid="ignore"):
        rise = lanes.points[:, 0] - lanes.points[:, -1]
        leans_right = (rise[:, 1] / rise[:, 0] < 0).tolist()
        step = lanes.points[:, 1] - lanes.points[:, 0]
        slope = (step[:, 0] / step[:, 1]).tolist()
    chosen, slots = [], []
    for begin, end in pairwise(bounds):
        kept = _drop_doubles(order[begin:end], doubled[begin : end - 1], leans_right)
        split = _count_left([slope[lane] for lane in kept], [bottom_x[lane] for lane in kept])
        for n, lane in enumerate(kept):
            if 0 <= n - split + count // 2 < count:
                chosen.append(lane)
                slots.append(n - split + count // 2)
    return np.array(chosen, np.int64), np.array(slots, np.int64)


def _doubled(lanes: RowLanes, order: np.ndarray) -> list[bool]:
    """Flag each lane that forms a double line with its right neighbour: their mean distance is small.

    Args:
        lanes: lanes on CULane's label rows.
        order: indices of the lanes from left to right, frame by frame, int64 (L,).

    Returns:
        L - 1 flags, one for each lane in order but the last.
    """
    left, right = order[:-1], order[1:]
    begin = np.maximum(lanes.begin[left], lanes.begin[right])
    shared = np.minimum(lanes.end[left], lanes.end[right]) - begin
    row = np.arange(len(ROWS)) - begin[:, None]
    inside = (row >= 0) & (row < shared[:, None])
    total = sequential_sum(np.where(inside, lanes.xs[right] - lanes.xs[left], 0.0))
    return (np.where(shared > 0, total / np.maximum(shared, 1), _APART) < _DOUBLE_LINE).tolist()


def _drop_doubles(lanes: list[int], doubled: list[bool], leans_right: list[bool]) -> list[int]:
    """Drop one lane of each double line: the lane that leans towards the other one upwards.

    Args:
        lanes: indices of a frame's lanes from left to right.
        doubled: for each of them but the last, the flag of `_doubled`.
        leans_right: for each lane of all frames, true if its x grows upwards.
    """
    kept = list(lanes)
    dropped = 0
    for n, double in enumerate(doubled):
        if double:
            left = n - dropped
            del kept[left if leans_right[kept[left]] else left + 1]
            dropped += 1
    return kept


def _count_left(slope: list[float], bottom_x: list[float]) -> int:
    """Count a frame's lanes that are to the left of the car.

    Args:
        slope: dx / dy of the lanes at their lower ends, from left to right.
        bottom_x: x of the lanes at the frame's bottom row, pixels.
    """
    if len(slope) == 2:
        return 1
    for n in range(1, len(slope)):
        if slope[n - 1] <= 0 and slope[n] > 0:
            return n
    for n, x in enumerate(bottom_x):
        if x > RULE_SIZE[1] * 0.5:
            return n
    return len(slope)
