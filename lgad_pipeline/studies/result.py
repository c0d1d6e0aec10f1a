"""Result of a study: scores of all students, and gains over the student alone and over other methods."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import pandas as pd

from lgad_pipeline.config.methods import uses_lgad
from lgad_pipeline.evaluation.types import IOU, TOTAL, Counts, column
from lgad_pipeline.studies.compute_ratios import compute_ratios
from lgad_pipeline.studies.config import BASELINE, EQUAL_COMPUTE, ComputeCost
from lgad_pipeline.studies.plan import StudyRun
from lgad_pipeline.studies.statistics import paired_gain
from lgad_pipeline.studies.trainings import history, is_scored, scored_frames

CONVERGED_RISE = 0.01  # lane IoU on validation in the last quarter of the steps
CONVERGED_F1 = 0.65

Scenarios = dict[str, pd.DataFrame]
"""Scored frames by scenario; TOTAL for all frames."""


@dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Attributes:
        students: scores with one row per student and scenario, columns recipe, variant, seed, scenario, tp,
            fp, fn, f1.
        gains: gains over `alone` with one row per recipe, variant and scenario: these three columns and the
            columns of `Gain.columns`.
        notes: sentences about steps, convergence and missing students, for the report.
        over_others: gains of each variant with LGAD over each without it but `alone`: columns recipe,
            variant, other, scenario, and the columns of `Gain.columns`.
        compute_ratios: compute until a validation score, see `compute_ratios`.
    """

    students: pd.DataFrame
    gains: pd.DataFrame
    notes: tuple[str, ...] = ()
    over_others: pd.DataFrame = field(default_factory=pd.DataFrame)
    compute_ratios: pd.DataFrame = field(default_factory=pd.DataFrame)

    def total(self, recipe: str, variant: str) -> pd.Series:
        """Return the row of `gains` over all test frames."""
        gains = self.gains
        chosen = (gains["recipe"] == recipe) & (gains["variant"] == variant) & (gains["scenario"] == TOTAL)
        return gains[chosen].iloc[0]


def finished(runs: Iterable[StudyRun]) -> list[StudyRun]:
    """Return the students that are trained and scored, those of an interrupted study."""
    return [run for run in runs if is_scored(run.training)]


def summarize(runs: Sequence[StudyRun], compute: ComputeCost) -> StudyResult:
    """Read the scores of scored students, and compare the variants by the seeds that both have.

    Args:
        runs: students that are trained and scored.
        compute: cost of the study's training steps.
    """
    tables = {(run.recipe, run.variant, run.seed): _scenarios(scored_frames(run.training)) for run in runs}
    students = [
        {"recipe": recipe, "variant": variant, "seed": seed, "scenario": scenario, **_scores(rows)}
        for (recipe, variant, seed), table in tables.items()
        for scenario, rows in table.items()
    ]
    methods = {(run.recipe, run.variant): run.training.method for run in runs}
    gains, over_others = [], []
    for (recipe, variant), method in methods.items():
        names = {"recipe": recipe, "variant": variant}
        pairs = _pairs(tables, recipe, BASELINE, variant) if variant != BASELINE else []
        for scenario in pairs[0][0] if pairs else ():
            gains.append({**names, "scenario": scenario, **_gain(pairs, scenario)})
        for other in _without_lgad(methods, recipe) if uses_lgad(method) else ():
            if pairs := _pairs(tables, recipe, other, variant):
                over_others += [
                    {**names, "other": other, "scenario": scenario, **_gain(pairs, scenario)}
                    for scenario in pairs[0][0]
                ]
    notes = (*_unequal_steps(runs), *_convergence(runs, tables))
    table = pd.DataFrame(gains or {name: [] for name in ("recipe", "variant", "scenario")})
    return StudyResult(
        pd.DataFrame(students), table, notes, pd.DataFrame(over_others), compute_ratios(runs, compute)
    )


