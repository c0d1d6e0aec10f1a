"""Charts of the comparison of recipes: bars by scenario, curves, F1 against time and parameters."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from assets.presentation.svg_charts import Axis, BarGroup, curves, grouped_bars, legend, round_ticks, svg

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.recipe_comparison import RecipeScores
    from lgad_pipeline.evaluation.speed import Speed

# The palette of Okabe and Ito, which colour-blind readers can distinguish, without black and yellow.
_PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")


def recipe_colours(recipes: Sequence[str]) -> dict[str, str]:
    """Return a colour for each recipe; a recipe has the same colour in all charts of a page."""
    return {recipe: _PALETTE[index % len(_PALETTE)] for index, recipe in enumerate(recipes)}


def recipe_scenario_bars(results: Sequence["RecipeScores"]) -> str:
    """Draw F1 of the student with LGAD of each recipe by scenario, the total first, as SVG."""
    groups = []
    rows = results[0].comparison.rows
    for index in sorted(range(len(rows)), key=lambda index: rows[index].scenario != "total"):
        by_recipe = {result.recipe: result.comparison.rows[index] for result in results}
        first = rows[index]
        note = ""
        if not first.has_lanes:
            positives = ", ".join(f"{row.lgad.fp} ({recipe})" for recipe, row in by_recipe.items())
            note = f"no annotated lanes; false positives: {positives}"
        values = {recipe: row.f1_lgad for recipe, row in by_recipe.items()}
        groups.append(BarGroup(first.scenario, values, note, strong=first.scenario == "total"))
    return grouped_bars(groups, colours=recipe_colours([result.recipe for result in results]))


def recipe_curves(histories: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> str:
    """Draw the validation IoU of each recipe over its training steps, as SVG."""
    return curves(
        histories,
        "mean IoU of the lanes on validation frames, student with LGAD",
        width=1000,
        height=340,
        colours=recipe_colours(list(histories)),
    )


def speed_chart(results: Sequence["RecipeScores"], speeds: Mapping[str, "Speed"], width: int = 1000) -> str:
    """Draw F1 of the student with LGAD against its time per frame; the area of a dot is its parameters."""
    f1s = {result.recipe: result.f1["student_lgad"] for result in results if result.recipe in speeds}
    height, left, right, top, bottom = 340, 56, 130, 52, 40
    if not f1s:
        return svg(width, 60, ['<text x="20" y="30">no network could be measured</text>'])
    colours = recipe_colours([result.recipe for result in results])
    times = [speeds[recipe].milliseconds for recipe in f1s]
    across = Axis(left, width - left - right, 0.0, max(times))
    low, high = min(f1.low for f1 in f1s.values()), max(f1.high for f1 in f1s.values())
    high = max(high, low + 0.05)

    def y(value: float) -> float:
        return height - bottom - (value - low) / (high - low) * (height - top - bottom)

    parts = [legend(list(f1s), left, colours=colours)]
    parts.append(f'<text x="{left}" y="36">F1, 95 %; area of a dot: parameters</text>')
    parts += across.lines(top - 6, height - bottom, "{:g}")
    parts.append(f'<text x="{width - right + 8}" y="{height - bottom + 16}">ms a frame, one CPU</text>')
    for tick in round_ticks(low, high):
        parts.append(
            f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(tick):.1f}" y2="{y(tick):.1f}"/>'
            f'<text x="{left - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.2f}</text>'
        )
    most = max(speeds[recipe].parameters for recipe in f1s)
    for recipe, f1 in f1s.items():
        speed = speeds[recipe]
        x, radius = across.x(speed.milliseconds), 4 + 14 * float(np.sqrt(speed.parameters / most))
        title = f"{recipe}: F1 {f1.value:.3f}, {speed.milliseconds:.1f} ms, {speed.parameters:,} parameters"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(f1.low):.1f}" y2="{y(f1.high):.1f}" '
            f'stroke="{colours[recipe]}" stroke-width="2.5"/>'
            f'<circle cx="{x:.1f}" cy="{y(f1.value):.1f}" r="{radius:.1f}" fill="{colours[recipe]}" '
            f'opacity=".75"><title>{escape(title)}</title></circle>'
        )
    return svg(width, height, parts)


def cost_rows(results: Sequence["RecipeScores"], speeds: Mapping[str, "Speed"]) -> list[dict[str, Any]]:
    """Build a row for each recipe: F1 of its student with LGAD, time of a frame, parameters."""
    rows = []
    for result in results:
        speed = speeds.get(result.recipe)
        rows.append(
            {
                "recipe": result.recipe,
                "F1": result.f1["student_lgad"].value,
                "ms a frame": None if speed is None else round(speed.milliseconds, 1),
                "parameters, M": None if speed is None else speed.parameters / 1e6,
            }
        )
    return rows
