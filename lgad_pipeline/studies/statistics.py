"""Gain in F1 of one method over another from paired trainings, with confidence intervals.

A gain varies from seed to seed and from frame to frame, and every student of a study is scored on the same
test frames: seeds and frames are crossed. The interval is therefore that of a bootstrap that draws seeds and
frames independently, each with replacement (Owen, "The pigeonhole bootstrap", Annals of Applied Statistics,
2007; for many seeds and frames its intervals are rather too wide than too narrow). For few seeds it is
narrower than the t interval over the seeds; the result contains both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.types import Interval, column, f1_score

_RESAMPLES = 4000
_CHUNK = 500
_CONFIDENT, _POWER = 1.96, 0.84  # normal quantiles of 97.5 % and 80 %


@dataclass(frozen=True)
class Gain:
    """Gain in F1 of a second method over a first one, mean over pairs.

    Attributes:
        pairs: number of paired trainings.
        first: mean F1 of the first method.
        second: mean F1 of the second method.
        gain: mean of the pairs' differences, second minus first, with its 95 % bootstrap interval over seeds
            and frames.
        over_seeds: the same mean with its 95 % t interval over the pairs; its limits are NaN for one pair.
        deviation: standard deviation of the pairs' differences; NaN for one pair.
        differences: difference in F1 of each pair.
        false_positives: mean difference in false positives, for scenarios without lanes.
    """

    pairs: int
    first: float
    second: float
    gain: Interval
    over_seeds: Interval
    deviation: float
    differences: tuple[float, ...]
    false_positives: float

    def columns(self) -> dict[str, object]:
        """Return the values as columns of the table of a study, in the order of its files."""
        return {
            "pairs": self.pairs,
            "first": self.first,
            "second": self.second,
            "gain": self.gain.value,
            "low": self.gain.low,
            "high": self.gain.high,
            "seed_low": self.over_seeds.low,
            "seed_high": self.over_seeds.high,
            "deviation": self.deviation,
            "differences": self.differences,
            "false_positives": self.false_positives,
        }


def paired_gain(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], *, threshold: float = 0.5, seed: int = 0
) -> Gain:
    """Compare two methods on the same seeds and the same frames.

    Args:
        first: tables `LaneScores.frames` of the first method's students, one per seed, or part of their rows.
        second: tables of the second method's students, for the same seeds and rows.
        threshold: IoU threshold, one of those evaluated.
        seed: seed of the resampling.

    Raises:
        LgadError: the seeds, the frames or the numbers of annotated lanes of the two methods differ.
    """
    if not first or len(first) != len(second):
        raise LgadError(
            f"Pairs need a student of both methods for every seed; there are {len(first)} and {len(second)}."
        )
    counts = np.stack([_counts(tables, threshold, first[0]) for tables in (first, second)])
    _require_same_annotations(counts)
    counts = counts.astype(np.float64)  # (2, seeds, frames, 3)
    scores = f1_score(*np.moveaxis(counts.sum(axis=2), -1, 0))  # (2, seeds)
    differences = scores[1] - scores[0]
    pairs, values = len(first), _resampled(counts, seed)
    deviation = float(differences.std(ddof=1)) if pairs > 1 else math.nan
    half = math.nan
    if pairs > 1:
        half = float(stats.t.ppf(0.975, pairs - 1)) * deviation / math.sqrt(pairs)
    gain = float(differences.mean())
    low, high = (float(value) for value in np.quantile(values, [0.025, 0.975]))
    false_positives = counts[1, :, :, 1].sum(axis=1) - counts[0, :, :, 1].sum(axis=1)
    return Gain(
        pairs,
        float(scores[0].mean()),
        float(scores[1].mean()),
        Interval(gain, low, high),
        Interval(gain, gain - half, gain + half),
        deviation,
        tuple(differences.tolist()),
        float(false_positives.mean()),
    )


def pairs_needed(deviation: float, gain: float) -> int:
    """Return the number of pairs at which 8 of 10 studies would show a true gain, at 95 % confidence.

    This is the normal approximation.

    Args:
        deviation: standard deviation of the pairs' differences.
        gain: size of the true gain, in the same unit.
    """
    return max(2, math.ceil(((_CONFIDENT + _POWER) * deviation / gain) ** 2))


def _counts(tables: Sequence[pd.DataFrame], threshold: float, like: pd.DataFrame) -> np.ndarray:
    """Return the TP, FP and FN of each seed and frame, integers (seeds, frames, 3)."""
    frames = like.drop_duplicates("frame").sort_values("frame")["frame"].to_numpy()
    rows = []
    for table in tables:
        table = table.drop_duplicates("frame").sort_values("frame")
        if not np.array_equal(table["frame"].to_numpy(), frames):
            raise LgadError(
                "The students were scored on different frames; score them on the same test split."
            )
        rows.append(table[[column(kind, threshold) for kind in ("tp", "fp", "fn")]].to_numpy())
    return np.stack(rows)


def _require_same_annotations(counts: np.ndarray) -> None:
    """Check that the frames have the same number of annotated lanes, TP + FN, for all students.

    Args:
        counts: TP, FP and FN, integers (methods, seeds, frames, 3).
    """
    lanes = counts[..., 0] + counts[..., 2]
    if (lanes != lanes[0, 0]).any():
        raise LgadError(
            "The students were scored on different annotations of the same frames; run the study again, so "
            "that all are scored on the present ones."
        )


def _resampled(counts: np.ndarray, seed: int) -> np.ndarray:
    """Return the mean differences in F1 of resamples of seeds and frames, (_RESAMPLES,)."""
    generator = np.random.default_rng(seed)
    seeds, frames = counts.shape[1:3]
    flat = counts.transpose(2, 0, 1, 3).reshape(frames, -1)
    values = []
    for _ in range(_RESAMPLES // _CHUNK):
        weights = generator.multinomial(frames, np.full(frames, 1 / frames), _CHUNK)  # (chunk, frames)
        sums = (weights @ flat).reshape(_CHUNK, 2, seeds, 3)
        scores = f1_score(*np.moveaxis(sums, -1, 0))  # (chunk, 2, seeds)
        drawn = generator.integers(seeds, size=(_CHUNK, seeds))
        values.append(np.take_along_axis(scores[:, 1] - scores[:, 0], drawn, axis=1).mean(axis=1))
    return np.concatenate(values)
