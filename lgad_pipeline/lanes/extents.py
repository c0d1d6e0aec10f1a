"""Extents of lanes, and warnings where they do not fit the sizes of the frames.

Lanes in pixels of another size (of the network's input, of a resized video) give scores and labels that seem
plausible, so that only the coordinates show the error. The limits below are far from annotations of real
frames: CULane's reach 5 % of the width beyond the left and right border, and never below the lower one.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from lgad_pipeline.lanes.spline import Ragged, ragged
from lgad_pipeline.wording import counted, size_text

_BELOW = 1.02
"""Greatest y of a lane, in frame heights; a lane that reaches further down is in pixels of another size."""
_OUTSIDE_DISTANCE = 0.1
"""Distance from the left or right border, in frame widths, from which a point is far outside."""
_MAX_OUTSIDE = 0.05
"""Greatest accepted share of points far outside."""
_UPPER = 0.75
"""Share of the frame's height; if nearly all lanes end above it, they are in pixels of a smaller size."""
_SMALLER = 0.9
"""The same limit for predicted lanes, as share of the annotated lanes' extent."""
_NEARLY_ALL = 0.95
"""Share of frames that counts as nearly all."""

_FEW_UPPER = 0.75
"""The same limit for some frames, also as share of the third quartile of all frames."""
_LEAST_FRAMES = 20
"""Least number of frames with lanes for a warning about a few of them."""

Extents = np.ndarray
"""float64 (frames, 7): number of points, points far outside, least x, greatest x, greatest y, least y in
frame pixels, number of lanes with points.

The coordinates are NaN without points.
"""


def lane_extents(lanes: Sequence[Sequence[np.ndarray] | None], sizes: np.ndarray) -> Extents:
    """Compute the extent of the lanes of each frame.

    Args:
        lanes: lanes of each frame, float32 (N, 2) each as (x, y), frame pixels; None counts as no lane.
        sizes: sizes of the frames, int (frames, 2) as (H, W), pixels.
    """
    return extents_of(
        ragged([lane for frame in lanes for lane in frame or []]),
        [len(frame or []) for frame in lanes],
        sizes=sizes,
    )


def extents_of(lanes: Ragged, counts: Sequence[int], *, sizes: np.ndarray) -> Extents:
    """Compute the extent of the lanes of each frame, of lanes that are stored end to end.

    Args:
        lanes: lanes of all frames.
        counts: number of lanes of each frame.
        sizes: sizes of the frames, int (frames, 2) as (H, W), pixels.
    """
    ends = lanes.offsets[np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)]
    extents = np.full((len(counts), 7), np.nan)
    extents[:, 0] = np.diff(ends)
    extents[:, 1] = 0
    lane_ends = np.concatenate([[0], np.cumsum(np.diff(lanes.offsets) > 0)])
    extents[:, 6] = np.diff(lane_ends[np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)])
    with_points = np.flatnonzero(np.diff(ends))
    if not len(with_points):
        return extents
    begins = ends[with_points]
    x, y = lanes.points[: ends[-1], 0].astype(np.float64), lanes.points[: ends[-1], 1]
    width = np.repeat(sizes[:, 1], np.diff(ends))
    extents[with_points, 1] = np.add.reduceat(
        (x < -_OUTSIDE_DISTANCE * width) | (x > (1 + _OUTSIDE_DISTANCE) * width), begins, dtype=np.int64
    )
    extents[with_points, 2] = np.minimum.reduceat(x, begins)
    extents[with_points, 3] = np.maximum.reduceat(x, begins)
    extents[with_points, 4] = np.maximum.reduceat(y, begins)
    extents[with_points, 5] = np.minimum.reduceat(y, begins)
    return extents


def count_copies(frames: Iterable[Sequence[np.ndarray] | None]) -> int:
    """Count the lanes that are equal to another lane of their frame, to the last bit.

    Args:
        frames: lanes of each frame, float32 (N, 2) each; None and lanes without points count as no lane.
    """
    return sum(
        len(with_points) - len(set(with_points))
        for lanes in frames
        if lanes and (with_points := [lane.tobytes() for lane in lanes if len(lane)])
    )


def copies_warning(kind: str, copies: int) -> list[str]:
    """Return a sentence on lanes that are equal to another one of their frame; an empty list without any.

    Args:
        kind: adjective for the lanes, such as "predicted".
        copies: their number, as `count_copies` returns it.
    """
    if not copies:
        return []
    lanes = f"{copies} {kind} lanes are" if copies > 1 else f"1 {kind} lane is"
    return [
        f"{lanes} equal to another lane of the same frame; remove the {'copies' if copies > 1 else 'copy'}, "
        "since every lane counts."
    ]


