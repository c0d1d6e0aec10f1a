"""Surfaces of the ground: bands across the road, their texture, the paint and the shade on them."""

import cv2
import numpy as np

from lgad_pipeline.synthetic import textures
from lgad_pipeline.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.synthetic.layout import Layout
from lgad_pipeline.synthetic.light import Light
from lgad_pipeline.synthetic.line_paint import draw_line
from lgad_pipeline.synthetic.road import NEAR, Ground
from lgad_pipeline.synthetic.road_marks import mark_polygon

Colour = tuple[float, float, float]  # BGR, 0..255


def fill_band(image: np.ndarray, ground: Ground, left: float, right: float, colour: Colour) -> None:
    """Fill the band between two lines along the road, in place.

    Args:
        image: picture of the ground, uint8 (n, W, 3), BGR, over the ground's rows.
        ground: geometry of the ground.
        left: position of the left line, m to the right of the ego lane's middle.
        right: position of the right line, m to the right of the ego lane's middle.
        colour: BGR, 0..255.
    """
    rows = np.arange(len(ground.rows), dtype=np.float64)
    a = np.stack([np.clip(ground.columns(left), -9000, 9000), rows], 1)
    b = np.stack([np.clip(ground.columns(right), -9000, 9000), rows], 1)[::-1]
    polygon = np.round(np.concatenate([a, b]) * 16).astype(np.int32)
    cv2.fillPoly(image, [polygon], colour, cv2.LINE_AA, 4)


class TileCoordinates:
    """Coordinates of every ground pixel in the road tile.

    Attributes:
        u: tile columns, float32 (n, 1640).
        s: tile rows, not wrapped, float32 (n, 1).
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
        """Sample a tile at every ground pixel.

        Args:
            tile: uint8 (size, size), repeated along the road.
            phase: offset along the road, tile rows.
            zoom: factor of the density.

        Returns:
            uint8 (n, 1640).
        """
        size = tile.shape[0]
        s = np.ascontiguousarray(np.broadcast_to((self.s * zoom + phase) % (size - 1), self.u.shape))
        u = self.u if zoom == 1 else self.u * np.float32(zoom)
        return cv2.remap(tile, u, s, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def paint_layer(
    image: np.ndarray,
    tile_coordinates: TileCoordinates,
    mask: np.ndarray,
    colour: Colour,
    wear: float,
    phase: int,
) -> None:
    """Blend worn paint into a picture of the ground, in place.

    Args:
        image: uint8 (n, W, 3), BGR.
        tile_coordinates: tile coordinates of the ground's pixels.
        mask: coverage of the paint, uint8 (n, W).
        colour: BGR, 0..255.
        wear: degree of wear, 0..1.
        phase: offset of the wear texture along the road, texture rows.
    """
    y, x = np.nonzero(mask)
    if not len(y):
        return
    alpha = mask[y, x].astype(np.float32) / 255
    # The wear texture is denser than the road tile, so that flakes have about a centimetre.
    noise = textures.wear_tile()[
        (tile_coordinates.s[y, 0] * 3 + phase).astype(np.int64) & 511,
        (tile_coordinates.u[y, x] * 4).astype(np.int64) & 511,
    ]
    alpha *= np.clip(1.15 - wear * (0.9 + 1.1 * noise), 0, 1)
    below = image[y, x].astype(np.float32)
    tone = np.asarray(colour, np.float32) * (1 + 0.04 * noise[:, None])
    image[y, x] = np.clip(below + (tone - below) * alpha[:, None], 0, 255).astype(np.uint8)


def line_masks(ground: Ground, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Draw the coverage of white and of yellow lane lines over the ground's rows, uint8 (n, 1640) each."""
    white = np.zeros((len(ground.rows), FRAME_WIDTH), np.uint8)
    yellow = np.zeros_like(white)
    for line in layout.lines:
        if line.strength > 0:
            draw_line(yellow if line.yellow else white, ground, line)
    if layout.junction:
        near, far = layout.junction
        crossing = (ground.z > near - 1) & (ground.z < far + 1)
        white[crossing] = 0
        yellow[crossing] = 0
    return white, yellow


def _colour(values: np.ndarray) -> Colour:
    """Convert an array of three values to a colour, clipped to 0..255."""
    b, g, r = np.clip(values, 0, 255)
    return float(b), float(g), float(r)


