"""Champion/challenger rule: paired bootstrap on F1, a veto for each scenario, a latency limit."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.evaluation.bootstrap import paired_f1_difference
from lgad_pipeline.evaluation.types import IOU, TOTAL, Counts, Interval, column


@dataclass(frozen=True)
class Change:
    """Difference in a score between two models on the same frames.

    Attributes:
        name: name of the scenario; `total` for all frames.
        frames: number of frames.
        champion, challenger: F1 at IoU 0.5; for frames without annotated lanes (crossroads), where F1 is
            not defined, the share of frames without a false lane.
        gain: challenger minus champion, with its paired bootstrap interval over frames.
        judged: True if there are enough frames for a decision.
        worse: True if judged, and the challenger lost significantly more than the tolerance.
    """

    name: str
    frames: int
    champion: float
    challenger: float
    gain: Interval
    judged: bool
    worse: bool


@dataclass(frozen=True)
class Verdict:
    """Decision of the promotion rule on a challenger, with the numbers behind it.

    Attributes:
        total: change over all validation frames.
        scenarios: change in each scenario, on test frames.
        latency: seconds per frame of champion and challenger, measured in turn on one machine.
        objections: reasons against the promotion, a clause each; empty if the challenger is promoted.
        rule: settings of the rule, as text.
    """

    total: Change
    scenarios: list[Change]
    latency: tuple[float, float]
    objections: list[str]
    rule: str

    @property
    def promoted(self) -> bool:
        """True if the challenger becomes champion."""
        return not self.objections


def judge(
    validation: tuple[pd.DataFrame, pd.DataFrame],
    test: tuple[pd.DataFrame, pd.DataFrame],
    *,
    latency: tuple[float, float],
    rule: PromotionConfig,
) -> Verdict:
    """Apply the promotion rule.

    Args:
        validation: frames as in `LaneScores.frames` (columns list, frame, tp_0.5, fp_0.5, fn_0.5), scored by
            the champion and by the challenger.
        test: the same of the test frames, `list` naming their scenario.
        latency: seconds per frame of champion and challenger.
        rule: settings of the rule.

    Raises:
        LgadError: the two scored different frames.
    """
    total = _change(TOTAL, *validation, rule)
    scenarios = scenario_changes(*test, rule=rule)
    objections = []
    if not total.judged:
        objections.append(
            f"there are {total.frames} validation frames, fewer than the {rule.least_frames} of least_frames"
        )
    if total.gain.low <= 0:
        objections.append(
            f"its gain in F1 on {total.frames} validation frames, {100 * total.gain.value:+.1f} points, is "
            f"not significant ({100 * total.gain.low:+.1f} to {100 * total.gain.high:+.1f})"
            if total.gain.high >= 0
            else f"it loses {-100 * total.gain.value:.1f} points of F1 on {total.frames} validation frames"
        )
    objections += [
        f"it loses {-100 * change.gain.value:.1f} points in scenario {change.name} "
        f"({100 * change.gain.low:+.1f} to {100 * change.gain.high:+.1f})"
        for change in scenarios
        if change.worse
    ]
    factor = latency[1] / latency[0]
    if factor > rule.latency_factor:
        objections.append(f"a frame takes it {factor:.2f} times as long")
    return Verdict(total, scenarios, latency, objections, rule.text)


def scenario_changes(
    champion: pd.DataFrame, challenger: pd.DataFrame, *, rule: PromotionConfig
) -> list[Change]:
    """Compare the scores of two models on the same frames, scenario by scenario; see `judge`."""
    first, second = (
        {str(name): rows for name, rows in table.groupby("list", observed=True, sort=False)}
        for table in (champion, challenger)
    )
    return [_change(name, rows, second.get(name, rows.iloc[:0]), rule) for name, rows in first.items()]


def _change(name: str, champion: pd.DataFrame, challenger: pd.DataFrame, rule: PromotionConfig) -> Change:
    tables = [frames.drop_duplicates("frame") for frames in (champion, challenger)]
    if not _lanes(tables[0]):
        tables = [_clean_frames(frames) for frames in tables]
    gain = paired_f1_difference(tables[0], tables[1], threshold=IOU, confidence=rule.confidence)
    judged = len(tables[0]) >= rule.least_frames
    worse = judged and gain.value < -rule.scenario_tolerance and gain.high < 0
    first, second = (_f1(frames) for frames in tables)
    return Change(name, len(tables[0]), first, second, gain, judged, worse)


def _lanes(frames: pd.DataFrame) -> int:
    return int(frames[[column("tp", IOU), column("fn", IOU)]].to_numpy().sum())


def _clean_frames(frames: pd.DataFrame) -> pd.DataFrame:
    """Return counts whose F1 is the share of frames without a false lane."""
    clean = (frames[column("fp", IOU)] == 0).astype(int)
    counts = {column("tp", IOU): clean, column("fp", IOU): 1 - clean, column("fn", IOU): 1 - clean}
    return frames.assign(**counts)


def _f1(frames: pd.DataFrame) -> float:
    tp, fp, fn = (int(frames[column(kind, IOU)].sum()) for kind in ("tp", "fp", "fn"))
    return Counts(tp, fp, fn).f1


def frame_table(scenarios: Sequence[str], frames: Sequence[str], *, counts: np.ndarray) -> pd.DataFrame:
    """Build the table that `judge` reads.

    Args:
        scenarios: scenario of each frame.
        frames: name of each frame.
        counts: numbers of annotated lanes, predicted lanes and true positives, int (frames, 3).
    """
    annotated, predicted, tp = counts.T
    values = {"tp": tp, "fp": predicted - tp, "fn": annotated - tp}
    return pd.DataFrame(
        {"list": scenarios, "frame": frames, **{column(kind, IOU): value for kind, value in values.items()}}
    )