def size_warnings(
    kind: str, extents: Extents, *, sizes: np.ndarray, reference: Extents | None = None
) -> list[str]:
    """Describe lanes that do not fit the sizes of their frames, or are all in the upper part of the frames.

    Args:
        kind: adjective for the lanes in the warnings, such as "predicted".
        extents: extents of the lanes of each frame.
        sizes: sizes of the frames, int (frames, 2) as (H, W), pixels.
        reference: extents of the annotated lanes of the same frames, to compare predicted lanes with.

    Returns:
        Warnings, one sentence each; at most one for each kind of lanes.
    """
    with_points = extents[:, 0] > 0
    if not with_points.any():
        return []
    extents, sizes = extents[with_points], sizes[with_points]
    frame = size_text(sizes)
    height, width = sizes.T
    points, outside, left, right, bottom = extents[:, :5].T
    below = bottom > _BELOW * height + 1
    remedy = "correct the frame size or the coordinates"
    if below.any():
        return [
            f"In {below.sum()} of {counted(len(below), 'frame')} {kind} lanes reach below {frame} (down to "
            f"y = {bottom.max():.0f}); {remedy}."
        ]
    if outside.sum() > _MAX_OUTSIDE * points.sum():
        return [
            f"{100 * outside.sum() / points.sum():.0f} % of the points of {kind} lanes are far to the left "
            f"or right of {frame} (x from {left.min():.0f} to {right.max():.0f}); {remedy}."
        ]
    above = bottom < _UPPER * height
    if above.mean() >= _NEARLY_ALL:
        part = "upper left corner" if right.max() < _UPPER * width.max() else "upper part"
        return [
            f"{_all(above)} {kind} lanes are in the {part} of {frame} (x up to {right.max():.0f}, y up to "
            f"{bottom.max():.0f}), as coordinates in pixels of a smaller size are; {remedy}."
        ]
    if reference is not None:
        return _smaller(kind, extents, reference[with_points], remedy)
    return []


def _smaller(kind: str, extents: Extents, reference: Extents, remedy: str) -> list[str]:
    """Describe predicted lanes that end before the annotated ones, right and down, in nearly all frames."""
    both = reference[:, 0] > 0
    ratio = extents[both, 3:5] / np.maximum(reference[both, 3:5], 1)
    smaller = np.all(ratio < _SMALLER, axis=1, keepdims=True)[:, 0]
    if len(smaller) < 3 or smaller.mean() < _NEARLY_ALL:
        return []
    across, down = np.median(ratio, axis=0)
    return [
        f"In {_all(smaller).lower()} frames the {kind} lanes reach less far than the annotated ones, to "
        f"{across:.2f} of their greatest x and {down:.2f} of their greatest y, as coordinates in pixels of a "
        f"smaller size do; {remedy}."
    ]


def annotated_warnings(extents: Extents, *, sizes: np.ndarray, frames: Sequence[str]) -> list[str]:
    """Return the sentences of `size_warnings` on annotated lanes, or else that of `few_smaller_warning`.

    Args:
        extents: extents of the annotated lanes of each frame.
        sizes: sizes of the frames, int (frames, 2) as (H, W), pixels.
        frames: names of the frames.
    """
    return size_warnings("annotated", extents, sizes=sizes) or few_smaller_warning(
        "annotated", extents, sizes=sizes, frames=frames
    )


def few_smaller_warning(
    kind: str, extents: Extents, *, sizes: np.ndarray, frames: Sequence[str]
) -> list[str]:
    """Return a sentence if the lanes of some frames, up to three quarters, are in pixels of a smaller size.

    All lanes of such a frame, two or more, are in its upper left part, and begin and end far above those of
    the other frames, so that they begin above the horizon. In 4,020 real frames of CULane and TuSimple there
    is none.

    Args:
        kind: adjective for the lanes, such as "predicted".
        extents: extents of the lanes of each frame.
        sizes: sizes of the frames, int (frames, 2) as (H, W), pixels.
        frames: names of the frames.
    """
    with_points = np.flatnonzero(extents[:, 0] > 0)
    if len(with_points) < _LEAST_FRAMES:
        return []
    height, width = sizes[with_points].T
    right, bottom, top, lanes = extents[with_points, 3:].T
    rows = np.stack([top, bottom]) / height
    above = (rows < _FEW_UPPER * np.percentile(rows, 75, axis=1, keepdims=True)).all(axis=0)
    few = above & (bottom < _FEW_UPPER * height) & (right < _FEW_UPPER * width) & (lanes > 1)
    if not few.any():
        return []
    example = frames[int(with_points[few.argmax()])]
    return [
        f"In {few.sum()} of {counted(len(few), 'frame')}, such as {example}, all {kind} lanes are in the "
        "upper left part and begin far above those of the other frames, as coordinates in pixels of a "
        "smaller size do; correct these lanes."
    ]


def _all(flags: np.ndarray) -> str:
    """Return the quantifier for true flags, bool (N,): all or nearly all."""
    return "All" if flags.all() else "Nearly all"
