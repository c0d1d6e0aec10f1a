"""Report of a study: tables as files and as Markdown, and pictures."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.config.model_files import NETWORK, WEIGHTS
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.evaluation.types import SCENARIOS_WITHOUT_LANES, TOTAL
from lgad_pipeline.networks.checkpoint import read_model
from lgad_pipeline.studies.charts import curves_chart, forest_chart
from lgad_pipeline.studies.plan import StudyRun
from lgad_pipeline.studies.result import StudyResult
from lgad_pipeline.studies.statistics import pairs_needed
from lgad_pipeline.studies.trainings import history
from lgad_pipeline.training.student_losses import mimicking_paths
from lgad_pipeline.visualization.attention_sheet import attention_sheet
from lgad_pipeline.visualization.overlays import write_png

_GAIN_TO_SHOW = 0.02  # F1, for the column of the number of pairs needed


def write_study(result: StudyResult, runs: Sequence[StudyRun], *, shards: Path, output: Path) -> None:
    """Write tables and pictures into `output`.

    The tables are `students.parquet`, `gains.json`, `over_others.json` and `gain.md`. The pictures are
    `forest.png` and `.svg` for gains over the student alone, `forest-others.png` and `.svg` for gains of
    LGAD over the other methods, and for each recipe `<recipe>-curves.png` and `<recipe>-attention.png`, the
    latter for the students of the first seed if their weights are there.

    Args:
        result: result of the study.
        runs: students of the study.
        shards: directory of the packed data set.
        output: directory of the study.
    """
    with atomic_path(output / "students.parquet") as temporary:
        result.students.to_parquet(temporary, index=False)
    write_text(output / "over_others.json", result.over_others.to_json(orient="records", indent=2) + "\n")
    write_text(output / "gains.json", result.gains.to_json(orient="records", indent=2) + "\n")
    write_text(output / "gain.md", markdown(result))
    if len(result.gains):
        forest_chart(_with_lanes(result.gains), output / "forest", over="the student alone")
    if len(result.over_others):
        forest_chart(_with_lanes(_named(result.over_others)), output / "forest-others", over="another method")
    for recipe in dict.fromkeys(run.recipe for run in runs):
        histories = [(run.variant, history(run.training)) for run in runs if run.recipe == recipe]
        curves_chart(histories, output / f"{recipe}-curves.png")
        _attention([run for run in runs if run.recipe == recipe], shards, output / f"{recipe}-attention.png")


def markdown(result: StudyResult) -> str:
    """Return the result as Markdown: for each recipe tables of totals, other methods and scenarios."""
    parts = ["# Gain over the student alone", ""]
    parts += [
        "F1 at IoU 0.5 in points. First interval: bootstrap over seeds and frames; second: t over seeds."
    ]
    parts += [f"\n{note}" for note in result.notes]
    named = _named(result.over_others)
    for recipe in dict.fromkeys(result.students["recipe"]):
        gains = result.gains[result.gains["recipe"] == recipe]
        parts += ["", f"## {recipe}"]
        if len(gains):
            parts += ["", *_totals(gains[gains["scenario"] == TOTAL], "method", "alone")]
        others = named[named["recipe"] == recipe] if len(named) else named
        if len(others):
            totals = others[others["scenario"] == TOTAL]
            parts += ["", *_totals(totals, "LGAD over another method", "of the other")]
        ratios = result.compute_ratios
        if len(ratios) and recipe in set(ratios["recipe"]):
            parts += ["", *_ratio_table(ratios[ratios["recipe"] == recipe])]
        if len(gains):
            parts += ["", *_scenario_table(gains)]
        elif len(others):
            parts += ["", *_scenario_table(others)]
    return "\n".join(parts) + "\n"


def _totals(rows: pd.DataFrame, heading: str, first: str) -> list[str]:
    """Return a table of total gains, one line for each variant."""
    lines = [
        f"| {heading} | pairs | F1 {first} | F1 | gain | 95 % | 95 %, seeds | sd of pairs | pairs for +2 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows.itertuples():
        needed = pairs_needed(row.deviation, _GAIN_TO_SHOW) if row.pairs > 1 else "-"  # type: ignore[operator]
        lines.append(
            f"| {row.variant} | {row.pairs} | {_points(row.first)} | {_points(row.second)} | "
            f"{_points(row.gain, '+')} | {_points(row.low, '+')} to {_points(row.high, '+')} | "
            f"{_points(row.seed_low, '+')} to {_points(row.seed_high, '+')} | {_points(row.deviation)} | "
            f"{needed} |"
        )
    return lines


def _ratio_table(ratios: pd.DataFrame) -> list[str]:
    """Return a table of the compute until a validation score, one line for each variant and level."""
    lines = [
        "Compute of the student alone (equal-compute) until a lane IoU on validation, over that of LGAD and "
        "its teacher; above 1, LGAD needs less:",
        "",
        "| method | lane IoU | pairs | ratio | 95 %, seeds |",
        "|---|---|---|---|---|",
    ]
    for row in ratios.itertuples():
        limits = "-" if pd.isna(row.low) else f"{row.low:.2f} to {row.high:.2f}"  # type: ignore[call-overload]
        lines.append(f"| {row.variant} | {row.level:.2f} | {row.pairs} | {row.ratio:.2f} | {limits} |")
    return lines


def _named(over_others: pd.DataFrame) -> pd.DataFrame:
    """Return gains over other methods whose variants are named with the other method."""
    if over_others.empty:
        return over_others
    return over_others.assign(variant=over_others["variant"] + " over " + over_others["other"])


def _with_lanes(gains: pd.DataFrame) -> pd.DataFrame:
    return gains[~gains["scenario"].isin(SCENARIOS_WITHOUT_LANES)]


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


def _attention(runs: Sequence[StudyRun], shards: Path, path: Path) -> None:
    """Draw the attention of a teacher and of the first seed's students on one test frame."""
    first = [run for run in runs if run.seed == runs[0].seed]
    with_teacher = [run for run in first if run.training.teacher is not None]
    if not with_teacher:
        return
    teacher = with_teacher[0].training.teacher
    assert teacher is not None
    students = {run.variant: run.training.folder for run in first}
    if not all((folder / WEIGHTS).is_file() for folder in (*students.values(), teacher)):
        return  # scores were copied here without the weights
    folders = with_teacher[0].training.folder, teacher
    specs = [read_model(folder / NETWORK, NetworkSpec) for folder in folders]
    paths = mimicking_paths(with_teacher[0].training.recipe.distillation, *specs)
    sample = ShardSet.open(shards)["test"][0]
    write_png(path, attention_sheet(sample, teacher, students=students, paths=paths))
