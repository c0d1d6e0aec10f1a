"""The recipes of a data set side by side: what an ablation shows. One partition a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import dagster as dg

from assets.automation import AFTER_SCORES
from assets.data import OWNERS
from assets.evaluation import lane_scores
from assets.freshness import materialize_result
from assets.partitions import DATASETS
from assets.presentation import metadata
from assets.presentation.svg_charts import interval_chart
from assets.scores import IOU, Comparison, compare, frame_counts, scores_digest
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.types import Interval
from resources.mlflow.resource import MlflowTracking
from resources.project import Project


@dataclass(frozen=True)
class RecipeScores:
    """One recipe's students on the test frames.

    Attributes:
        recipe: its name.
        comparison: both students.
        f1: F1 of each student, with 95 % by bootstrap over test frames.
        lead: F1 of the student with LGAD less that of the first recipe, paired; None for the first.
    """

    recipe: str
    comparison: Comparison
    f1: Mapping[str, Interval]
    lead: Interval | None


@dg.asset(
    group_name="evaluation",
    kinds={"pandas", "mlflow"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[lane_scores],
    code_version=code_fingerprint("assets.recipe_comparison:compare_recipes"),
    automation_condition=AFTER_SCORES,
    description="""All recipes of a data set that have scores, side by side: a backfill over the grid is an
ablation, and this is its page.

F1 at IoU 0.5 on the test frames with its 95 % interval (bootstrap over frames), the gain of each recipe's
student with LGAD over its own student alone, and its lead over the first recipe of lgad.yaml on the same
frames (paired bootstrap). One training a recipe: the intervals know nothing of the luck of a seed, which
`distillation_gain` measures. Choose a recipe by its validation F1, not by the test frames.""",
)
def recipe_comparison(
    context: dg.AssetExecutionContext, project: Project, mlflow: MlflowTracking
) -> dg.MaterializeResult:
    """Recipes side by side."""
    dataset = context.partition_key
    results, left_out = compare_recipes(project, dataset)
    if not results:
        raise LgadError(
            f"No recipe has scores on {dataset} yet; materialize `retrain` for at least one of them first."
        )
    places = {result.recipe: project.paths(dataset, result.recipe) for result in results}
    digest = blake2b(digest_size=16)
    for recipe, paths in places.items():
        digest.update(f"{recipe} {scores_digest(paths)}\n".encode())
    return materialize_result(
        context,
        project,
        digest.hexdigest(),
        {
            "recipes": metadata.table([_row(result) for result in results]),
            "F1 and gain, 95 %": metadata.chart(chart(results), f"recipes on {dataset}"),
            "F1 with LGAD by scenario": metadata.table(by_scenario(results)),
            "where the recipes differ": metadata.table(differing_settings(project, list(places))),
            "left out": metadata.table(left_out),
            "in MLflow": metadata.page(
                mlflow, mlflow.compare_url([paths.student_lgad for paths in places.values()])
            ),
            **{f"F1 with LGAD, {result.recipe}": result.comparison.total.lgad.f1 for result in results},
        },
    )


def compare_recipes(project: Project, dataset: str) -> tuple[list[RecipeScores], list[dict[str, str]]]:
    """The recipes that have scores, in the order of lgad.yaml, and those left out with the reason."""
    from lgad_pipeline.evaluation.bootstrap import f1_interval, paired_f1_difference

    results, left_out, first = [], [], None
    for recipe in project.settings.recipes:
        paths = project.paths(dataset, recipe)
        try:
            comparison = compare(paths)
            counts = {student: frame_counts(paths, student) for student in STUDENTS}
            lead = None if first is None else paired_f1_difference(first, counts["student_lgad"], IOU)
        except FileNotFoundError:
            left_out.append({"recipe": recipe, "reason": "has no scores yet; materialize `retrain`"})
            continue
        except LgadError:
            left_out.append({"recipe": recipe, "reason": "scored on other frames; materialize `lane_scores`"})
            continue
        first = counts["student_lgad"] if first is None else first
        f1 = {student: f1_interval(table, IOU) for student, table in counts.items()}
        results.append(RecipeScores(recipe, comparison, f1, lead))
    return results, left_out


def chart(results: Sequence[RecipeScores]) -> str:
    """F1 of both students and the gain, recipe by recipe, with intervals."""
    return interval_chart({result.recipe: (result.f1, result.comparison.gain) for result in results})


def by_scenario(results: Sequence[RecipeScores]) -> list[dict[str, Any]]:
    """A row for each scenario with the F1 of each recipe's student with LGAD."""
    return [
        {
            "scenario": row.scenario,
            "frames": row.frames,
            **{result.recipe: result.comparison.rows[index].lgad.f1 for result in results},
        }
        for index, row in enumerate(results[0].comparison.rows)
    ]


def differing_settings(project: Project, recipes: Sequence[str]) -> list[dict[str, str]]:
    """The keys of lgad.yaml in which the recipes differ, with each recipe's value."""
    import pandas as pd

    table = pd.json_normalize([project.recipe(name).model_dump(mode="json") for name in recipes]).astype(str)
    return [
        {"key": str(key), **dict(zip(recipes, values, strict=True))}
        for key, values in table.items()
        if values.nunique() > 1
    ]


def _row(result: RecipeScores) -> dict[str, Any]:
    total, f1 = result.comparison.total, result.f1["student_lgad"]
    return {
        "recipe": result.recipe,
        "F1 alone": total.alone.f1,
        "F1 LGAD, 95 %": f"{f1.value:.3f} ({f1.low:.3f} … {f1.high:.3f})",
        "gain, points": _points(result.comparison.gain),
        "lead over the first": "–" if result.lead is None else _points(result.lead),
        "validation F1": result.comparison.validation["student_lgad"].f1,
    }


def _points(interval: Interval) -> str:
    gain = interval.scaled(100)
    return f"{gain.value:+.1f} ({gain.low:+.1f} … {gain.high:+.1f})"
