"""Extents of lanes, compared with the sizes of their frames.

Lanes in pixels of another size (of the network's input, of a resized video) give scores and labels that look
like any others, so that the coordinates are the only witness. The limits below are far from what annotations
of real frames have: CULane's reach 5 % beyond the left and right border, and never below the lower one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from lgad_pipeline.lanes.spline import Ragged, ragged

_BELOW = 1.02
"""A lane that reaches further down, in frame heights, is in pixels of another size."""
_ASIDE = 0.1
"""Distance from the left or right border, in frame widths, from which a point is far outside."""
_MOST_ASIDE = 0.05
"""Share of points far outside that is accepted."""
_UPPER = 0.75
"""Share of the frame's height that lanes reach in more than a few frames; else they are in smaller pixels."""
_SMALLER = 0.9
"""Likewise for predicted lanes, in shares of the annotated lanes' extent."""
_MOST = 0.95
"""Share of frames that makes up `nearly all`."""

Extents = np.ndarray
"""float64 (frames, 5): points, points far outside, least x, greatest x, greatest y; NaN without points."""


def lane_extents(lanes: Sequence[Sequence[np.ndarray] | None], sizes: np.ndarray) -> Extents:
    """Extent of the lanes of each frame.

    Args:
        lanes: of each frame, float32 (N, 2) each, (x, y); None counts as no lane.
        sizes: (frames, 2) as (H, W) in px.
    """
    return extents_of(
        ragged([lane for frame in lanes for lane in frame or []]), [len(one or []) for one in lanes], sizes
    )


def extents_of(lanes: Ragged, counts: Sequence[int], sizes: np.ndarray) -> Extents:
    """`lane_extents` of lanes that are end to end already; `counts` are the lanes of each frame."""
    ends = lanes.offsets[np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)]
    found = np.full((len(counts), 5), np.nan)
    found[:, 0] = np.diff(ends)
    found[:, 1] = 0
    some = np.flatnonzero(np.diff(ends))
    if not len(some):
        return found
    begins = ends[some]
    x, y = lanes.points[: ends[-1], 0].astype(np.float64), lanes.points[: ends[-1], 1]
    width = np.repeat(sizes[:, 1], np.diff(ends))
    found[some, 1] = np.add.reduceat(
        (x < -_ASIDE * width) | (x > (1 + _ASIDE) * width), begins, dtype=np.int64
    )
    found[some, 2] = np.minimum.reduceat(x, begins)
    found[some, 3] = np.maximum.reduceat(x, begins)
    found[some, 4] = np.maximum.reduceat(y, begins)
    return found


def size_warnings(
    kind: str, extents: Extents, sizes: np.ndarray, reference: Extents | None = None
) -> list[str]:
    """Sentences on lanes that do not fit the sizes of their frames, or are all in their upper part.

    Args:
        kind: of lanes, such as "predicted", for the sentences.
        extents: of the lanes.
        sizes: (frames, 2) as (H, W) in px.
        reference: extents of the annotated lanes of the same frames, which predicted ones are compared with.
    """
    some = extents[:, 0] > 0
    if not some.any():
        return []
    extents, sizes = extents[some], sizes[some]
    frame = size_text(sizes)
    height, width = sizes.T
    points, outside, left, right, bottom = extents.T
    below = bottom > _BELOW * height + 1
    remedy = "correct the frame size or the coordinates"
    if below.any():
        return [
            f"{below.sum()} of {len(below)} frames have {kind} lanes that reach below {frame} (down to y = "
            f"{bottom.max():.0f}); {remedy}."
        ]
    if outside.sum() > _MOST_ASIDE * points.sum():
        return [
            f"{100 * outside.sum() / points.sum():.0f} % of the points of {kind} lanes are far to the left "
            f"or right of {frame} (x from {left.min():.0f} to {right.max():.0f}); {remedy}."
        ]
    above = bottom < _UPPER * height
    if above.mean() >= _MOST:
        place = "upper left corner" if right.max() < _UPPER * width.max() else "upper part"
        return [
            f"{_all(above)} {kind} lanes are in the {place} of {frame} (x up to {right.max():.0f}, y up to "
            f"{bottom.max():.0f}), as coordinates in pixels of a smaller size are; {remedy}."
        ]
    if reference is not None:
        return _smaller(kind, extents, reference[some], remedy)
    return []


def _smaller(kind: str, extents: Extents, reference: Extents, remedy: str) -> list[str]:
    """Predicted lanes that end before the annotated ones, to the right and down, in nearly all frames."""
    both = reference[:, 0] > 0
    ratio = extents[both, 3:5] / np.maximum(reference[both, 3:5], 1)
    smaller = np.all(ratio < _SMALLER, axis=1, keepdims=True)[:, 0]
    if len(smaller) < 3 or smaller.mean() < _MOST:
        return []
    across, down = np.median(ratio, axis=0)
    return [
        f"In {_all(smaller).lower()} frames the {kind} lanes reach less far than the annotated ones, to "
        f"{across:.2f} of their greatest x and {down:.2f} of their greatest y, as coordinates in pixels of a "
        f"smaller size do; {remedy}."
    ]


def _all(flags: np.ndarray) -> str:
    return "All" if flags.all() else "Nearly all"


def size_text(sizes: Iterable[Sequence[int]]) -> str:
    """Frame sizes (H, W) as text: "1640 x 590 px", or the two most frequent of several."""
    counts = Counter((int(height), int(width)) for height, width in sizes)
    named = [f"{width} x {height}" for (height, width), _ in counts.most_common(2)]
    return " or ".join(named) + " px" + (" and others" if len(counts) > 2 else "")