def _without_lgad(methods: Mapping[tuple[str, str], str], recipe: str) -> list[str]:
    """Return the variants of a recipe without LGAD but `alone`."""
    return [
        variant
        for (name, variant), method in methods.items()
        if name == recipe and variant != BASELINE and not uses_lgad(method)
    ]


def _pairs(
    tables: dict[tuple[str, str, int], Scenarios], recipe: str, first: str, second: str
) -> list[tuple[Scenarios, Scenarios]]:
    """Return the scored frames of two variants for each seed that both have."""
    seeds = sorted(seed for r, variant, seed in tables if (r, variant) == (recipe, second))
    return [
        (tables[recipe, first, seed], tables[recipe, second, seed])
        for seed in seeds
        if (recipe, first, seed) in tables
    ]


def _gain(pairs: Sequence[tuple[Scenarios, Scenarios]], scenario: str) -> dict[str, object]:
    first, second = zip(*pairs, strict=True)
    gain = paired_gain([rows[scenario] for rows in first], [rows[scenario] for rows in second], threshold=IOU)
    return gain.columns()


def _unequal_steps(runs: Sequence[StudyRun]) -> list[str]:
    """State the number of steps of students that are trained longer than the students alone."""
    alone = {run.recipe: run.training.recipe.student.steps for run in runs if run.variant == BASELINE}
    notes = {}
    for run in runs:
        steps, usual = run.training.recipe.student.steps, alone.get(run.recipe)
        if usual is not None and steps != usual:
            notes[run.recipe, run.variant] = (
                f"{run.recipe}, {run.variant}: {steps} steps where the others have {usual}, "
                f"{steps / usual:.2f} times as many."
            )
    return list(notes.values())


def _convergence(runs: Sequence[StudyRun], tables: dict[tuple[str, str, int], Scenarios]) -> list[str]:
    """State how well the students alone are trained: a gain over beginners is no gain over a good student."""
    notes = []
    for recipe in dict.fromkeys(run.recipe for run in runs):
        variants = {run.variant for run in runs if run.recipe == recipe}
        baseline = next((name for name in (BASELINE, EQUAL_COMPUTE) if name in variants), None)
        if baseline is None:
            continue
        alone = [run for run in runs if (run.recipe, run.variant) == (recipe, baseline)]
        rises = [_last_rise(history(run.training)) for run in alone]
        scores = [_scores(tables[recipe, baseline, run.seed][TOTAL])["f1"] for run in alone]
        rise, f1 = sum(rises) / len(rises), sum(scores) / len(scores)
        verdict = "converged" if rise < CONVERGED_RISE or f1 >= CONVERGED_F1 else "not converged"
        name = "the students alone" if baseline == BASELINE else f"the students alone ({baseline})"
        notes.append(
            f"{recipe}: {name} are {verdict}: F1 {100 * f1:.1f}, and their lane IoU on "
            f"validation rises by {rise:.3f} in the last quarter of the steps (converged: F1 of at least "
            f"{100 * CONVERGED_F1:.0f}, or a rise below {CONVERGED_RISE})."
        )
    return notes


def _last_rise(history: pd.DataFrame) -> float:
    """Return the rise of the validation IoU in the last quarter of the steps, interpolated."""
    scores = history.set_index("step")["val/miou"].dropna()
    last = scores.index[-1]
    scores = scores.reindex(sorted({*scores.index, 3 * last / 4})).interpolate(method="index")
    start = scores[3 * last / 4]
    return float(scores.iloc[-1] - (0.0 if pd.isna(start) else start))


def _scenarios(table: pd.DataFrame) -> Scenarios:
    """Return the rows of all frames, and those of each scenario if there are several."""
    scenarios = {str(name): rows for name, rows in table.groupby("list", observed=True)}
    return {TOTAL: table, **(scenarios if len(scenarios) > 1 else {})}


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    distinct = rows.drop_duplicates("frame")
    tp, fp, fn = (int(distinct[column(kind, IOU)].sum()) for kind in ("tp", "fp", "fn"))
    return {"tp": tp, "fp": fp, "fn": fn, "f1": Counts(tp, fp, fn).f1}
