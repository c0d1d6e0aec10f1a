"""Warnings about predicted lanes in other coordinates: pixels of another size, mirrored, or in reverse order.

Such lanes lie on the annotated ones if their coordinates are converted in one way, the same in all frames.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lgad_pipeline.wording import size_text

_ROWS = 48  # rows on which lanes are compared
_NEAR = 1 / 64  # distance of a predicted point that agrees with an annotated one, frame widths
_LEAST_FRAMES = 3  # in fewer frames, wrong lanes may be as well scaled ones
_LEAST_AGREEING = 0.5  # share of the annotated points that agree with the scaled predictions
_LEAST_RATIO = 2.0  # ratio of this share to that of the predictions as they are
_LEAST_CHANGE = 1.1  # least factor, or its inverse; lanes that lie aside agree better at one nearer to 1
_SAME_FACTOR = 0.02  # greatest difference of the logarithms of one factor
MOST_FRAMES = 300
"""Frames, spread over the data set, that suffice for the comparison."""

Lanes = Sequence[np.ndarray]
"""Lanes of a frame, float (N, 2) each as (x, y), pixels."""


def scale_warning(
    frames: Sequence[tuple[Lanes, Lanes]], size: tuple[int, int], *, same_rows: bool = False
) -> list[str]:
    """Return a sentence if predicted lanes fit the annotated ones much better in pixels of another size.

    Args:
        frames: annotated and predicted lanes of each frame.
        size: size of the frames (H, W), pixels.
        same_rows: the lanes have their points on the same rows, so that no y can be wrong.
    """
    some = _with_lanes(frames)
    if len(some) < _LEAST_FRAMES:
        return []
    height, width = size
    before = agreement(some, size)
    if before * _LEAST_RATIO > 1:
        return []
    rows = np.linspace(0, height - 1, _ROWS)
    truth = [_on_rows(lanes, rows) for lanes, _ in some]
    best = (0.0, 1.0, 1.0)
    for down in {1.0} if same_rows else {1.0, _ratio_of_ends(some)}:
        guess = [_on_rows([lane * (1, down) for lane in lanes], rows) for _, lanes in some]
        across = _most_frequent(np.concatenate(list(map(_factors, truth, guess))))
        best = max(best, (_agreeing(truth, guess, across, width), across, down))
    after, across, down = best
    moved = _moved_down(some)
    if not same_rows and _is_better(with_rows := agreement(moved.frames, size), before) and with_rows > after:
        return [
            f"With {moved.distance:+.0f} px added to y, {_shares(with_rows, before)}; correct the "
            "coordinates, such as by the rows that were cut off at the top."
        ]
    if max(across, 1 / across, down, 1 / down) >= _LEAST_CHANGE and _is_better(after, before):
        other = (round(height / down), round(width / across))
        factors = [float(f"{factor:.3g}") for factor in (across, down)]
        return [
            f"With x multiplied by {factors[0]:g} and y by {factors[1]:g}, {_shares(after, before)}, as in "
            f"pixels of frames of about {size_text([other])} instead of {size_text([size])}; correct the "
            "coordinates."
        ]
    return conversion_warning(
        some,
        [(lanes, [(width - 1, 0) + lane * (-1, 1) for lane in predicted]) for lanes, predicted in some],
        size,
        how="With left and right exchanged",
        remedy="mirror the predicted lanes back",
    )


def conversion_warning(
    frames: Sequence[tuple[Lanes, Lanes]],
    converted: Sequence[tuple[Lanes, Lanes]],
    size: tuple[int, int],
    *,
    how: str,
    remedy: str,
) -> list[str]:
    """Return a sentence if converted predicted lanes fit the annotated ones much better.

    Args:
        frames: annotated and predicted lanes of each frame.
        converted: the same with converted predicted lanes.
        size: size of the frames (H, W), pixels.
        how: words for the conversion, at the beginning of the sentence.
        remedy: end of the sentence.
    """
    if len(_with_lanes(frames)) < _LEAST_FRAMES:
        return []
    before, after = (agreement(_with_lanes(pairs), size) for pairs in (frames, converted))
    return [f"{how}, {_shares(after, before)}; {remedy}."] if _is_better(after, before) else []


def agreement(frames: Sequence[tuple[Lanes, Lanes]], size: tuple[int, int]) -> float:
    """Return the share of the annotated points on some rows that have a predicted point near them.

    Args:
        frames: annotated and predicted lanes of each frame.
        size: size of the frames (H, W), pixels.
    """
    rows = np.linspace(0, size[0] - 1, _ROWS)
    truth, guess = ([_on_rows(both[side], rows) for both in frames] for side in (0, 1))
    return _agreeing(truth, guess, 1.0, size[1])


def _with_lanes(frames: Sequence[tuple[Lanes, Lanes]]) -> Sequence[tuple[Lanes, Lanes]]:
    """Return frames with annotated and predicted lanes, spread over all such frames."""
    some = [both for both in frames if all(any(len(lane) for lane in lanes) for lanes in both)]
    return some[:: -(-len(some) // MOST_FRAMES) or 1]


def _is_better(after: float, before: float) -> bool:
    return after >= max(_LEAST_AGREEING, _LEAST_RATIO * before)


def _shares(after: float, before: float) -> str:
    return (
        f"{100 * after:.0f} % of the annotated points have a predicted point near them, without it "
        f"{100 * before:.0f} %"
    )


def _on_rows(lanes: Lanes, rows: np.ndarray) -> np.ndarray:
    """Return x of the lanes that have points on rows (R,): float64 (lanes, R), NaN outside of a lane."""
    ordered = [lane[np.argsort(lane[:, 1], kind="stable")].astype(np.float64) for lane in lanes if len(lane)]
    xs = [np.interp(rows, lane[:, 1], lane[:, 0], left=np.nan, right=np.nan) for lane in ordered]
    return np.array(xs, np.float64).reshape(-1, len(rows))


def _agreeing(truth: Lanes, guess: Lanes, factor: float, width: int) -> float:
    """Return the share of the annotated points with a predicted point near them, x times `factor`.

    Args:
        truth: x of the annotated lanes of each frame on rows, (lanes, rows).
        guess: x of the predicted lanes likewise.
        factor: factor of the predicted x.
        width: width of the frames, pixels.
    """
    agreeing = points = 0
    for annotated, predicted in zip(truth, guess, strict=True):
        near = np.abs(factor * predicted[None] - annotated[:, None]) < _NEAR * width  # false where one is NaN
        agreeing += int(near.any(axis=1).sum())
        points += int(np.isfinite(annotated).sum())
    return agreeing / max(points, 1)


class _Moved(NamedTuple):
    """Frames with predicted lanes that are moved down by a distance in pixels."""

    distance: float
    frames: Sequence[tuple[Lanes, Lanes]]


def _moved_down(frames: Sequence[tuple[Lanes, Lanes]]) -> _Moved:
    """Move the predicted lanes down by the median distance of their lower ends to the annotated ones."""
    distance = float(np.median([annotated - predicted for annotated, predicted in map(_ends, frames)]))
    moved = [(lanes, [lane + np.array([0, distance]) for lane in predicted]) for lanes, predicted in frames]
    return _Moved(distance, moved)


def _ratio_of_ends(frames: Sequence[tuple[Lanes, Lanes]]) -> float:
    """Return the median over the frames of the greatest annotated y by the greatest predicted one."""
    ratio = float(
        np.median([annotated / max(predicted, 1e-3) for annotated, predicted in map(_ends, frames)])
    )
    return ratio if ratio > 0 else 1.0


def _ends(lanes: tuple[Lanes, Lanes]) -> tuple[float, float]:
    """Return the greatest y of the annotated and of the predicted lanes of a frame."""
    annotated, predicted = (max(lane[:, 1].max() for lane in side if len(lane)) for side in lanes)
    return annotated, predicted


def _factors(truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """Return the median ratio of x of each annotated to each predicted lane on the rows of both."""
    ratios = [
        np.median(both)
        for lane in truth
        for other in guess
        if len(both := (lane / np.where(other > 0, other, np.nan))[np.isfinite(lane) & (other > 0)])
    ]
    return np.array([ratio for ratio in ratios if ratio > 0])


def _most_frequent(factors: np.ndarray) -> float:
    """Return the factor near which most of the factors are; 1 without any."""
    if not len(factors):
        return 1.0
    logs = np.sort(np.log(factors))
    ends = np.searchsorted(logs, logs + _SAME_FACTOR, side="right")
    first = int((ends - np.arange(len(logs))).argmax())
    return float(np.exp(np.median(logs[first : ends[first]])))
