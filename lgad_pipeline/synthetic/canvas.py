"""Canvas for upright objects of the world: polygons and sprites at road positions, seen through haze."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import cv2
import numpy as np

from lgad_pipeline.synthetic import sprites
from lgad_pipeline.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.synthetic.light import Light
from lgad_pipeline.synthetic.road import Ground

Colour = tuple[float, float, float]  # BGR, 0..255


def brightened(colour: Colour, gain: float) -> Colour:
    """Return the colour with its brightness multiplied by `gain`."""
    b, g, r = (float(min(c * gain, 255)) for c in colour)
    return b, g, r


@dataclass(frozen=True)
class Item:
    """Object to draw; items are drawn from far to near.

    Attributes:
        z: distance of the object, m.
        draw: function that draws the object into a frame, uint8 (590, 1640, 3), in place.
    """

    z: float
    draw: Callable[[np.ndarray], None]


class Canvas:
    """Drawing operations at road positions, with haze by distance.

    Attributes:
        ground: geometry of the ground.
        light: light of the frame.
    """

    def __init__(self, ground: Ground, light: Light) -> None:
        self.ground = ground
        self.light = light

    def haze(self, z: float) -> tuple[float, Colour]:
        """Return the share (0..1) and the colour of the haze in front of an object at distance `z` (m)."""
        return 1 - float(np.exp(-z / self.light.haze)), self.light.skyline

    def hazed(self, colour: Colour, z: float) -> Colour:
        """Return a colour as seen through the haze at distance `z` (m)."""
        share, air = self.haze(z)
        b, g, r = (c + (a - c) * share for c, a in zip(colour, air, strict=True))
        return b, g, r

    def polygon(self, image: np.ndarray, points: np.ndarray, colour: Colour, z: float) -> None:
        """Fill a polygon in place; points are (N, 3) as (u, height, z) in m, haze is that of distance `z`."""
        xy = self.ground.points(points[:, 0], np.maximum(points[:, 2], 0.8), points[:, 1])
        xy = np.round(np.clip(xy, -8000, 9000) * 16).astype(np.int32)
        cv2.fillPoly(image, [xy], self.hazed(colour, z), cv2.LINE_AA, 4)

    def sprite(
        self,
        image: np.ndarray,
        sprite: sprites.Sprite,
        u: float,
        z: float,
        height: float,
        gain: Colour,
        flip: bool,
    ) -> None:
        """Paste a sprite of `height` m with its foot at (u, z), in place."""
        x, y = self.ground.points(u, z)
        size = height * self.ground.camera.focal / z
        half = 0.5 * size * sprite.aspect
        if size < 2 or x + half < 0 or x - half > FRAME_WIDTH:
            return
        sprites.paste(image, sprite, float(x), float(y) + 0.02 * size, size, gain, self.haze(z), flip)


def strip_along(canvas: Canvas, u: float, bands: list[tuple[float, float, Colour]], far: float) -> list[Item]:
    """Create a wall or rail along the road, as items whose length grows with distance.

    Args:
        canvas: canvas that the items are drawn on.
        u: position, m to the right of the ego lane's middle.
        bands: lower height (m), upper height (m) and colour of each horizontal band.
        far: distance z of the far end, m.
    """
    edges = np.geomspace(1.2, far, 15)
    items = []

    def draw(image: np.ndarray, near: float, end: float) -> None:
        z = np.linspace(near, end, 4)
        for low, high, colour in bands:
            lower = np.stack([np.full(4, u), np.full(4, low), z], 1)
            upper = np.stack([np.full(4, u), np.full(4, high), z], 1)[::-1]
            canvas.polygon(image, np.concatenate([lower, upper]), colour, near)

    for near, end in pairwise(edges):
        items.append(Item(float(near), partial(draw, near=float(near), end=float(end) * 1.002)))
    return items


def posts_along(
    canvas: Canvas, u: float, width: float, height: float, step: float, colour: Colour, far: float
) -> list[Item]:
    """Create posts of `width` x `height` m along the road, `step` m apart, up to distance `far`."""
    items = []

    def draw(image: np.ndarray, z: float) -> None:
        half = 0.5 * width
        corners = np.array([[u - half, 0, z], [u + half, 0, z], [u + half, height, z], [u - half, height, z]])
        canvas.polygon(image, corners, colour, z)

    for z in np.arange(2.0, far, step):
        items.append(Item(float(z), partial(draw, z=float(z))))
    return items
