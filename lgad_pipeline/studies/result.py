"""Result of a study: scores of all students, gains over the student alone, tables and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.evaluation.culane import column
from lgad_pipeline.evaluation.types import SCENARIOS_WITHOUT_LANES, TOTAL, Counts
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.studies.charts import curves_chart, forest_chart
from lgad_pipeline.studies.config import BASELINE
from lgad_pipeline.studies.plan import StudyRun
from lgad_pipeline.studies.statistics import paired_gain, pairs_needed
from lgad_pipeline.studies.trainings import THRESHOLD, scored_frames
from lgad_pipeline.training.student_losses import mimicking_paths
from lgad_pipeline.training.training_folder import HISTORY
from lgad_pipeline.visualization.attention_sheet import attention_sheet
from lgad_pipeline.visualization.overlays import write_png

_GAIN_TO_SHOW = 0.02  # F1, for the column of the number of pairs needed


@dataclass(frozen=True)
class StudyResult:
    """Result of a study.

    Attributes:
        students: scores with one row per student and scenario, columns recipe, variant, seed, scenario, tp,
            fp, fn, f1.
        gains: gains over `alone` with one row per recipe, variant and scenario: these three columns and the
            columns of `Gain.columns`.
        notes: sentences about unequal numbers of steps, for the report.
    """

    students: pd.DataFrame
    gains: pd.DataFrame
    notes: tuple[str, ...] = ()

    def total(self, recipe: str, variant: str) -> pd.Series:
        """Return the row of `gains` over all test frames."""
        gains = self.gains
        chosen = (gains["recipe"] == recipe) & (gains["variant"] == variant) & (gains["scenario"] == TOTAL)
        return gains[chosen].iloc[0]


def summarize(runs: Sequence[StudyRun]) -> StudyResult:
    """Read the scores of all students, and compare every variant with the students trained alone."""
    tables = {(run.recipe, run.variant, run.seed): scored_frames(run.training) for run in runs}
    students = [
        {"recipe": recipe, "variant": variant, "seed": seed, "scenario": scenario, **_scores(rows)}
        for (recipe, variant, seed), table in tables.items()
        for scenario, rows in _scenarios(table).items()
    ]
    gains = []
    for recipe, variant in dict.fromkeys((run.recipe, run.variant) for run in runs):
        if variant == BASELINE:
            continue
        first, second = (
            [_scenarios(table) for (r, v, _), table in sorted(tables.items()) if (r, v) == (recipe, name)]
            for name in (BASELINE, variant)
        )
        for scenario in first[0]:
            gain = paired_gain(
                [rows[scenario] for rows in first], [rows[scenario] for rows in second], threshold=THRESHOLD
            )
            gains.append({"recipe": recipe, "variant": variant, "scenario": scenario, **gain.columns()})
    return StudyResult(pd.DataFrame(students), pd.DataFrame(gains), _notes(runs))


def _notes(runs: Sequence[StudyRun]) -> tuple[str, ...]:
    """State the number of steps of students that are trained longer than the students alone."""
    alone = {run.recipe: run.training.recipe.student.steps for run in runs if run.variant == BASELINE}
    notes = {}
    for run in runs:
        steps, usual = run.training.recipe.student.steps, alone[run.recipe]
        if steps != usual:
            notes[run.recipe, run.variant] = (
                f"{run.recipe}, {run.variant}: {steps} steps where the others have {usual}, "
                f"{steps / usual:.2f} times as many."
            )
    return tuple(notes.values())


def write_study(result: StudyResult, runs: Sequence[StudyRun], *, shards: Path, output: Path) -> None:
    """Write tables (`students.parquet`, `gains.json`, `gain.md`) and pictures into `output`.

    The pictures are `forest.png` and `.svg`, and for each recipe `<recipe>-curves.png` and
    `<recipe>-attention.png`, the latter for the students of the first seed.

    Args:
        result: result of the study.
        runs: students of the study.
        shards: directory of the packed data set.
        output: directory of the study.
    """
    with atomic_path(output / "students.parquet") as temporary:
        result.students.to_parquet(temporary, index=False)
    write_text(output / "gains.json", result.gains.to_json(orient="records", indent=2) + "\n")
    write_text(output / "gain.md", markdown(result))
    if len(result.gains):
        forest_chart(result.gains[~result.gains["scenario"].isin(SCENARIOS_WITHOUT_LANES)], output)
    for recipe in dict.fromkeys(run.recipe for run in runs):
        histories = [
            (run.variant, pd.read_parquet(run.training.folder / HISTORY))
            for run in runs
            if run.recipe == recipe
        ]
        curves_chart(histories, output / f"{recipe}-curves.png")
        _attention([run for run in runs if run.recipe == recipe], shards, output / f"{recipe}-attention.png")


def markdown(result: StudyResult) -> str:
    """Return the result as Markdown: for each recipe a table of the totals and one of the scenarios."""
    parts = ["# Gain over the student alone", ""]
    parts += [
        "F1 at IoU 0.5 in points. First interval: bootstrap over seeds and frames; second: t over seeds."
    ]
    parts += [f"\n{note}" for note in result.notes]
    for recipe, gains in result.gains.groupby("recipe", sort=False):
        total = gains[gains["scenario"] == TOTAL]
        parts += ["", f"## {recipe}", ""]
        parts += [
            "| method | pairs | F1 alone | F1 | gain | 95 % | 95 %, seeds | sd of pairs | pairs for +2 |"
        ]
        parts += ["|---|---|---|---|---|---|---|---|---|"]
        for row in total.itertuples():
            needed = pairs_needed(row.deviation, _GAIN_TO_SHOW) if row.pairs > 1 else "-"  # type: ignore[operator]
            parts.append(
                f"| {row.variant} | {row.pairs} | {_points(row.first)} | {_points(row.second)} | "
                f"{_points(row.gain, '+')} | {_points(row.low, '+')} to {_points(row.high, '+')} | "
                f"{_points(row.seed_low, '+')} to {_points(row.seed_high, '+')} | {_points(row.deviation)} | "
                f"{needed} |"
            )
        parts += ["", *_scenario_table(gains)]
    return "\n".join(parts) + "\n"


def _scenario_table(gains: pd.DataFrame) -> list[str]:
    variants = list(dict.fromkeys(gains["variant"]))
    lines = [f"| scenario | {' | '.join(variants)} |", "|---" * (1 + len(variants)) + "|"]
    for scenario, rows in gains.groupby("scenario", sort=False):
        cells = [
            f"{row.false_positives:+.1f} FP"
            if scenario in SCENARIOS_WITHOUT_LANES
            else f"{_points(row.gain, '+')} ({_points(row.low, '+')} to {_points(row.high, '+')})"
            for row in rows.itertuples()
        ]
        lines.append(f"| {scenario} | {' | '.join(cells)} |")
    return lines


def _points(value: object, sign: str = "") -> str:
    return "-" if pd.isna(value) else f"{100 * float(value):{sign}.2f}"  # type: ignore[call-overload,arg-type]


def _scenarios(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the rows of all frames, and those of each scenario."""
    return {TOTAL: table, **{str(name): rows for name, rows in table.groupby("list", observed=True)}}


def _scores(rows: pd.DataFrame) -> dict[str, float]:
    distinct = rows.drop_duplicates("frame")
    tp, fp, fn = (int(distinct[column(kind, THRESHOLD)].sum()) for kind in ("tp", "fp", "fn"))
    return {"tp": tp, "fp": fp, "fn": fn, "f1": Counts(tp, fp, fn).f1}


def _attention(runs: Sequence[StudyRun], shards: Path, path: Path) -> None:
    """Draw the attention of a teacher and of the first seed's students on one test frame."""
    first = [run for run in runs if run.seed == runs[0].seed]
    with_teacher = [run for run in first if run.training.teacher is not None]
    if not with_teacher:
        return
    teacher = with_teacher[0].training.teacher
    assert teacher is not None
    specs = [load_network(folder)[1] for folder in (with_teacher[0].training.folder, teacher)]
    paths = mimicking_paths(with_teacher[0].training.recipe.distillation, *specs)
    students = {run.variant: run.training.folder for run in first}
    sample = ShardSet.open(shards)["test"][0]
    write_png(path, attention_sheet(sample, teacher, students=students, paths=paths))
