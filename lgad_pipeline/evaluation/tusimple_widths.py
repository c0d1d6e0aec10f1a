"""Warning about predictions of TuSimple's metric whose x are in pixels of another image width.

The rows of a prediction are those of its annotation, so that a wrong width scales x alone. The predicted
lanes then lie on the annotated ones if their x are multiplied by one factor, the same in all frames.
"""

from collections.abc import Sequence

import numpy as np

_NEAR = 20.0  # pixels; distance of a predicted point that agrees with an annotated one
_LEAST_FRAMES = 3  # in fewer frames, wrong lanes may be as well scaled ones
_LEAST_AGREEING = 0.5  # share of the annotated points that agree with the scaled predictions
_LEAST_RATIO = 2.0  # ratio of this share to that of the predictions as they are
_LEAST_CHANGE = 1.1  # least factor, or its inverse; lanes that lie aside agree better at one nearer to 1
_SAME_FACTOR = 0.02  # greatest difference of the logarithms of one factor
_MOST_FRAMES = 500  # frames that are compared, spread over the file

Lanes = np.ndarray
"""float64 (lanes, rows): x of the lanes of a frame on its rows, pixels; NaN where a lane is absent."""


def width_warning(frames: Sequence[tuple[Lanes, Lanes]], width: float) -> list[str]:
    """Return a sentence if predicted lanes fit the annotated ones much better at another image width.

    Args:
        frames: annotated and predicted lanes of each frame.
        width: width of the frames, pixels.
    """
    some = [both for both in frames if all(np.isfinite(lanes).any() for lanes in both)]
    some = some[:: -(-len(some) // _MOST_FRAMES) or 1]
    if len(some) < _LEAST_FRAMES:
        return []
    before = _agreeing(some, 1.0)
    if before * _LEAST_RATIO > 1:
        return []
    factor = _most_frequent(np.concatenate([_factors(truth, guess) for truth, guess in some]))
    after = _agreeing(some, factor)
    changed = max(factor, 1 / factor) >= _LEAST_CHANGE
    if not changed or after < max(_LEAST_AGREEING, _LEAST_RATIO * before):
        return []
    return [
        f"With x multiplied by {factor:.4g}, {100 * after:.0f} % of the annotated points have a predicted "
        f"point within {_NEAR:g} px, without it {100 * before:.0f} %, as where x is in pixels of a width of "
        f"{width / factor:.0f} instead of {width:g}; write x in pixels of the frames."
    ]


def _agreeing(frames: Sequence[tuple[Lanes, Lanes]], factor: float) -> float:
    """Return the share of the annotated points with a predicted point near them, x times `factor`."""
    agreeing = points = 0
    for truth, guess in frames:
        near = np.abs(factor * guess[None] - truth[:, None]) < _NEAR  # false where one is NaN
        agreeing += int(near.any(axis=1).sum())
        points += int(np.isfinite(truth).sum())
    return agreeing / points


def _factors(truth: Lanes, guess: Lanes) -> np.ndarray:
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
