"""Metadata of the comparison of recipes: tables and interval chart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.presentation import metadata
from assets.presentation.recipe_charts import (
    cost_rows,
    recipe_curves,
    recipe_scenario_bars,
    speed_chart,
)
from assets.presentation.svg_charts import interval_chart
from lgad_pipeline.evaluation.types import Interval

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.recipe_comparison import RecipeScores
    from lgad_pipeline.evaluation.speed import Speed


def recipe_comparison_metadata(
    dataset: str,
    results: Sequence["RecipeScores"],
    *,
    left_out: Mapping[str, str],
    differing_settings: Sequence[Mapping[str, str]],
    histories: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    speeds: Mapping[str, "Speed"],
    runs_page: dg.MetadataValue,
) -> dict[str, Any]:
    """Describe the comparison of recipes.

    Args:
        dataset: name of the data set.
        results: scores of the compared recipes.
        left_out: recipe -> reason why it is not compared.
        differing_settings: rows of settings in which the recipes differ.
        histories: recipe -> steps and validation IoU of its student with LGAD.
        speeds: recipe -> time and parameters of its student with LGAD; only those that can be loaded.
        runs_page: link to the MLflow runs of the compared students.
    """
    reasons = [{"recipe": recipe, "reason": reason} for recipe, reason in left_out.items()]
    return {
        "recipes": metadata.table([_row(result) for result in results]),
        "F1 and gain, 95 %": metadata.chart(recipe_chart(results), f"recipes on {dataset}"),
        "F1 by scenario": metadata.chart(recipe_scenario_bars(results), f"F1 with LGAD on {dataset}"),
        "F1 with LGAD by scenario": metadata.table(scenario_rows(results)),
        "validation IoU": metadata.chart(
            recipe_curves(histories), "mean IoU of the lanes on validation frames"
        ),
        "speed and accuracy": metadata.chart(speed_chart(results, speeds), "F1 against time and parameters"),
        "cost": metadata.table(cost_rows(results, speeds)),
        "settings that differ": metadata.table(differing_settings),
        "left out": metadata.table(reasons),
        "in MLflow": runs_page,
        **{f"F1 with LGAD, {result.recipe}": result.comparison.total.f1_lgad for result in results},
    }


def recipe_chart(results: Sequence["RecipeScores"]) -> str:
    """Draw F1 of both students and the gain of each recipe with intervals, as SVG."""
    return interval_chart({result.recipe: (result.f1, _gain(result)) for result in results})


def scenario_rows(results: Sequence["RecipeScores"]) -> list[dict[str, Any]]:
    """Build a row for each scenario with the F1 of the student with LGAD of each recipe."""
    return [
        {
            "scenario": row.scenario,
            "frames": row.frames,
            **{result.recipe: result.comparison.rows[index].f1_lgad for result in results},
        }
        for index, row in enumerate(results[0].comparison.rows)
    ]


def _row(result: "RecipeScores") -> dict[str, Any]:
    f1 = result.f1["student_lgad"]
    return {
        "recipe": result.recipe,
        "F1 alone": result.comparison.total.f1_alone,
        "F1 LGAD, 95 %": f"{f1.value:.3f} ({f1.low:.3f} … {f1.high:.3f})",
        "gain, points": _points(_gain(result)),
        "lead over the first": "–" if result.lead is None else _points(result.lead),
        "validation F1": result.comparison.validation["student_lgad"].f1,
    }


def _gain(result: "RecipeScores") -> Interval:
    gain = result.comparison.gain
    return Interval(result.comparison.total.gain or 0.0, gain.low, gain.high)


def _points(value: Interval) -> str:
    return f"{100 * value.value:+.1f} ({100 * value.low:+.1f} … {100 * value.high:+.1f})"
