"""Sampling of the annotated lanes of many frames on label rows, as CULane's label tool does it.

A lane is cleaned of near-repeated points, resampled to 35 points by its spline, and sampled on the rows.
"""

from dataclasses import dataclass

import numpy as np

from lgad_pipeline.lanes.polyfit import evaluate_polynomials, fit_polynomials
from lgad_pipeline.lanes.spline import Ragged, sample_steps

RESAMPLED_POINTS = 35
"""Number of points that a lane is resampled to."""

_TOLERANCE = 1.0  # px by which a lane may end before a label row
_LEFTMOST = -500.0  # px; a lane ends at the first row on which its x is not greater


@dataclass(frozen=True)
class RowLanes:
    """Lanes sampled on label rows.

    Attributes:
        xs: x of each lane on the rows, float64 (L, R), pixels; NaN outside rows begin .. end - 1.
        begin: index of the first (lowest) valid row of each lane, int (L,).
        end: index behind the last valid row of each lane, int (L,).
    """

    xs: np.ndarray
    begin: np.ndarray
    end: np.ndarray


@dataclass(frozen=True)
class ResampledLanes:
    """Lanes of many frames, resampled to 35 points each.

    Attributes:
        frame: index of the frame of each lane, int (L,), ascending.
        points: float32 (L, 35, 2) as (x, y), pixels of the rules' frame size, bottom first.
        dense: samples of the splines through `points`, about one for each pixel of length.
    """

    frame: np.ndarray
    points: np.ndarray
    dense: Ragged


def clean_lanes(lanes: Ragged, frame: np.ndarray) -> tuple[Ragged, np.ndarray]:
    """Drop near-repeated points, sort points bottom first, and drop lanes of fewer than two points.

    Args:
        lanes: lanes of all frames.
        frame: index of the frame of each lane, int (lanes,).

    Returns:
        The remaining lanes, and the index of the frame of each.
    """
    lane = lanes.lane
    repeats = _repeats(np.diff(lanes.points, axis=0)) & (lane[1:] == lane[:-1])
    kept = np.ones(len(lane), bool)
    for i in np.unique(lane[1:][repeats]).tolist():
        own = slice(lanes.offsets[i], lanes.offsets[i + 1])
        kept[own] = _without_repeats(lanes.points[own])
    counts = np.bincount(lane[kept], minlength=len(frame))
    kept &= (counts >= 2)[lane]
    points = lanes.points[kept]
    points = points[np.lexsort((-points[:, 1], lane[kept]))]  # stable: points of equal y keep their order
    offsets = np.concatenate([[0], np.cumsum(counts[counts >= 2])])
    return Ragged(points, offsets), frame[counts >= 2]


def _without_repeats(lane: np.ndarray) -> np.ndarray:
    """Flag the points of a lane to keep: those not near the last point kept.

    Args:
        lane: float32 (N, 2), N > 0.

    Returns:
        bool (N,).
    """
    kept = np.zeros(len(lane), bool)
    last = 0
    kept[last] = True
    for i in range(1, len(lane)):
        if not _repeats(lane[i] - lane[last]):
            last = i
            kept[last] = True
    return kept


def _repeats(delta: np.ndarray) -> np.ndarray:
    """Flag steps that are shorter than 2 px or change y by less than 1 px.

    Args:
        delta: differences of points, float32 (..., 2); the arithmetic is single precision, as the tool's is.

    Returns:
        bool (...).
    """
    square = delta * delta
    return (np.sqrt(square[..., 0] + square[..., 1]) < 2) | (np.abs(delta[..., 1]) < 1)


def resample(lanes: Ragged, frame: np.ndarray) -> ResampledLanes:
    """Resample lanes to 35 points; lanes too short for that are dropped.

    Args:
        lanes: lanes of at least two points, bottom first.
        frame: index of the frame of each lane, int (lanes,).
    """
    count = RESAMPLED_POINTS
    samples = sample_steps(lanes)
    sizes = np.diff(samples.offsets)
    long = np.flatnonzero(sizes >= count)
    step = (sizes[long] - 1.0) / (count - 1.0)
    chosen = samples.offsets[long, None] + (np.arange(count) * step[:, None]).astype(np.int64)
    points = samples.points[chosen]
    dense = sample_steps(Ragged(points.reshape(-1, 2), count * np.arange(len(long) + 1)))
    return ResampledLanes(frame[long], points, dense)


