"""Lane lines, drawn by the exact coverage of each pixel row."""

import numpy as np

from lgad_pipeline.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.synthetic.layout import Line
from lgad_pipeline.synthetic.road import Ground


def _painted_length(along: np.ndarray, dash: tuple[float, float, float]) -> np.ndarray:
    """Return the length of paint on a dashed line from its start up to `along`, m."""
    length, period, phase = dash
    whole, rest = np.divmod(along + phase, period)
    return whole * length + np.minimum(rest, length)


def _row_coverage(ground: Ground, line: Line) -> np.ndarray:
    """Return the painted share of the stretch of road that each row shows, float64 (n,)."""
    if line.kind == "solid":
        return np.ones(len(ground.rows))
    painted = _painted_length(ground.along_far, line.dash) - _painted_length(ground.along_near, line.dash)
    return painted / np.maximum(ground.along_far - ground.along_near, 1e-9)


def _stripe(mask: np.ndarray, ground: Ground, u: float, width: float, rows: np.ndarray) -> None:
    """Add one stripe to a mask, in place, by the area of each pixel that it covers.

    Args:
        mask: coverage over the ground's rows, uint8 (n, W).
        ground: geometry of the ground.
        u: position of the stripe's middle, m to the right of the ego lane's middle.
        width: width of the stripe, m.
        rows: painted share of each row, float64 (n,).
    """
    columns = ground.columns(u)
    half = 0.5 * width * ground.scale * ground.stretch
    # Within the height of a pixel row the stripe moves sideways, which softens its edges by that distance.
    soft = 0.5 * np.maximum(1, np.abs(np.gradient(columns)))
    reach = half + soft
    keep = (columns + reach > 0) & (columns - reach < FRAME_WIDTH - 1) & (rows > 0)
    visible = np.flatnonzero(keep)
    if not len(visible):
        return
    for part in np.array_split(visible, 3):
        if not len(part):
            continue
        span = int(np.ceil(2 * reach[part].max())) + 2
        x = np.floor(columns[part] - span / 2).astype(np.int64)[:, None] + np.arange(span + 1)
        distance = np.abs(x - columns[part, None])
        # The coverage is a trapezium: a box as wide as the stripe, smoothed by a box as wide as its edge.
        peak = np.minimum(1, half[part] / soft[part])[:, None]
        cover = np.clip((reach[part, None] - distance) / (2 * soft[part, None]), 0, peak) * rows[part, None]
        inside = (x >= 0) & (x < FRAME_WIDTH)
        y = np.broadcast_to(part[:, None], x.shape)[inside]
        index = (y, x[inside])
        mask[index] = np.maximum(mask[index], (255 * cover[inside]).astype(np.uint8))


def draw_line(mask: np.ndarray, ground: Ground, line: Line) -> None:
    """Draw a lane line with its second stripe, in place.

    Args:
        mask: coverage over the ground's rows, uint8 (n, 1640).
        ground: geometry of the ground.
        line: lane line.
    """
    rows = _row_coverage(ground, line) * line.strength
    _stripe(mask, ground, line.u, line.width, rows)
    if line.twin:
        _stripe(mask, ground, line.u + line.twin, line.width, rows)
