"""Road markings other than lane lines: arrows, pedestrian crossings, stop lines and diamonds."""

from itertools import pairwise

import cv2
import numpy as np

from lgad_pipeline.synthetic.road import Ground

Value = float | tuple[float, float, float]

# Outlines in a box of width 1 and length 1 as (across, along), pointing ahead.
_AHEAD = [(-0.08, 0), (0.08, 0), (0.08, 0.6), (0.3, 0.6), (0.0, 1.0), (-0.3, 0.6), (-0.08, 0.6)]
_TURN = [
    (-0.08, 0), (0.08, 0), (0.08, 0.5), (0.4, 0.64), (0.4, 0.52), (0.75, 0.74), (0.4, 0.96), (0.4, 0.84),
    (-0.08, 0.66),
]  # fmt: skip
_HEAD_TURN = [(0.06, 0.35), (0.4, 0.5), (0.4, 0.4), (0.72, 0.6), (0.4, 0.8), (0.4, 0.68), (0.06, 0.53)]


def mark_polygon(mask: np.ndarray, ground: Ground, outline: np.ndarray, value: Value = 255) -> None:
    """Fill a polygon on the road, in place.

    Args:
        mask: mask or image over the ground's rows, uint8 (n, W) or (n, W, 3).
        ground: geometry of the ground.
        outline: corners of the polygon, (N, 2) as (u, z), m.
        value: gray level or BGR colour to fill with.
    """
    # Each edge is divided, so that the outline follows the curvature of the road.
    edges = np.concatenate([outline, outline[:1]])
    steps = np.linspace(0, 1, 5)[:-1, None]
    path = np.concatenate([a + steps * (b - a) for a, b in pairwise(edges)])
    path[:, 1] = np.maximum(path[:, 1], 1.2)
    points = ground.points(path[:, 0], path[:, 1])
    points[:, 1] -= ground.top
    points = np.clip(points, -4000, 6000)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], value, cv2.LINE_AA, 4)


def draw_arrow(mask: np.ndarray, ground: Ground, u: float, z: float, kind: str) -> None:
    """Draw an arrow of 6 m at (u, z); kinds are ahead, left, right, ahead-left and ahead-right."""
    length, width = 6.0, 1.15
    parts = []
    if kind.startswith("ahead"):
        parts.append(_AHEAD)
    if kind.endswith(("left", "right")):
        parts.append(_HEAD_TURN if kind.startswith("ahead") else _TURN)
    flip = -1 if kind.endswith("left") else 1
    for part in parts:
        outline = np.array(part) * [width * flip, length] + [u, z]
        mark_polygon(mask, ground, outline)


def draw_zebra(mask: np.ndarray, ground: Ground, left: float, right: float, z: float, depth: float) -> None:
    """Draw a pedestrian crossing from `left` to `right` (m), with its near edge at distance `z` (m)."""
    for u in np.arange(left, right, 1.05):
        mark_polygon(mask, ground, np.array([[u, z], [u + 0.5, z], [u + 0.5, z + depth], [u, z + depth]]))


def draw_bar(mask: np.ndarray, ground: Ground, left: float, right: float, z: float, depth: float) -> None:
    """Draw a line across the road, such as a stop line, of `depth` m."""
    u = np.linspace(left, right, 8)
    near, far = np.stack([u, np.full(8, z)], 1), np.stack([u, np.full(8, z + depth)], 1)
    mark_polygon(mask, ground, np.concatenate([near, far[::-1]]))


def draw_lozenge(mask: np.ndarray, ground: Ground, u: float, z: float) -> None:
    """Draw the outlined diamond that announces a pedestrian crossing, with its near tip at (u, z)."""
    for scale, value in ((1.0, 255), (0.72, 0)):
        outline = np.array([[0, -1.6], [0.6, 0], [0, 1.6], [-0.6, 0]]) * scale + [u, z + 1.6]
        mark_polygon(mask, ground, outline, value)