def road_surface(
    rng: np.random.Generator, ground: Ground, layout: Layout, tile_coordinates: TileCoordinates
) -> np.ndarray:
    """Draw the ground without paint and shade, uint8 (n, 1640, 3), BGR."""
    n = len(ground.rows)
    image = np.empty((n, FRAME_WIDTH, 3), np.uint8)
    grass, soil, paving = np.array([45, 105, 88]), np.array([95, 118, 135]), np.array([138, 142, 146])
    kinds = [paving, soil, grass] if layout.urban else [grass, grass, soil]
    left, right = layout.lines[0].u, layout.lines[-1].u
    left_end, right_end = left - layout.left.shoulder, right + layout.right.shoulder
    concrete = rng.random() < 0.2
    grey = float(rng.uniform(120, 175) if concrete else rng.uniform(62, 128))
    warmth = np.array([0.97, 1.0, 1.02]) if concrete else np.array([1.03, 1.0, 0.98])
    asphalt = grey * warmth + rng.normal(0, 2.5, 3)
    land = kinds[int(rng.integers(0, 3))] * rng.uniform(0.7, 1.25) + rng.normal(0, 8, 3)
    image[:] = np.clip(land, 0, 255).astype(np.uint8)
    far_left = left_end
    if layout.left.beyond:
        start = left_end - layout.left.strip
        fill_band(image, ground, start - 3.6 * layout.left.beyond - 1.5, start, _colour(asphalt * 0.97))
        strip = kinds[int(rng.integers(0, 3))] * rng.uniform(0.7, 1.2)
        fill_band(image, ground, start, left_end, _colour(strip))
        far_left = start - 3.6 * layout.left.beyond - 1.5
    near = kinds[int(rng.integers(0, 3))] * rng.uniform(0.75, 1.2)
    fill_band(image, ground, far_left - layout.left.strip, far_left, _colour(near))
    fill_band(image, ground, right_end, right_end + layout.right.strip, _colour(near))
    _rough(image, rng, tile_coordinates)
    fill_band(image, ground, left_end, right_end, _colour(asphalt))
    if layout.right.coloured:
        fill_band(
            image,
            ground,
            right + 0.2,
            right_end - 0.1,
            _colour(np.array([60, 62, 165]) * rng.uniform(0.7, 1.1)),
        )
    elif layout.right.shoulder > 0.8 and rng.random() < 0.4:
        fill_band(image, ground, right + 0.3, right_end, _colour(asphalt * rng.uniform(0.8, 1.2)))
    _wheel_tracks(image, rng, ground, layout, asphalt)
    if layout.junction:
        near, far = max(layout.junction[0], NEAR), layout.junction[1]
        crossing_road = np.array([[-150, near], [150, near], [150, far], [-150, far]])
        mark_polygon(image, ground, crossing_road, _colour(asphalt * rng.uniform(0.92, 1.05)))
    if concrete or rng.random() < 0.12:
        _joints(image, rng, ground, left_end, right_end, asphalt)
    tile = textures.road_tiles()[int(rng.integers(0, 4))]
    texture = tile_coordinates.sample(tile, float(rng.integers(0, 1000)))
    texture = _stony(texture, rng)
    return cv2.multiply(image, cv2.cvtColor(texture, cv2.COLOR_GRAY2BGR), scale=1 / 128)


def _rough(image: np.ndarray, rng: np.random.Generator, tile_coordinates: TileCoordinates) -> None:
    """Add clumps of grass and soil to the area that is not road, in place."""
    clumps = tile_coordinates.sample(textures.blobs(), float(rng.integers(0, 1000)), 2.0)
    depth = float(rng.uniform(0.25, 0.6))
    table = np.clip(255 * (1 - depth + depth * np.linspace(0, 1, 256) ** 0.8), 0, 255).astype(np.uint8)
    level = cv2.LUT(clumps, table)
    cv2.multiply(image, cv2.merge([level, level, level]), image, scale=1.25 / 255)


def _wheel_tracks(
    image: np.ndarray, rng: np.random.Generator, ground: Ground, layout: Layout, asphalt: np.ndarray
) -> None:
    """Draw two darker or lighter wheel tracks in each lane, and the oil stain between them, in place."""
    gain = float(rng.normal(0, 0.06))
    for middle in layout.lane_middles:
        for offset, half, share in ((-0.8, 0.32, 1.0), (0.8, 0.32, 1.0), (0.0, 0.35, -0.8)):
            u = middle + offset + float(rng.normal(0, 0.05))
            fill_band(image, ground, u - half, u + half, _colour(asphalt * (1 + 0.5 * gain * share)))
            fill_band(image, ground, u - half / 2, u + half / 2, _colour(asphalt * (1 + gain * share)))