def sample_rows(lanes: ResampledLanes, rows: np.ndarray, *, with_end: bool = False) -> RowLanes:
    """Sample lanes on label rows.

    Args:
        lanes: resampled lanes.
        rows: y of the label rows, float64 (R,), evenly spaced, bottom first.
        with_end: a row at an end of a lane belongs to it, within rounding. CULane's label tool leaves out the
            row at the upper end.
    """
    count, dense = len(rows), lanes.dense
    bottom, top = (
        dense.points[index, 1].astype(np.float64) for index in (dense.offsets[:-1], dense.offsets[1:] - 1)
    )
    begin = _first(bottom[:, None] >= rows - _TOLERANCE)
    sampled = np.arange(count) >= begin[:, None]
    reached = _first(sampled & (top[:, None] > rows + (_TOLERANCE if with_end else -_TOLERANCE)))
    sampled &= np.arange(count) < reached[:, None]
    xs = _nearest(dense, rows, sampled)
    end = np.minimum(_first(xs <= _LEFTMOST), reached)
    xs[np.arange(count) >= end[:, None]] = np.nan
    # A lane that begins between two rows is extended to the lower row by its cubic fit.
    inside = (begin > 0) & (begin < count)
    above = bottom - rows[np.minimum(begin, count - 1)]
    between = np.flatnonzero(inside & (above > (_TOLERANCE if with_end else 0)))
    begin[between] -= 1
    cubics = fit_polynomials(lanes.points[between, :, 1], lanes.points[between, :, 0], degree=3)
    xs[between, begin[between]] = evaluate_polynomials(cubics, rows[begin[between]])
    return RowLanes(xs, begin, end)


def _first(flags: np.ndarray) -> np.ndarray:
    """Return the index of the first true flag of each row, or the row length where there is none."""
    return np.where(flags.any(axis=1), flags.argmax(axis=1), flags.shape[1])


def _nearest(samples: Ragged, rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Take x of the sample nearest in y to each label row; of equally near samples the first counts.

    Args:
        samples: dense samples of the lanes.
        rows: y of the label rows, float64 (R,), evenly spaced, bottom first.
        wanted: rows to sample for each lane, bool (lanes, R).

    Returns:
        float64 (lanes, R), NaN where not wanted.
    """
    xs = np.full(wanted.shape, np.nan)
    y, lane, last = samples.points[:, 1].astype(np.float64), samples.lane, samples.offsets[1:] - 1
    climbing = (y[1:] < y[:-1]) | (lane[1:] != lane[:-1])
    steady = np.bincount(lane[1:][~climbing], minlength=len(last)) == 0
    # In a lane whose y only falls, the samples below a label row come first. Counting them gives the two
    # samples around the row without a search. Other lanes are searched one by one below.
    step = rows[0] - rows[1]
    passed = np.clip(np.floor((rows[0] - y) / step) + 1, 0, len(rows)).astype(np.int64)
    shape = (len(last), len(rows) + 1)
    table = np.bincount(lane * shape[1] + passed, minlength=shape[0] * shape[1])
    below = table.reshape(shape).cumsum(axis=1)[:, :-1]
    lanes, row = np.nonzero(wanted & steady[:, None])
    after = samples.offsets[lanes] + below[lanes, row]
    before, after = np.maximum(after - 1, samples.offsets[lanes]), np.minimum(after, last[lanes])
    nearer = np.abs(y[before] - rows[row]) <= np.abs(y[after] - rows[row])
    xs[lanes, row] = samples.points[np.where(nearer, before, after), 0]
    for i in np.flatnonzero(~steady):
        own = slice(samples.offsets[i], samples.offsets[i + 1])
        distance = np.abs(y[own] - rows[wanted[i], None])
        xs[i, wanted[i]] = samples.points[own, 0][distance.argmin(axis=1)]
    return xs
