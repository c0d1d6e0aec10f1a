"""The report as one HTML file with embedded pictures and charts; it loads nothing from other servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from assets.presentation.metadata import jpeg_uri
from assets.presentation.score_charts import scenario_bars
from assets.presentation.svg_charts import curves
from lgad_pipeline.config.slots import slot_names
from lgad_pipeline.evaluation.types import TOTAL, Interval

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.student_scores import ScoreRow

TEMPLATE = Path(__file__).with_name("report_page.html")


@dataclass(frozen=True)
class Picture:
    """Picture with a caption.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        caption: text below the picture.
    """

    image: np.ndarray
    caption: str


@dataclass(frozen=True)
class AttentionRow:
    """Attention maps of the networks on one frame, for one mimicking path.

    Attributes:
        path: names of the compared layers.
        frame: camera frame.
        teacher: map of the teacher; None if the teacher is not stored.
        alone: map of the student alone.
        lgad: map of the student with LGAD.
    """

    path: str
    frame: Picture
    teacher: Picture | None
    alone: Picture
    lgad: Picture

    @property
    def pictures(self) -> list[Picture]:
        """Frame and maps, left to right."""
        return [picture for picture in (self.frame, self.teacher, self.alone, self.lgad) if picture]


@dataclass(frozen=True)
class Report:
    """Content of the page.

    Attributes:
        dataset: name of the data set.
        recipe: name of the recipe.
        date: date and time of the report.
        scores: scores of both students by scenario, total included.
        gain: gain in total F1 with its 95 % interval.
        model: name of the registered model.
        version: version of the registered model.
        decision: sentence about the promotion of the version.
        samples: test frames with annotated and predicted lanes.
        attention: attention maps by frame and mimicking path.
        curves: chart title -> network -> steps and values.
        data_counts: split -> numbers of `frames` and `lanes`.
        scenario_counts: scenario -> number of test frames.
        rejected: number of rejected frames.
        facts: provenance by name.
        links: addresses by name.
        champion: True if the version is the champion.
        slots: number of lane slots.
        note: sentence of the user at the top of the page.
    """

    dataset: str
    recipe: str
    date: str
    scores: Sequence["ScoreRow"]
    gain: Interval | None
    model: str
    version: str
    decision: str
    samples: Sequence[Picture]
    attention: Sequence[AttentionRow]
    curves: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]]
    data_counts: Mapping[str, Mapping[str, int]]
    scenario_counts: Mapping[str, int]
    rejected: int
    facts: Mapping[str, str]
    links: Mapping[str, str]
    champion: bool = False
    note: str = ""
    slots: int = 4

    @property
    def total(self) -> "ScoreRow":
        """Row over all test frames."""
        return next(row for row in self.scores if row.scenario == TOTAL)


def render(report: Report) -> str:
    """Render the page as HTML."""
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["jpeg"] = jpeg_uri
    environment.filters["f1"] = lambda value: "–" if value is None else f"{value:.3f}"
    environment.filters["points"] = lambda value: (
        "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")
    )
    environment.filters["tone"] = lambda gain: "" if not gain else ("good" if gain > 0 else "bad")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    # The charts are SVG of this project and are not escaped again; they escape texts from outside themselves.
    charts = [Markup(curves(series, title)) for title, series in report.curves.items()]
    bars = Markup(scenario_bars(report.scores))
    return template.render(report=report, bars=bars, charts=charts, slots=slot_colours(report.slots))


def slot_colours(slots: int) -> list[tuple[str, str]]:
    """List the colour of each slot in the pictures, and the name of the slot."""
    from lgad_pipeline.visualization.overlays import slot_colour

    return [(f"rgb{slot_colour(slot)}", name) for slot, name in enumerate(slot_names(slots), 1)]