def _joints(
    image: np.ndarray,
    rng: np.random.Generator,
    ground: Ground,
    left: float,
    right: float,
    asphalt: np.ndarray,
) -> None:
    """Draw the joints between the slabs of a concrete road, in place."""
    dark = _colour(asphalt * float(rng.uniform(0.6, 0.85)))
    for z in np.arange(float(rng.uniform(2, 7)), 60, float(rng.uniform(4.5, 6))):
        ends = ground.points(np.array([left, right]), np.array([z, z]))
        ends[:, 1] -= ground.top
        corners = np.round(np.clip(ends, -9000, 9000) * 16).astype(np.int32)
        thickness = max(1, int(0.02 * ground.camera.focal / z))
        cv2.line(image, corners[0].tolist(), corners[1].tolist(), dark, thickness, cv2.LINE_AA, 4)


def _stony(texture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add fine grain that fades towards the horizon to a texture, uint8 (n, W)."""
    n = len(texture)
    stones = textures.stones()
    y, x = int(rng.integers(0, 512 - min(n, 500))), int(rng.integers(0, 2048 - FRAME_WIDTH))
    piece = stones[y : y + n, x : x + FRAME_WIDTH]
    strength = float(rng.uniform(0.05, 0.4))
    out = texture.copy()
    parts = 6  # the grain grows towards the camera in steps too small to be visible
    for k in range(parts):
        rows = slice(k * n // parts, (k + 1) * n // parts)
        share = strength * (k + 0.5) / parts
        out[rows] = cv2.addWeighted(texture[rows], 1, piece[rows], share, -128 * share)
    return out


def cast_shade(
    rng: np.random.Generator,
    ground: Ground,
    tile_coordinates: TileCoordinates,
    light: Light,
    layout: Layout,
    heavy: bool,
) -> np.ndarray:
    """Draw the depth of shade of trees, poles and buildings on each ground pixel, uint8 (n, 1640)."""
    shade = np.zeros(tile_coordinates.u.shape, np.uint8)
    left = layout.lines[0].u - layout.left.shoulder
    right = layout.lines[-1].u + layout.right.shoulder
    if heavy or rng.random() < 0.7:
        spots = tile_coordinates.sample(
            textures.blobs(), float(rng.integers(0, 1000)), float(rng.uniform(0.6, 1.6))
        )
        # Shade reaches inward from the sun's side of the road; heavy shade covers the whole road.
        edge = left if light.sun < 0 else right
        reach = float(rng.uniform(6, 25) if heavy else rng.uniform(1, 10))
        border = (edge - light.sun * reach + textures.TILE_HALF) * textures.TILE_DENSITY
        inward = (tile_coordinates.u - np.float32(border)) * np.float32(
            light.sun / (textures.TILE_DENSITY * 2.5)
        )
        need = np.clip(inward, -1, 1) * np.float32(rng.uniform(70, 120)) - np.float32(rng.uniform(0, 40))
        level = (spots.astype(np.float32) - 128 + need) * np.float32(rng.uniform(4, 14))
        shade = np.clip(level, 0, 255).astype(np.uint8)
    if rng.random() < (0.8 if heavy else 0.3):
        slant = float(rng.uniform(-0.6, 0.6))
        for _ in range(int(rng.integers(1, 7))):
            z, depth = float(rng.uniform(3, 70)), float(np.exp(rng.uniform(np.log(0.2), np.log(14))))
            u = (
                np.linspace(left - 6, right + 6, 6)
                if rng.random() < 0.6
                else np.linspace(0, light.sun * 30, 6)
            )
            near = np.stack([u, z + slant * u], 1)
            outline = np.concatenate([near, near[::-1] + np.array([0, depth])])
            outline[:, 1] = np.maximum(outline[:, 1], 1.2)
            mark_polygon(shade, ground, outline)
    return cv2.GaussianBlur(shade, (5, 3), 1.2)


def shade_ground(floor: np.ndarray, shade: np.ndarray, light: Light) -> np.ndarray:
    """Darken a picture of the ground (n, W, 3) by the depth of shade, uint8 (n, W); shade is bluish."""
    keep = 1 - light.hardness * np.array([0.92, 0.98, 1.0])
    table = (255 - np.arange(256)[:, None] * (1 - keep)).astype(np.uint8)[None]
    return cv2.multiply(
        floor, cv2.LUT(cv2.merge([shade, shade, shade]), table.reshape(1, 256, 3)), scale=1 / 255
    )
