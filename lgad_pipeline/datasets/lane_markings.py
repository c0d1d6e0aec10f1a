"""Lanes from painted lines that are annotated as polylines with curves, one along each edge of the paint."""

import re
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError, bottom_first, points
from lgad_pipeline.lanes.odd_lanes import count_turning
from lgad_pipeline.lanes.spline import ragged

_TYPES = re.compile(r"[LC](?:L|CC[CL])*")
_STEPS = np.linspace(0, 1, 9)[1:, None]  # curve parameters; a curve is approximated by eight chords


def polyline(vertices: Any, types: Any) -> np.ndarray:
    """Convert a polyline whose vertices have types, in Scalabel's format, to points.

    Args:
        vertices: pairs (x, y), pixels.
        types: one character per vertex. `L` is a corner; `C` begins a cubic curve of two control points and
            an end point, which tools mark `C` or `L`. The first character has no effect, as in BDD100K's
            script.

    Returns:
        float32 (N, 2) in the drawn order or its reverse, the lower end first.

    Raises:
        AnnotationError: the vertices are not pairs of numbers, or the types do not fit them.
    """
    corners = points(vertices)
    if not (isinstance(types, str) and types and len(types) == len(corners) and _TYPES.fullmatch(types)):
        raise AnnotationError("has a polyline whose `types` are not L or CCC for its vertices; correct it")
    path, index = [corners[0]], 1
    while index < len(corners):
        if types[index] == "L":
            path.append(corners[index])
            index += 1
        else:
            a, (b, c, d) = path[-1], corners[index : index + 3]
            t, s = _STEPS, 1 - _STEPS
            path.extend(s**3 * a + 3 * s**2 * t * b + 3 * s * t**2 * c + t**3 * d)
            index += 3
    return bottom_first(np.array(path, np.float32))


def centre_lines(edges: Sequence[tuple[str, np.ndarray]], widest: float) -> list[tuple[np.ndarray, int]]:
    """Compute lanes from the edges of painted lines; an edge without a counterpart is a lane itself.

    Two edges belong to one line if they have the same category, share at least half the height of the shorter
    one, and are less than `widest` apart there on average. Pairs are formed in the order of their distance,
    the nearest first. An edge that runs up and down has no one x on each row, and no counterpart.

    Args:
        edges: category and points of each edge; points are float32 (N, 2) as (x, y), pixels, in the order of
            `polyline`.
        widest: width of the widest line, pixels.

    Returns:
        Lanes, float32 (N, 2) as (x, y), the lower end first, each with the index of its first edge: centre
        lines of the pairs at rows about 10 px apart, then the edges without a counterpart.
    """
    pairs = []
    straight = [
        (i, kind, edge[np.argsort(-edge[:, 1], kind="stable")])
        for i, (kind, edge) in enumerate(edges)
        if not count_turning(ragged([edge]))
    ]
    for (i, one, left), (j, other, right) in combinations(straight, 2):
        rows = _shared_rows(left, right) if one == other else ()
        if len(rows):
            xs = np.stack([np.interp(rows, edge[::-1, 1], edge[::-1, 0]) for edge in (left, right)])
            centre = np.stack([xs.mean(axis=0), rows], axis=1).astype(np.float32)
            pairs.append((float(np.abs(xs[0] - xs[1]).mean()), i, j, centre))
    paired: set[int] = set()
    lines = []
    for gap, i, j, centre in sorted(pairs, key=lambda pair: pair[:3]):
        if gap < widest and paired.isdisjoint((i, j)):
            paired |= {i, j}
            lines.append((centre, i))
    return lines + [(edge, i) for i, (_, edge) in enumerate(edges) if i not in paired]


def _shared_rows(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Return rows that both edges cover, bottom first; none if they share less than half of the shorter."""
    bottom, top = min(left[0, 1], right[0, 1]), max(left[-1, 1], right[-1, 1])
    shorter = min(left[0, 1] - left[-1, 1], right[0, 1] - right[-1, 1])
    if bottom - top < max(1.0, 0.5 * shorter):
        return np.zeros(0)
    return np.linspace(bottom, top, max(2, round(float(bottom - top) / 10) + 1))
