"""The report as one HTML file: pictures and charts inside, nothing loaded from elsewhere."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from assets.presentation.svg_charts import BarGroup, curves, grouped_bars
from lgad_pipeline.evaluation.types import Interval

TEMPLATE = Path(__file__).with_name("report_page.html")


@dataclass(frozen=True)
class Score:
    """One student on one list of frames."""

    f1: float | None  # None where there are no annotated lanes: crossroads
    precision: float
    recall: float
    tp: int
    fp: int
    fn: int


@dataclass(frozen=True)
class ScoreRow:
    """Both students on one scenario, or on "total"."""

    scenario: str
    frames: int
    alone: Score
    lgad: Score

    @property
    def nothing_found(self) -> bool:
        """True if no predicted lane of either student is right: then their difference says nothing."""
        return self.alone.tp == self.lgad.tp == 0

    @property
    def gain(self) -> float | None:
        """What distillation adds to F1."""
        if self.alone.f1 is None or self.lgad.f1 is None:
            return None
        return self.lgad.f1 - self.alone.f1


@dataclass(frozen=True)
class Picture:
    """A captioned picture, uint8 (H, W, 3) RGB."""

    image: np.ndarray
    caption: str


@dataclass(frozen=True)
class AttentionRow:
    """Attention of the networks on one frame, for one mimicking path; the teacher's only if it is kept."""

    path: str
    frame: Picture
    teacher: Picture | None
    alone: Picture
    lgad: Picture

    @property
    def pictures(self) -> list[Picture]:
        """The frame and the maps, left to right."""
        return [picture for picture in (self.frame, self.teacher, self.alone, self.lgad) if picture]


@dataclass(frozen=True)
class Report:
    """Everything the page shows."""

    dataset: str
    recipe: str
    made: str  # date and time
    scores: Sequence[ScoreRow]
    gain: Interval | None  # in total F1, 95 %
    model: str
    version: str
    decision: str
    samples: Sequence[Picture]
    attention: Sequence[AttentionRow]
    curves: Mapping[
        str, Mapping[str, tuple[Sequence[float], Sequence[float]]]
    ]  # title -> network -> (steps, values)
    data_counts: Mapping[str, Mapping[str, int]]  # split -> {"frames": .., "lanes": ..}
    scenario_counts: Mapping[str, int]
    rejected: int
    facts: Mapping[str, str]
    links: Mapping[str, str]
    champion: bool = False
    note: str = ""

    @property
    def total(self) -> ScoreRow:
        """The row over all test frames."""
        return next(row for row in self.scores if row.scenario == "total")


def render(report: Report) -> str:
    """The page's HTML."""
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
    # Our own SVG; what comes from outside is escaped where it is drawn.
    charts = [Markup(curves(series, title)) for title, series in report.curves.items()]
    bars = Markup(scenario_bars(report.scores))
    return template.render(report=report, bars=bars, charts=charts, slots=slot_colours())


def slot_colours() -> list[tuple[str, str]]:
    """The colour of each slot in the pictures, and its name."""
    from lgad_pipeline.visualization.overlays import SLOT_COLOURS

    names = ("far left", "left", "right", "far right")
    return [(f"rgb{colour}", name) for colour, name in zip(SLOT_COLOURS, names, strict=True)]


def scenario_bars(scores: Sequence[ScoreRow]) -> str:
    """F1 bars of both students for each scenario, total first."""
    groups = []
    for row in sorted(scores, key=lambda row: row.scenario != "total"):
        note = ""
        if row.alone.f1 is None:
            note = f"no lanes to find: {row.alone.fp} false positives alone, {row.lgad.fp} with LGAD"
        values = {"student_alone": row.alone.f1, "student_lgad": row.lgad.f1}
        groups.append(BarGroup(row.scenario, values, note, strong=row.scenario == "total"))
    return grouped_bars(groups)


def jpeg_uri(image: np.ndarray, width: int = 760, quality: int = 84) -> str:
    """A picture, uint8 (H, W, 3) RGB, as a data URI no wider than `width` pixels."""
    import cv2

    if image.shape[1] > width:
        height = round(image.shape[0] * width / image.shape[1])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
