"""Bootstrap over frames: the interval of an F1 and of the difference of two."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.types import Interval, column, f1_score

_RESAMPLES = 2000


def f1_interval(
    frames: pd.DataFrame, threshold: float, *, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Compute F1 over frames with its bootstrap interval.

    Args:
        frames: `LaneScores.frames`, or some of its rows; a frame in several lists counts once.
        threshold: IoU threshold, one of those evaluated.
        confidence: share of the resamples inside the interval.
        seed: seed of the resampling.

    Raises:
        LgadError: there is no frame.
    """
    return _bootstrap(_f1_of_sums, _counts(frames.drop_duplicates("frame"), threshold), confidence, seed)


def paired_f1_difference(
    first: pd.DataFrame, second: pd.DataFrame, *, threshold: float, confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Compute F1 of `second` minus F1 of `first` on the same frames, with its paired bootstrap interval.

    Args:
        first: `LaneScores.frames` of a prediction folder, or some of its rows.
        second: the same rows for another prediction folder.
        threshold: IoU threshold, one of those evaluated.
        confidence: share of the resamples inside the interval.
        seed: seed of the resampling.

    Raises:
        LgadError: there is no frame, or the two have different frames, or different numbers of annotated
            lanes in a frame.
    """
    tables = [frames.drop_duplicates("frame").sort_values("frame") for frames in (first, second)]
    if not np.array_equal(*(table["frame"].to_numpy() for table in tables)):
        raise LgadError(
            "The two evaluations are over different frames; evaluate both predictions on the same lists."
        )
    counts = np.concatenate([_counts(table, threshold) for table in tables], axis=1)
    if not np.array_equal(counts[:, 0] + counts[:, 2], counts[:, 3] + counts[:, 5]):  # TP + FN
        raise LgadError(
            "The two evaluations are over different annotations of the same frames; evaluate both "
            "predictions with the same annotations."
        )
    return _bootstrap(
        lambda sums: _f1_of_sums(sums[..., 3:]) - _f1_of_sums(sums[..., :3]), counts, confidence, seed
    )


def _counts(frames: pd.DataFrame, threshold: float) -> np.ndarray:
    """Return TP, FP and FN of each frame, (frames, 3)."""
    return frames[[column(kind, threshold) for kind in ("tp", "fp", "fn")]].to_numpy()


def _f1_of_sums(sums: np.ndarray) -> np.ndarray:
    """Compute F1 of TP, FP and FN on the last axis."""
    return f1_score(*np.moveaxis(sums, -1, 0))


def _bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], counts: np.ndarray, confidence: float, seed: int
) -> Interval:
    # Frames with equal counts are interchangeable. Drawing the number of frames of each kind has the same
    # distribution as drawing frames, and is faster because there are few kinds.
    if not len(counts):
        raise LgadError("There is no frame to compute an interval over; give the scores of at least one.")
    kinds, sizes = np.unique(counts, axis=0, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(sizes.sum(), sizes / sizes.sum(), _RESAMPLES)
    values = statistic(drawn @ kinds)
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(statistic(counts.sum(axis=0))), float(low), float(high), float((values > 0).mean()))
