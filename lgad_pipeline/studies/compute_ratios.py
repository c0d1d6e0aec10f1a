"""Compute in which students of two methods reach the same validation score."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from lgad_pipeline.config.methods import uses_lgad
from lgad_pipeline.studies.config import EQUAL_COMPUTE, ComputeCost
from lgad_pipeline.studies.plan import StudyRun
from lgad_pipeline.studies.trainings import history

_STEP, _FINE = 0.1, 0.01  # lane IoU between two levels, and to which the highest is rounded down


def compute_ratios(runs: Sequence[StudyRun], compute: ComputeCost) -> pd.DataFrame:
    """Compare the compute until a validation score with that of the student alone with equal compute.

    The compute of a student with LGAD includes its teacher. The score is the lane IoU on validation, linear
    between two validations; a level that a student does not reach, or passes before its first validation, is
    left out.

    Args:
        runs: students that are trained.
        compute: cost of a step with LGAD and of a teacher's.

    Returns:
        Table with a row for each recipe, variant with LGAD and level: these three; pairs; ratio (compute of
        the student alone over that with LGAD, geometric mean over pairs) and its 95 % t interval over the
        pairs' logarithms, low and high, NaN for one pair.
    """
    curves = {(run.recipe, run.variant, run.seed): _curve(run, compute) for run in runs}
    variants = dict.fromkeys((run.recipe, run.variant) for run in runs if uses_lgad(run.training.method))
    rows = []
    for recipe, variant in variants:
        pairs = [
            (curves[recipe, EQUAL_COMPUTE, seed], curve)
            for (name, other, seed), curve in curves.items()
            if (name, other) == (recipe, variant) and (recipe, EQUAL_COMPUTE, seed) in curves
        ]
        names = {"recipe": recipe, "variant": variant}
        rows += [{**names, "level": level, **_ratio(pairs, level)} for level in _levels(pairs)]
    return pd.DataFrame(rows)


_Curve = tuple[np.ndarray, np.ndarray]  # compute and lane IoU of each validation


def _curve(run: StudyRun, compute: ComputeCost) -> _Curve:
    scores = history(run.training).set_index("step")["val/miou"].dropna()
    steps = [int(step) for step in scores.index]
    if uses_lgad(run.training.method):
        return np.array([compute.spent(run.training.recipe, step) for step in steps]), scores.to_numpy()
    return np.array(steps, float), scores.to_numpy()


def _levels(pairs: Sequence[tuple[_Curve, _Curve]]) -> list[float]:
    if not pairs:
        return []
    curves = [scores for pair in pairs for _, scores in pair]
    lowest, highest = max(scores[0] for scores in curves), min(scores.max() for scores in curves)
    top = math.floor(highest / _FINE + 1e-9) * _FINE
    steps = [_STEP * number for number in range(1, math.ceil(top / _STEP))]
    return [round(level, 2) for level in (*steps, top) if level > lowest]


def _ratio(pairs: Sequence[tuple[_Curve, _Curve]], level: float) -> dict[str, float]:
    logarithms = np.log([_reached(alone, level) / _reached(lgad, level) for alone, lgad in pairs])
    count, half = len(pairs), math.nan
    if count > 1:
        half = float(stats.t.ppf(0.975, count - 1)) * logarithms.std(ddof=1) / math.sqrt(count)
    ratio, low, high = np.exp(logarithms.mean() + np.array([0, -half, half]))
    return {"pairs": count, "ratio": ratio, "low": low, "high": high}


def _reached(curve: _Curve, level: float) -> float:
    compute, scores = curve
    after = int(np.argmax(scores >= level))
    return float(np.interp(level, scores[after - 1 : after + 1], compute[after - 1 : after + 1]))
