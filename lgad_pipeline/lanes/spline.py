"""Natural cubic splines of CULane's two tools, for many lanes at once.

Input points and results are single precision. Intermediate values are double precision, except that
differences of coordinates are first computed in single precision. The order of operations is that of the
tools, so that results agree to the last bit. Many lanes are stored end to end in one array with offsets
(`Ragged`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

_BATCH = 1 << 16
"""Greatest number of points, padding included, that are solved at once; it limits the memory in use."""


@dataclass(frozen=True)
class Ragged:
    """Points of many lanes, stored end to end.

    Attributes:
        points: points of all lanes, float32 (M, 2) as (x, y), frame pixels.
        offsets: first point of each lane and the total, int64 (lanes + 1,); lane i is
            `points[offsets[i]:offsets[i + 1]]`.
    """

    points: np.ndarray
    offsets: np.ndarray

    @property
    def lane(self) -> np.ndarray:
        """Index of the lane that each point belongs to, int64 (M,)."""
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))

    def chosen(self, flags: np.ndarray) -> "Ragged":
        """Return the flagged lanes, in the same order; flags are bool (lanes,)."""
        counts = np.diff(self.offsets)
        offsets = np.concatenate([[0], np.cumsum(counts[flags])])
        return Ragged(self.points[np.repeat(flags, counts)], offsets)

    def __iter__(self) -> Iterator[np.ndarray]:
        for begin, end in zip(self.offsets[:-1], self.offsets[1:], strict=True):
            yield self.points[begin:end]


def ragged(lanes: Sequence[np.ndarray]) -> Ragged:
    """Store lanes end to end, in single precision.

    Args:
        lanes: points of each lane, (N, 2) as (x, y), frame pixels; N may be 0.
    """
    offsets = np.zeros(len(lanes) + 1, np.int64)
    np.cumsum([len(lane) for lane in lanes], out=offsets[1:])
    points = np.concatenate([np.zeros((0, 2), np.float32), *lanes], dtype=np.float32)
    return Ragged(points, offsets)


def without_spline(lanes: Ragged) -> np.ndarray:
    """Flag the lanes that have no spline: those of 3 points or more with two equal neighbouring points.

    The official tool divides by the distance of the two points. What it then draws depends on its OpenCV
    version and is not a lane.

    Args:
        lanes: lanes with any number of points.

    Returns:
        bool (lanes,).
    """
    lane = lanes.lane
    equal = (lanes.points[1:] == lanes.points[:-1]).all(axis=1) & (lane[1:] == lane[:-1])
    repeats = np.bincount(lane[1:][equal], minlength=len(lanes.offsets) - 1) > 0
    return repeats & (np.diff(lanes.offsets) >= 3)


def second_derivatives(points: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute chord lengths and second derivatives of natural splines parametrized by chord length.

    Args:
        points: float32 (B, N, 2) as (x, y), pixels; shorter lanes are padded at their ends with finite
            values.
        counts: number of points of each lane, int (B,), at least 3.

    Returns:
        Chord lengths h, float64 (B, N-1), and second derivatives, float64 (B, N, 2). Both are NaN throughout
        a lane with two equal neighbouring points.
    """
    # Lanes are on the last axis, so that the recurrences over points run for all lanes at once.
    delta = np.diff(points.transpose(1, 2, 0), axis=0).astype(np.float64)  # (N-1, 2, B)
    h = np.sqrt(delta[:, 0] * delta[:, 0] + delta[:, 1] * delta[:, 1])  # (N-1, B)
    moments = np.zeros((points.shape[1], 2, len(points)))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        slope = delta / h[:, None]
        right = 6 * (slope[1:] - slope[:-1])  # (N-2, 2, B)
        diagonal = 2 * (h[:-1] + h[1:])
        upper = h[1:].copy()
        upper[0] /= diagonal[0]
        right[0] /= diagonal[0]
        for i in range(1, len(upper)):
            pivot = diagonal[i] - h[i] * upper[i - 1]
            upper[i] /= pivot
            right[i] = (right[i] - h[i] * right[i - 1]) / pivot
        inner = np.arange(1, points.shape[1] - 1)[:, None] < counts - 1  # (N-2, B)
        for i in range(len(upper) - 1, -1, -1):
            moments[i + 1] = np.where(inner[i], right[i] - upper[i] * moments[i + 2], 0)
    return h.T, moments.transpose(2, 0, 1)


@dataclass(frozen=True)
class Segments:
    """Cubic segments of many splines: p(t) = a + b t + c t^2 + d t^3 for t in [0, h).

    Attributes:
        a, b, c, d: coefficients of x and of y, float64 (2, S).
        h: chord lengths, float64 (S,), pixels.
        lane: index of the lane of each segment, int64 (S,), ascending.
    """

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray
    h: np.ndarray
    lane: np.ndarray


def segments(lanes: Ragged) -> Segments:
    """Compute the cubic segments of the natural splines through lanes.

    Args:
        lanes: lanes of at least 3 points each.

    Returns:
        Segments in the order of the lanes and their points.
    """
    counts = np.diff(lanes.offsets)
    pieces = len(lanes.points) - len(counts)
    h = np.empty(pieces)
    m0, m1 = np.empty((pieces, 2)), np.empty((pieces, 2))
    first = lanes.offsets[:-1] - np.arange(len(counts))  # first segment of each lane
    for group in _groups(counts):
        columns = np.arange(counts[group].max())
        inside = np.minimum(columns, counts[group, None] - 1)
        group_h, moments = second_derivatives(
            lanes.points[lanes.offsets[group, None] + inside], counts[group]
        )
        valid = columns[:-1] < counts[group, None] - 1
        piece = (first[group, None] + columns[:-1])[valid]
        h[piece], m0[piece], m1[piece] = group_h[valid], moments[:, :-1][valid], moments[:, 1:][valid]
    lane = np.repeat(np.arange(len(counts)), counts - 1)
    begin = np.arange(pieces) + lane
    a = lanes.points[begin].T
    delta = (lanes.points[begin + 1].T - a).astype(np.float64)
    m0, m1 = m0.T.copy(), m1.T.copy()
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        b = delta / h - (2 * h * m0 + h * m1) / 6
        d = (m1 - m0) / (6 * h)
    return Segments(a.astype(np.float64), b, m0 / 2, d, h, lane)


