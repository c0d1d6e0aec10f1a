"""Types of an evaluation: counts of lanes with precision, recall and F1, and values with their interval."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

IOU = 0.5
"""IoU above which a predicted lane is a true positive, where one threshold is used."""

TOTAL = "total"
"""Name of the list that joins the distinct frames of all lists."""

SCENARIOS_WITHOUT_LANES = ("crossroad",)
"""Scenarios of CULane whose frames have no annotated lane: false positives are reported there, not F1."""


def f1_score(tp: Any, fp: Any, fn: Any) -> Any:
    """Compute F1 = 2 TP / (2 TP + FP + FN), 0 without lanes.

    Args:
        tp: true positives, a number or an array.
        fp: false positives, of the same shape.
        fn: false negatives, of the same shape.

    Returns:
        F1 in 0..1, of the same shape.
    """
    return 2 * tp / np.maximum(2 * tp + fp + fn, 1)


def column(kind: str, threshold: float) -> str:
    """Return the name of a column of counts in a table of frames: kind tp, fp or fn at an IoU threshold."""
    return f"{kind}_{threshold:g}"


@dataclass(frozen=True)
class Counts:
    """Numbers of true positives, false positives and false negatives.

    Attributes:
        tp: true positives, predicted lanes that match an annotated one.
        fp: false positives, predicted lanes that match none.
        fn: false negatives, annotated lanes without a match.

    Example:
        >>> Counts(tp=6, fp=2, fn=4).f1
        0.6666666666666666
    """

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 without predicted lanes."""
        return self.tp / max(self.tp + self.fp, 1)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 without annotated lanes."""
        return self.tp / max(self.tp + self.fn, 1)

    @property
    def f1(self) -> float:
        """2 P R / (P + R), which is 2 TP / (2 TP + FP + FN); 0 without lanes."""
        return float(f1_score(self.tp, self.fp, self.fn))


@dataclass(frozen=True)
class Interval:
    """A value and the interval that holds a given share, mostly 95 %, of its bootstrap distribution.

    Attributes:
        value: value over all frames.
        low: lower end of the interval.
        high: upper end of the interval.
        share_above_zero: share of the resamples whose value is above 0; NaN if not computed.

    Example:
        >>> Interval(0.012, -0.003, 0.025).points()
        '+1.2 points, 95 % within -0.3 and +2.5'
    """

    value: float
    low: float
    high: float
    share_above_zero: float = math.nan

    def scaled(self, factor: float) -> "Interval":
        """Return the interval of the value times a positive factor."""
        return Interval(factor * self.value, factor * self.low, factor * self.high, self.share_above_zero)

    def points(self) -> str:
        """Describe a difference in F1 and its 95 % interval in points (hundredths)."""
        value, low, high = 100 * self.value, 100 * self.low, 100 * self.high
        return f"{value:+.1f} points, 95 % within {low:+.1f} and {high:+.1f}"
