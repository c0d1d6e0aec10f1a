"""The ground: the surfaces across the road, their texture, and the paint on them."""

import cv2
import numpy as np

from lgad_pipeline.data.synthetic import textures
from lgad_pipeline.data.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.data.synthetic.layout import Layout
from lgad_pipeline.data.synthetic.paint import draw_line
from lgad_pipeline.data.synthetic.road import Ground

Colour = tuple[float, float, float]  # BGR, 0..255


def fill_band(image: np.ndarray, ground: Ground, left: float, right: float, colour: Colour) -> None:
    """Fill the band between two lines along the road, `left` and `right` m from the ego lane's middle."""
    rows = np.arange(len(ground.rows), dtype=np.float64)
    a = np.stack([np.clip(ground.columns(left), -9000, 9000), rows], 1)
    b = np.stack([np.clip(ground.columns(right), -9000, 9000), rows], 1)[::-1]
    polygon = np.round(np.concatenate([a, b]) * 16).astype(np.int32)
    cv2.fillPoly(image, [polygon], colour, cv2.LINE_AA, 4)


class Plane:
    """Road coordinates of every ground pixel, in steps of the road tile.

    Attributes:
        u: (n, 1640) float32, tile columns.
        s: (n, 1) float32, tile rows, not wrapped.
    """

    def __init__(self, ground: Ground) -> None:
        density = textures.TILE_DENSITY
        across = (density / (ground.scale * ground.stretch)).astype(np.float32)[:, None]
        start = (-ground.middle[:, None] * across).astype(np.float32) + np.float32(
            density * textures.TILE_HALF
        )
        self.u = np.arange(FRAME_WIDTH, dtype=np.float32)[None, :] * across + start
        self.s = (ground.along * density).astype(np.float32)[:, None]

    def sample(self, tile: np.ndarray, phase: float, zoom: float = 1.0) -> np.ndarray:
        """(n, 1640) `tile` laid on the ground, moved `phase` steps along the road, `zoom` times as dense."""
        size = tile.shape[0]
        s = np.ascontiguousarray(np.broadcast_to((self.s * zoom + phase) % (size - 1), self.u.shape))
        u = self.u if zoom == 1 else self.u * np.float32(zoom)
        return cv2.remap(tile, u, s, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def paint_layer(
    image: np.ndarray, plane: Plane, mask: np.ndarray, colour: Colour, wear: float, phase: int
) -> None:
    """Lay paint of `colour` on `image` (n, W, 3) where `mask` (n, W) uint8 covers, worn off by `wear` in 0..1."""
    y, x = np.nonzero(mask)
    if not len(y):
        return
    alpha = mask[y, x].astype(np.float32) / 255
    # Eight wear steps a tile step: flakes of a centimetre.
    noise = textures.wear_tile()[
        (plane.s[y, 0] * 3 + phase).astype(np.int64) & 511, (plane.u[y, x] * 4).astype(np.int64) & 511
    ]
    alpha *= np.clip(1.15 - wear * (0.9 + 1.1 * noise), 0, 1)
    below = image[y, x].astype(np.float32)
    tone = np.asarray(colour, np.float32) * (1 + 0.04 * noise[:, None])
    image[y, x] = np.clip(below + (tone - below) * alpha[:, None], 0, 255).astype(np.uint8)


def line_masks(ground: Ground, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Coverage of white and of yellow lane lines over the ground's rows, (n, 1640) uint8 each."""
    white = np.zeros((len(ground.rows), FRAME_WIDTH), np.uint8)
    yellow = np.zeros_like(white)
    for line in layout.lines:
        if line.strength > 0:
            draw_line(yellow if line.yellow else white, ground, line)
    return white, yellow


def road_surface(rng: np.random.Generator, ground: Ground, layout: Layout, plane: Plane) -> np.ndarray:
    """(n, 1640, 3) uint8 ground without paint or light, BGR."""
    n = len(ground.rows)
    land = np.array([50, 110, 95]) + rng.normal(0, 14, 3)
    image = np.empty((n, FRAME_WIDTH, 3), np.uint8)
    image[:] = np.clip(land, 0, 255).astype(np.uint8)
    grey = float(rng.uniform(70, 150))
    asphalt = tuple(float(v) for v in grey * np.array([1.0, 0.98, 0.97]) + rng.normal(0, 3, 3))
    left, right = layout.lines[0].u, layout.lines[-1].u
    fill_band(image, ground, left - layout.left.shoulder, right + layout.right.shoulder, asphalt)
    if layout.left.beyond:
        start = left - layout.left.shoulder - layout.left.strip
        fill_band(image, ground, start - 3.6 * layout.left.beyond - 1, start, asphalt)
    tile = textures.road_tiles()[int(rng.integers(0, 4))]
    texture = plane.sample(tile, float(rng.integers(0, 1000)))
    return cv2.multiply(image, cv2.cvtColor(texture, cv2.COLOR_GRAY2BGR), scale=1 / 128)