def _groups(counts: np.ndarray) -> Iterator[np.ndarray]:
    """Yield indices of lanes of similar length, so that padding them to one length costs little.

    Args:
        counts: number of points of each lane, int (lanes,).
    """
    order = np.argsort(counts, kind="stable")
    begin = 0
    while begin < len(order):
        end = begin + 1
        while end < len(order) and (end + 1 - begin) * counts[order[end]] <= _BATCH:
            end += 1
        yield order[begin:end]
        begin = end


def sample_times(lanes: Ragged, times: int = 50) -> Ragged:
    """Sample each segment at t = k h / times, k = 0 .. times - 1, then the lane's last point.

    This is the sampling of CULane's evaluation tool.

    Args:
        lanes: lanes of at least 3 points each.
        times: number of samples a segment.

    Returns:
        float32 points, frame pixels, (N - 1) * times + 1 for a lane of N points.
    """
    pieces = segments(lanes)
    t = (pieces.h / times)[:, None] * np.arange(times)
    return _join(lanes, (np.diff(lanes.offsets) - 1) * times, pieces, np.arange(len(t)), t)


def drawn_paths(lanes: Ragged, doubled: np.ndarray) -> Ragged:
    """Return the points between which CULane's evaluation tool draws straight lines.

    Args:
        lanes: lanes with any number of points.
        doubled: lanes without a spline, as `without_spline` flags them, bool (lanes,).

    Returns:
        float32 points, frame pixels: a lane of 2 points as it is, one of more as `sample_times` samples it,
        none for a lane of fewer points or without a spline.
    """
    counts = np.where(doubled, 0, np.diff(lanes.offsets))
    curved, straight = counts >= 3, counts == 2
    sampled = sample_times(lanes.chosen(curved))
    sizes = np.where(straight, 2, 0)
    sizes[curved] = np.diff(sampled.offsets)
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    points = np.empty((offsets[-1], 2), np.float32)
    points[np.repeat(curved, sizes)] = sampled.points
    points[np.repeat(straight, sizes)] = lanes.chosen(straight).points
    return Ragged(points, offsets)


def sample_steps(lanes: Ragged) -> Ragged:
    """Sample each segment at t = 0, 1, 2, ... < h, then the lane's last point.

    This is the sampling of CULane's label tool.

    Args:
        lanes: lanes of at least 2 points each; a lane of 2 points first gets its midpoint inserted.

    Returns:
        float32 points, frame pixels, about one for each pixel of length.
    """
    lanes = _with_midpoints(lanes)
    pieces = segments(lanes)
    counts = np.ceil(np.nan_to_num(pieces.h)).astype(np.int64)
    segment = np.repeat(np.arange(len(counts)), counts)
    t = (np.arange(len(segment)) - (np.cumsum(counts) - counts)[segment]).astype(np.float64)
    samples = np.bincount(pieces.lane, counts, len(lanes.offsets) - 1).astype(np.int64)
    return _join(lanes, samples, pieces, segment, t[:, None])


def _join(lanes: Ragged, samples: np.ndarray, pieces: Segments, segment: np.ndarray, t: np.ndarray) -> Ragged:
    """Evaluate segments and append the last point of each lane.

    Args:
        lanes: lanes that the splines go through.
        samples: number of samples of each lane without its last point, int64 (lanes,).
        pieces: segments of the splines.
        segment: index of the segment of each row of `t`, int64 (P,).
        t: parameters in px of chord length, float64 (P, samples a row).

    Returns:
        float32 points, frame pixels, in the order of the lanes.
    """
    offsets = np.zeros(len(lanes.offsets), np.int64)
    np.cumsum(samples + 1, out=offsets[1:])
    points = np.empty((2, offsets[-1]), np.float32)  # x and y are contiguous, because each is computed alone
    inner = np.ones(offsets[-1], bool)
    inner[offsets[1:] - 1] = False
    square = t * t
    cube = square * t
    with np.errstate(invalid="ignore", over="ignore"):
        for axis in range(2):
            total = pieces.b[axis].take(segment)[:, None] * t
            total += pieces.a[axis].take(segment)[:, None]
            for factor, power in ((pieces.c, square), (pieces.d, cube)):
                total += factor[axis].take(segment)[:, None] * power
            points[axis, inner] = total.ravel()
    points[:, ~inner] = lanes.points[lanes.offsets[1:] - 1].T
    return Ragged(points.T, offsets)


def _with_midpoints(lanes: Ragged) -> Ragged:
    """Insert the midpoint of each lane of 2 points."""
    short = np.flatnonzero(np.diff(lanes.offsets) == 2)
    if not len(short):
        return lanes
    ends = lanes.offsets[short, None] + np.arange(2)
    middle = lanes.points[ends].astype(np.float64).sum(axis=1) / 2
    points = np.insert(lanes.points, lanes.offsets[short] + 1, middle.astype(np.float32), axis=0)
    offsets = lanes.offsets.copy()
    offsets[1:] += np.cumsum(np.diff(lanes.offsets) == 2)
    return Ragged(points, offsets)
