"""Charts of a study: gains as a forest plot, and training curves."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.evaluation.types import TOTAL

_METRICS = (("train/cross_entropy", "cross entropy, training"), ("val/miou", "lane IoU, validation"))


def forest_chart(gains: pd.DataFrame, path: Path, *, over: str) -> None:
    """Draw the gains as a forest plot: one panel per recipe, one line per scenario and variant.

    Args:
        gains: rows of `StudyResult.gains` or `over_others`, scenarios with lanes only.
        path: path of the PNG and the SVG file, without their suffixes.
        over: with what the students are compared, for the label of the axis.
    """
    recipes = list(dict.fromkeys(gains["recipe"]))
    variants = list(dict.fromkeys(gains["variant"]))
    scenarios = [TOTAL, *sorted(set(gains["scenario"]) - {TOTAL})]
    height = 1.2 + 0.12 * len(scenarios) * (len(variants) + 1)
    figure = Figure(figsize=(1.5 + 4.5 * len(recipes), height), layout="constrained")
    panels = figure.subplots(1, len(recipes), squeeze=False, sharey=True)[0]
    colours = matplotlib.colormaps["tab20" if len(variants) > 10 else "tab10"].colors  # type: ignore[attr-defined]
    for panel, recipe in zip(panels, recipes, strict=True):
        for number, variant in enumerate(variants):
            rows = gains[(gains["recipe"] == recipe) & (gains["variant"] == variant)].set_index("scenario")
            for row_number, scenario in enumerate(scenarios):
                if scenario not in rows.index:
                    continue
                row = 100 * rows.loc[scenario, ["gain", "low", "high"]].astype(float)
                y = row_number * (len(variants) + 1) + number
                wide = 2.4 if scenario == TOTAL else 1.2
                panel.plot(
                    [row["low"], row["high"]], [y, y], color=colours[number % len(colours)], linewidth=wide
                )
                label = variant if row_number == 0 else None
                panel.plot(
                    row["gain"],
                    y,
                    "s",
                    color=colours[number % len(colours)],
                    markersize=3 + wide,
                    label=label,
                )
        panel.axvline(0, color="0.4", linewidth=0.8)
        panel.grid(axis="x", linewidth=0.3)
        panel.set_title(recipe)
        panel.set_xlabel(f"gain in F1 over {over}, points, 95 %")
    middle = [number * (len(variants) + 1) + (len(variants) - 1) / 2 for number in range(len(scenarios))]
    panels[0].set_yticks(middle, scenarios)
    panels[0].invert_yaxis()
    # A recipe may lack a variant, so the legend is that of all panels together.
    entries = [zip(*panel.get_legend_handles_labels()[::-1], strict=True) for panel in panels]
    legend = {label: handle for panel_entries in entries for label, handle in panel_entries}
    figure.legend(legend.values(), legend.keys(), fontsize="small", loc="outside lower center", ncols=4)
    for kind in ("png", "svg"):
        with atomic_path(path.with_suffix(f".{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=150)


def curves_chart(histories: Sequence[tuple[str, pd.DataFrame]], path: Path) -> None:
    """Draw loss and validation over the steps: a thin line per student, a thick one for the mean over seeds.

    Args:
        histories: name of the variant and training history of each student.
        path: PNG file.
    """
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    panels = figure.subplots(1, len(_METRICS))
    colours = matplotlib.colormaps["tab10"]
    for panel, (metric, title) in zip(panels, _METRICS, strict=True):
        for number, variant in enumerate(dict.fromkeys(name for name, _ in histories)):
            lines = [table.set_index("step")[metric].dropna() for name, table in histories if name == variant]
            for line in lines:
                panel.plot(line.index, line, color=colours(number % 10), linewidth=0.4, alpha=0.5)
            mean = pd.concat(lines, axis=1).mean(axis=1)
            panel.plot(mean.index, mean, color=colours(number % 10), linewidth=1.8, label=variant)
        panel.set_title(title)
        panel.set_xlabel("step")
        panel.grid(linewidth=0.3)
    panels[0].set_yscale("log")
    panels[-1].legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
