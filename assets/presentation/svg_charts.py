"""Charts as SVG text, for Dagster, MLflow and the report, in light and dark colour schemes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from lgad_pipeline.evaluation.types import Interval

# A network has the same colour in all charts.
COLOURS = {"teacher": "#8b6cd9", "student_alone": "#d98a2b", "student_lgad": "#1f8fa8"}
NETWORK_NAMES = {"teacher": "teacher", "student_alone": "student alone", "student_lgad": "student with LGAD"}

_STYLE = """<style>
.chart text{font:12px ui-sans-serif,system-ui,sans-serif;fill:#5b6672}
.chart .strong{fill:#1c2530;font-weight:600}.chart .grid{stroke:#dfe4e9}.chart .axis{stroke:#aab4be}
@media(prefers-color-scheme:dark){.chart text{fill:#9aa7b4}.chart .strong{fill:#e8edf2}
.chart .grid{stroke:#2b343e}.chart .axis{stroke:#55616d}}
</style>"""


@dataclass(frozen=True)
class BarGroup:
    """Bars of one label in a bar chart.

    Attributes:
        label: text to the left of the bars.
        values: network -> value in 0..1; None is drawn as 0.
        note: text that is drawn instead of the bars.
        strong: True to draw the texts in bold.
    """

    label: str
    values: Mapping[str, float | None]
    note: str = ""
    strong: bool = False


def grouped_bars(
    groups: Sequence[BarGroup], width: int = 1000, *, colours: Mapping[str, str] = COLOURS
) -> str:
    """Draw horizontal bars in groups on an axis from 0 to 1.

    Args:
        groups: bars of each label, from top to bottom.
        width: width of the chart, pixels.
        colours: colour of each series; networks by default.
    """
    left, right, top, bar, gap = 112, 56, 34, 11, 13
    span = width - left - right
    networks = list(groups[0].values)
    pitch = len(networks) * bar + gap
    height = top + len(groups) * pitch + 24
    parts = [legend(networks, left, colours=colours)]
    for tick in np.linspace(0, 1, 6):
        x = left + tick * span
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top - 6}" y2="{height - 22}"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - 6}" text-anchor="middle">{tick:.1f}</text>')
    for index, group in enumerate(groups):
        y = top + index * pitch
        middle = y + len(networks) * bar / 2
        strong = ' class="strong"' if group.strong else ""
        parts.append(
            f'<text{strong} x="{left - 10}" y="{middle + 4:.1f}" text-anchor="end">'
            f"{escape(group.label)}</text>"
        )
        if group.note:
            parts.append(f'<text x="{left + 6}" y="{middle + 4:.1f}">{escape(group.note)}</text>')
            continue
        for row, (network, value) in enumerate(group.values.items()):
            value = value or 0.0
            length = max(value * span, 1.5)
            parts.append(
                f'<rect x="{left}" y="{y + row * bar:.1f}" width="{length:.1f}" height="{bar - 1.5}" rx="2" '
                f'fill="{colours[network]}">'
                f"<title>{_title(network)}, {escape(group.label)}: {value:.3f}</title></rect>"
            )
            parts.append(
                f'<text{strong} x="{left + length + 6:.1f}" y="{y + row * bar + 9:.1f}" '
                f'style="font-size:10.5px">{value:.3f}</text>'
            )
    return svg(width, height, parts)


def interval_chart(rows: Mapping[str, tuple[Mapping[str, Interval], Interval]], width: int = 1000) -> str:
    """Draw a row for each recipe: on the left F1 of its networks, on the right their gain, with intervals.

    Args:
        rows: recipe -> (network -> F1, gain), both in 0..1; the gain is drawn in points.
        width: width of the chart, pixels.
    """
    name_width, gap, top, bar, right = 150, 70, 44, 16, 20
    panel = (width - name_width - gap - right) / 2
    networks = list(next(iter(rows.values()))[0])
    pitch = len(networks) * bar + 14
    height = top + len(rows) * pitch + 26
    f1s = [f1 for students, _ in rows.values() for f1 in students.values()]
    gains = [gain.scaled(100) for _, gain in rows.values()]
    low, high = min(f1.low for f1 in f1s), max(f1.high for f1 in f1s)
    scores = Axis(name_width, panel, low, max(high, low + 0.1))
    low, high = min(0.0, *(g.low for g in gains)), max(0.0, *(g.high for g in gains))
    points = Axis(name_width + panel + gap, panel, low, max(high, low + 1))
    parts = [
        legend(networks, name_width),
        f'<text class="strong" x="{points.left}" y="14">gain with LGAD, points of F1</text>',
        *scores.lines(top - 8, height - 22, "{:.2f}"),
        *points.lines(top - 8, height - 22, "{:+g}"),
        f'<line class="axis" x1="{points.x(0):.1f}" x2="{points.x(0):.1f}" y1="{top - 8}" '
        f'y2="{height - 22}" stroke-width="1.6"/>',
    ]
    for index, (recipe, (students, _)) in enumerate(rows.items()):
        y = top + index * pitch
        middle = y + len(networks) * bar / 2
        parts.append(
            f'<text class="strong" x="{name_width - 12}" y="{middle + 4:.1f}" text-anchor="end">'
            f"{escape(recipe)}</text>"
        )
        for row, (network, f1) in enumerate(students.items()):
            title = f"{NETWORK_NAMES[network]}, {recipe}: {f1.value:.3f}, 95 % {f1.low:.3f} to {f1.high:.3f}"
            parts.append(scores.whisker(f1, y + (row + 0.5) * bar, COLOURS[network], title))
        gain = gains[index]
        title = f"gain, {recipe}: {gain.value:+.1f}, 95 % {gain.low:+.1f} to {gain.high:+.1f} points"
        parts.append(points.whisker(gain, middle, COLOURS[networks[-1]], title))
    return svg(width, height, parts)


@dataclass(frozen=True)
class Axis:
    """Horizontal axis with a margin on both sides.

    Attributes:
        left: left end of the axis, pixels.
        length: length of the axis, pixels.
        low: smallest value that is drawn.
        high: largest value that is drawn, larger than `low`.
    """

    left: float
    length: float
    low: float
    high: float

    def x(self, value: float) -> float:
        """Return the horizontal position of a value, pixels."""
        margin = 0.06 * (self.high - self.low)
        return self.left + (value - self.low + margin) / (self.high - self.low + 2 * margin) * self.length

    def lines(self, top: float, bottom: float, form: str) -> list[str]:
        """Draw the vertical grid lines and their labels.

        Args:
            top: upper end of the lines, pixels.
            bottom: lower end of the lines, pixels.
            form: format string of the labels.
        """
        ticks = [(self.x(tick), form.format(tick)) for tick in round_ticks(self.low, self.high)]
        return [
            f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{label}</text>'
            for x, label in ticks
        ]

    def whisker(self, interval: Interval, y: float, colour: str, title: str) -> str:
        """Draw a value as a dot and its interval as a line.

        Args:
            interval: value with its lower and upper limit.
            y: vertical position, pixels.
            colour: colour of dot and line.
            title: text that a browser shows when the pointer is on the dot.
        """
        x, low, high = (self.x(value) for value in (interval.value, interval.low, interval.high))
        return (
            f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            f'stroke-width="2.5" stroke-linecap="round" opacity=".55"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"><title>{escape(title)}</title></circle>'
        )


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    title: str,
    *,
    width: int = 540,
    height: int = 300,
    colours: Mapping[str, str] = COLOURS,
) -> str:
    """Draw values over the training steps as lines; the axis is logarithmic if the values span decades.

    Args:
        series: network, or another name with a colour -> (steps, values).
        title: text above the chart.
        width: width of the chart, pixels.
        height: height of the chart, pixels.
        colours: colour of each series; networks by default.
    """
    left, right, top, bottom = 56, 16, 52, 34
    points = {name: _finite(*pair) for name, pair in series.items()}
    steps = np.concatenate([pair[0] for pair in points.values()] or [np.zeros(1)])
    values = np.concatenate([pair[1] for pair in points.values()] or [np.ones(1)])
    if not len(values):
        return svg(width, height, [f'<text x="{left}" y="{top}">no values yet</text>'])
    logarithmic = values.min() > 0 and values.max() / values.min() > 20
    low, high = (float(values.min()), float(values.max()))
    low = low if logarithmic else min(low, 0.0)
    high = high if high > low else low + 1.0
    last = max(float(steps.max()), 1.0)

    def pixels(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        scaled = np.log(y / low) / np.log(high / low) if logarithmic else (y - low) / (high - low)
        return left + x / last * (width - left - right), height - bottom - scaled * (height - top - bottom)

    parts = [
        f'<text class="strong" x="{left}" y="16">{escape(title)}</text>',
        legend(list(series), left, 36, colours=colours),
    ]
    ticks = _log_ticks(low, high) if logarithmic else round_ticks(low, high)
    for tick in ticks:
        y = pixels(np.zeros(1), np.array([tick]))[1][0]
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:.3g}</text>')
    for tick in round_ticks(0.0, last):
        x = pixels(np.array([tick]), np.array([high]))[0][0]
        parts.append(f'<text x="{x:.1f}" y="{height - 12}" text-anchor="middle">{tick:.0f}</text>')
    parts.append(
        f'<line class="axis" x1="{left}" x2="{width - right}" y1="{height - bottom}" y2="{height - bottom}"/>'
    )
    for name, (x, y) in points.items():
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(*pixels(x, y), strict=True))
        colour = colours[name]
        parts.append(
            f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.8" '
            'stroke-linejoin="round"/>'
        )
    return svg(width, height, parts)


def _finite(steps: Sequence[float], values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the finite values; more than 400 are replaced by 400 means of neighbours."""
    x, y = np.asarray(steps, float), np.asarray(values, float)
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if len(y) <= 400:
        return x, y
    groups = np.array_split(np.arange(len(y)), 400)
    return np.array([x[group].mean() for group in groups]), np.array([y[group].mean() for group in groups])


def round_ticks(low: float, high: float) -> np.ndarray:
    """Return four to eight round numbers within a range."""
    step = 10 ** np.floor(np.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (factor * step) <= 8)
    return np.arange(np.ceil(low / step), np.floor(high / step + 1e-9) + 1) * step + 0.0  # 0 without a sign


def _log_ticks(low: float, high: float) -> np.ndarray:
    """Return 1, 2 and 5 times the powers of ten within a range; powers of ten alone for a wide range."""
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    ticks = np.outer(powers, [1, 2, 5]).ravel() if len(powers) <= 4 else powers
    return ticks[(ticks >= low) & (ticks <= high)]


def legend(names: Sequence[str], left: float, y: float = 14, *, colours: Mapping[str, str] = COLOURS) -> str:
    """Draw a square of its colour and the title of each series, in a row.

    Args:
        names: names of the series.
        left: left end of the row, pixels.
        y: vertical position of the texts, pixels.
        colours: colour of each series.
    """
    parts, x = [], left
    for name in names:
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" fill="{colours[name]}"/>')
        parts.append(f'<text x="{x + 15}" y="{y}">{_title(name)}</text>')
        x += 34 + 6.2 * len(NETWORK_NAMES.get(name, name))
    return "".join(parts)


def _title(name: str) -> str:
    return escape(NETWORK_NAMES.get(name, name))


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    """Join the parts of a chart to an SVG text of a size in pixels."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" role="img">{_STYLE}{"".join(parts)}</svg>'
    )
