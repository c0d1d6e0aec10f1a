"""What a method gains over another, from paired trainings, and how sure that is.

A gain varies from seed to seed and from frame to frame, and every student of a study sees the same test
frames: seeds and frames are crossed. The interval is therefore that of a bootstrap that draws seeds and
frames each with replacement and independently (Owen, "The pigeonhole bootstrap", Annals of Applied
Statistics, 2007; over many of both its intervals are if anything too wide). With few seeds it misses some of
what the seeds' t interval holds; both are given.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import column
from lgad_pipeline.evaluation.types import f1_score

_RESAMPLES = 4000
_CHUNK = 500
# 97.5 % quantiles of Student's t for 1, 2, ... degrees of freedom; beyond them that of 30.
_T = (
    12.706,
    4.303,
    3.182,
    2.776,
    2.571,
    2.447,
    2.365,
    2.306,
    2.262,
    2.228,
    2.201,
    2.179,
    2.160,
    2.145,
    2.131,
)
_T += (
    2.120,
    2.110,
    2.101,
    2.093,
    2.086,
    2.080,
    2.074,
    2.069,
    2.064,
    2.060,
    2.056,
    2.052,
    2.048,
    2.045,
    2.042,
)


@dataclass(frozen=True)
class Gain:
    """The gain in F1 of one method over another, mean over pairs.

    Attributes:
        pairs: paired trainings.
        first, second: mean F1 of the two methods.
        gain: mean of the pairs' differences, second less first.
        low, high: 95 % bootstrap interval over seeds and frames.
        seed_low, seed_high: 95 % t interval of the pairs' differences; NaN for one pair.
        deviation: standard deviation of the pairs' differences; NaN for one pair.
        differences: of each pair.
        false_positives: mean difference in false positives, for scenarios without lanes.
    """

    pairs: int
    first: float
    second: float
    gain: float
    low: float
    high: float
    seed_low: float
    seed_high: float
    deviation: float
    differences: tuple[float, ...]
    false_positives: float


def paired_gain(
    first: Sequence[pd.DataFrame], second: Sequence[pd.DataFrame], threshold: float = 0.5, seed: int = 0
) -> Gain:
    """Compare two methods over the same seeds and the same frames.

    Args:
        first: `LaneScores.frames` of the students of the first method, seed by seed; or some of their rows.
        second: those of the second method, the same seeds and rows.
        threshold: one of those evaluated.
        seed: of the resampling.

    Raises:
        LgadError: the two are not over the same seeds and frames.
    """
    if not first or len(first) != len(second):
        raise LgadError(
            f"Pairs need a student of both methods for every seed; there are {len(first)} and {len(second)}."
        )
    counts = np.stack([_counts(tables, threshold, first[0]) for tables in (first, second)])
    counts = counts.astype(np.float64)  # (2, seeds, frames, 3)
    scores = f1_score(*np.moveaxis(counts.sum(axis=2), -1, 0))  # (2, seeds)
    differences = scores[1] - scores[0]
    pairs, values = len(first), _resampled(counts, seed)
    deviation = float(differences.std(ddof=1)) if pairs > 1 else math.nan
    half = _T[min(pairs - 1, len(_T)) - 1] * deviation / math.sqrt(pairs) if pairs > 1 else math.nan
    gain = float(differences.mean())
    low, high = (float(value) for value in np.quantile(values, [0.025, 0.975]))
    false_positives = counts[1, :, :, 1].sum(axis=1) - counts[0, :, :, 1].sum(axis=1)
    return Gain(
        pairs,
        float(scores[0].mean()),
        float(scores[1].mean()),
        gain,
        low,
        high,
        gain - half,
        gain + half,
        deviation,
        tuple(differences.tolist()),
        float(false_positives.mean()),
    )


def pairs_needed(deviation: float, gain: float, power: float = 0.84) -> int:
    """Pairs that show a true gain of that size in 8 of 10 studies, at 95 % confidence (normal approximation).

    Args:
        deviation: standard deviation of the pairs' differences.
        gain: sought, in the same unit.
        power: normal quantile of the power; 0.84 for 80 %.
    """
    return max(2, math.ceil(((1.96 + power) * deviation / gain) ** 2))


def _counts(tables: Sequence[pd.DataFrame], threshold: float, like: pd.DataFrame) -> np.ndarray:
    """TP, FP, FN by seed and frame, (seeds, frames, 3)."""
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


def _resampled(counts: np.ndarray, seed: int) -> np.ndarray:
    """Mean differences of resamples over seeds and frames, (_RESAMPLES,)."""
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
