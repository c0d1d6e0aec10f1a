"""Cross-section of the road: lanes, painted lines, edges and roadside."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lgad_pipeline.config.splits import Scenario

Kind = Literal["solid", "dashed"]
Edge = Literal["verge", "kerb", "rail", "wall", "hedge", "fence"]

_VISIBLE = 0.2  # least strength of paint whose type an annotator sees; without lines it is at most 0.12


@dataclass(frozen=True)
class Line:
    """A lane line that runs along the road.

    Attributes:
        u: position, m to the right of the ego lane's middle; of a double line, that of the stripe nearer to
            the car.
        kind: solid or dashed.
        yellow: true for yellow paint, false for white.
        twin: offset of a second stripe, m; 0 for none.
        width: width of the paint, m.
        dash: painted length and period of a dashed line, m, and phase of its first dash.
        strength: 1 for fresh paint, 0 for none.
    """

    u: float
    kind: Kind
    yellow: bool
    twin: float
    width: float
    dash: tuple[float, float, float]
    strength: float

    @property
    def type(self) -> str:
        """Type of the line, such as "double solid yellow"; empty where no paint is visible."""
        if self.strength < _VISIBLE:
            return ""
        return f"{'double ' if self.twin else ''}{self.kind} {'yellow' if self.yellow else 'white'}"


@dataclass(frozen=True)
class Side:
    """One side of the carriageway, from its outermost line outward (distances in m from that line).

    Attributes:
        shoulder: width of paved surface beyond the line.
        edge: kind of the edge at the end of the shoulder.
        strip: width of the strip behind the edge (grass, soil or pavement).
        beyond: number of lanes of another carriageway behind the strip (a divided road), else 0.
        coloured: true if the shoulder is a red lane for buses or bicycles.
    """

    shoulder: float
    edge: Edge
    strip: float
    beyond: int
    coloured: bool


@dataclass(frozen=True)
class Layout:
    """Cross-section of the road.

    Attributes:
        lane_width: width of each lane, m.
        lines: lane lines from left to right.
        ego_left: index in `lines` of the line to the left of the car.
        oncoming: number of lanes of oncoming traffic, left of a yellow line on the same carriageway.
        left: left side of the carriageway.
        right: right side of the carriageway.
        urban: true in a town.
        lane_middles: positions of the lanes' middles, m to the right of the ego lane's middle.
        junction: distances z where a crossing road begins and ends, m; None without one.
    """

    lane_width: float
    lines: list[Line]
    ego_left: int
    oncoming: int
    left: Side
    right: Side
    urban: bool
    lane_middles: list[float]
    junction: tuple[float, float] | None

    @property
    def annotated(self) -> list[Line]:
        """Up to two lines on each side of the car, as in CULane's annotations."""
        return self.lines[max(self.ego_left - 1, 0) : self.ego_left + 3]


def _strength(rng: np.random.Generator, scenario: Scenario, common: float) -> float:
    """Draw the strength of a line's paint around the strength common to the frame."""
    if scenario == "noline":
        return float(rng.uniform(0.0, 0.12)) if rng.random() < 0.35 else 0.0
    if rng.random() < 0.12:
        return float(rng.uniform(0.25, 0.7))
    return float(np.clip(common + rng.normal(0, 0.08), 0.3, 1.0))


def _side(rng: np.random.Generator, urban: bool, divided: bool) -> Side:
    """Draw one side of the carriageway."""
    if divided:
        edge: Edge = rng.choice(["rail", "hedge", "wall", "fence", "kerb"], p=[0.32, 0.26, 0.14, 0.18, 0.10])
        return Side(
            float(rng.uniform(0.3, 1.2)), edge, float(rng.uniform(0.6, 5)), int(rng.integers(1, 4)), False
        )
    if urban:
        edge = rng.choice(["kerb", "fence", "hedge", "verge"], p=[0.55, 0.2, 0.15, 0.1])
    else:
        edge = rng.choice(["verge", "rail", "kerb", "wall"], p=[0.4, 0.4, 0.1, 0.1])
    shoulder = float(rng.uniform(0.25, 1.2) if rng.random() < 0.5 else rng.uniform(1.2, 3.6))
    return Side(
        shoulder, edge, float(rng.uniform(1, 6)), 0, bool(urban and shoulder > 1.5 and rng.random() < 0.3)
    )


def sample_layout(rng: np.random.Generator, scenario: Scenario) -> Layout:
    """Draw a cross-section; the lines left and right of the car always exist.

    Args:
        rng: random generator of the frame.
        scenario: CULane's test category.
    """
    urban = bool(rng.random() < 0.6)
    lane_width = float(rng.uniform(3.1, 3.85))
    lanes = int(rng.choice([1, 2, 3, 4], p=[0.1, 0.38, 0.37, 0.15]))
    ego = int(rng.integers(0, lanes))
    two_way = lanes < 4 and bool(rng.random() < (0.55 if lanes == 1 else 0.28))
    oncoming = int(rng.integers(1, 3)) if two_way else 0
    common = float(rng.uniform(0.7, 1.0))
    width = float(rng.uniform(0.11, 0.19))
    period = float(rng.choice([6.0, 9.0, 12.0, 15.0]))
    dash = (period * float(rng.uniform(0.3, 0.48)), period, float(rng.uniform(0, period)))
    lines = []
    first = -oncoming
    for i in range(first, lanes + 1):
        u = (i - ego - 0.5) * lane_width
        divider = i == 0
        outer = i in (first, lanes)
        yellow = divider and (two_way or rng.random() < 0.35)
        solid = outer or (divider and rng.random() < 0.8) or rng.random() < 0.1
        twin = float(rng.uniform(0.28, 0.42)) if divider and two_way and rng.random() < 0.6 else 0.0
        lines.append(
            Line(
                u=u,
                kind="solid" if solid else "dashed",
                yellow=bool(yellow),
                twin=-twin if u < 0 else twin,
                width=width,
                dash=dash,
                strength=_strength(rng, scenario, common),
            )
        )
    near = float(rng.uniform(-12, 8))
    middles = [(i - ego) * lane_width for i in range(first, lanes)]
    return Layout(
        lane_width=lane_width,
        lines=lines,
        ego_left=ego + oncoming,
        oncoming=oncoming,
        left=_side(rng, urban, divided=not two_way and rng.random() < 0.75),
        right=_side(rng, urban, divided=False),
        urban=urban,
        lane_middles=middles,
        junction=(near, max(near, 0) + float(rng.uniform(14, 34))) if scenario == "crossroad" else None,
    )
