"""Paint on the road: lane lines by exact coverage of each pixel row, marks as polygons."""

import numpy as np

from lgad_pipeline.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.synthetic.layout import Line
from lgad_pipeline.synthetic.road import Ground


def _painted_length(along: np.ndarray, dash: tuple[float, float, float]) -> np.ndarray:
    """Metres of paint on a dashed line from its start up to `along`."""
    length, period, phase = dash
    whole, rest = np.divmod(along + phase, period)
    return whole * length + np.minimum(rest, length)


def _row_coverage(ground: Ground, line: Line) -> np.ndarray:
    """(n,) share of each row's stretch of road that carries paint."""
    if line.kind == "solid":
        return np.ones(len(ground.rows))
    painted = _painted_length(ground.along_far, line.dash) - _painted_length(ground.along_near, line.dash)
    return painted / np.maximum(ground.along_far - ground.along_near, 1e-9)


def _stripe(mask: np.ndarray, ground: Ground, u: float, width: float, rows: np.ndarray) -> None:
    """Add one stripe to `mask` (n, W) uint8 by the area that it covers of every pixel."""
    columns = ground.columns(u)
    half = 0.5 * width * ground.scale * ground.stretch
    # A pixel row has a height: the stripe moves by `lean` px within it, which softens its edges by as much.
    soft = 0.5 * np.maximum(1, np.abs(np.gradient(columns)))
    reach = half + soft
    keep = (columns + reach > 0) & (columns - reach < FRAME_WIDTH - 1) & (rows > 0)
    index = np.flatnonzero(keep)
    if not len(index):
        return
    for part in np.array_split(index, 3):
        if not len(part):
            continue
        span = int(np.ceil(2 * reach[part].max())) + 2
        x = np.floor(columns[part] - span / 2).astype(np.int64)[:, None] + np.arange(span + 1)
        distance = np.abs(x - columns[part, None])
        # A box as wide as the stripe, smoothed by a box as wide as a pixel and its lean: a trapezium.
        peak = np.minimum(1, half[part] / soft[part])[:, None]
        cover = np.clip((reach[part, None] - distance) / (2 * soft[part, None]), 0, peak) * rows[part, None]
        inside = (x >= 0) & (x < FRAME_WIDTH)
        y = np.broadcast_to(part[:, None], x.shape)[inside]
        at = (y, x[inside])
        mask[at] = np.maximum(mask[at], (255 * cover[inside]).astype(np.uint8))


def draw_line(mask: np.ndarray, ground: Ground, line: Line) -> None:
    """Draw a lane line with its twin into `mask`, (n, 1640) uint8 coverage over the ground's rows."""
    rows = _row_coverage(ground, line) * line.strength
    _stripe(mask, ground, line.u, line.width, rows)
    if line.twin:
        _stripe(mask, ground, line.u + line.twin, line.width, rows)
