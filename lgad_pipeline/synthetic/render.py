"""Renderer of one frame of the road world, as a function of seed, index and scenario."""

from dataclasses import dataclass

import cv2
import numpy as np

from lgad_pipeline.config.splits import Scenario
from lgad_pipeline.synthetic import camera_effects, surface
from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH, sample_camera
from lgad_pipeline.synthetic.canvas import Canvas
from lgad_pipeline.synthetic.cockpit import draw_bonnet, draw_frame_marks, draw_reflection
from lgad_pipeline.synthetic.layout import Layout, sample_layout
from lgad_pipeline.synthetic.light import Light, draw_sky, sample_light
from lgad_pipeline.synthetic.road import Ground, sample_shape
from lgad_pipeline.synthetic.road_marks import draw_arrow, draw_bar, draw_lozenge, draw_zebra
from lgad_pipeline.synthetic.scenery import backdrop, roadside
from lgad_pipeline.synthetic.vehicles import sample_traffic, vehicle_items, visible_lamps

ROW_STEP = 10  # distance of two points of an annotated lane, frame rows


@dataclass(frozen=True)
class Scene:
    """A rendered frame.

    Attributes:
        image: uint8 (590, 1640, 3), BGR.
        lanes: annotated lanes from left to right, float64 (N, 2) each as (x, y), frame pixels, bottom first,
            10 rows apart.
        scenario: CULane's test category.
        types: type of each lane, such as "solid yellow"; empty where no paint is visible.
    """

    image: np.ndarray
    lanes: list[np.ndarray]
    scenario: Scenario
    types: list[str]


def lane_points(ground: Ground, u: float, top: float) -> np.ndarray:
    """Compute the points of a lane line on the rows 590, 580, ...

    As in CULane, a lane that leaves the frame at its side keeps one point beyond the border.

    Args:
        ground: geometry of the ground.
        u: position of the line, m to the right of the ego lane's middle.
        top: frame row that all points are below, pixels.

    Returns:
        float64 (N, 2) as (x, y), frame pixels, bottom first; N = 0 if fewer than two points are in the frame.
    """
    fine = np.arange(FRAME_HEIGHT + 60, top - 20, -2.0)
    z = ground.distance(fine)
    columns = ground.camera.centre_x + ground.camera.focal * ground.shape.lateral(u, z) / z
    points = np.stack([columns, fine], 1)
    if ground.camera.roll:
        matrix = ground.camera.roll_matrix()
        points = points @ matrix[:, :2].T + matrix[:, 2]
    rows = np.arange(FRAME_HEIGHT, top, -ROW_STEP, dtype=np.float64)
    x = np.interp(rows, points[::-1, 1], points[::-1, 0])
    inside = (x >= 0) & (x <= FRAME_WIDTH - 1)
    if inside.sum() < 2:
        return np.empty((0, 2))
    first, last = np.flatnonzero(inside)[[0, -1]]
    span = slice(max(first - 1, 0), min(last + 2, len(rows)))
    return np.stack([np.round(x[span], 2), rows[span]], 1)


def annotate(ground: Ground, layout: Layout, margin: float) -> list[tuple[np.ndarray, str]]:
    """Annotate the lanes of a frame as in CULane.

    Args:
        ground: geometry of the ground.
        layout: cross-section of the road.
        margin: distance of the lanes' upper ends from the vanishing row of the road, pixels.

    Returns:
        Lanes of at least 3 points, from left to right, and their types; see `Scene`.
    """
    lanes = [(lane_points(ground, line.u, ground.vanishing + margin), line.type) for line in layout.annotated]
    return [(points, type_) for points, type_ in lanes if len(points) >= 3]


def _marks(
    mask: np.ndarray, rng: np.random.Generator, ground: Ground, layout: Layout, scenario: Scenario
) -> None:
    """Draw the road markings other than lane lines into `mask`, uint8 (n, 1640), in place."""
    left, right = layout.lines[0].u, layout.lines[-1].u
    if scenario == "arrow" or (scenario != "noline" and rng.random() < 0.14):
        z = float(rng.uniform(6, 22))
        for number, middle in enumerate(layout.lane_middles):
            if number < layout.oncoming or rng.random() < 0.15:
                continue
            kind = ["ahead", "left", "right", "ahead-left", "ahead-right"][int(rng.integers(0, 5))]
            for distance in (z, z + float(rng.uniform(18, 40))):
                draw_arrow(mask, ground, middle + float(rng.normal(0, 0.1)), distance, kind)
    if scenario not in ("noline", "crossroad") and rng.random() < 0.08:
        for middle in layout.lane_middles[layout.oncoming :]:
            draw_lozenge(mask, ground, middle, float(rng.uniform(10, 40)))
    depth = float(rng.uniform(3, 5))
    if layout.junction:
        near, far = layout.junction
        for z in (near - depth - 1, far + 1):
            if z > 2 and rng.random() < 0.75:
                draw_zebra(mask, ground, left - 1, right + 1, z, depth)
        if near > 9:
            draw_bar(mask, ground, left, right, near - depth - 3, 0.35)
    elif scenario not in ("noline", "curve") and rng.random() < 0.1:
        z = float(rng.uniform(20, 70))
        draw_zebra(mask, ground, left - 1, right + 1, z, depth)
        draw_bar(mask, ground, left, right, z - 2.5, 0.35)


def _floor(
    rng: np.random.Generator, ground: Ground, layout: Layout, light: Light, scenario: Scenario
) -> np.ndarray:
    """Draw the ground with paint and shade, uint8 (n, 1640, 3), BGR, over the ground's rows."""
    tile_coordinates = surface.TileCoordinates(ground)
    floor = surface.road_surface(rng, ground, layout, tile_coordinates)
    white, yellow = surface.line_masks(ground, layout)
    _marks(white, rng, ground, layout, scenario)
    wear = float(rng.uniform(0, 0.75)) ** 2
    bright = float(rng.uniform(175, 245))
    surface.paint_layer(
        floor, tile_coordinates, white, (bright, bright, bright), wear, int(rng.integers(0, 512))
    )
    surface.paint_layer(
        floor, tile_coordinates, yellow, (55, 0.72 * bright, 0.93 * bright), wear, int(rng.integers(0, 512))
    )
    heavy = scenario == "shadow"
    if light.hardness > 0.12 and (heavy or rng.random() < 0.65):
        floor = surface.shade_ground(
            floor, surface.cast_shade(rng, ground, tile_coordinates, light, layout, heavy), light
        )
    return floor


def render(seed: int, index: int, scenario: Scenario) -> Scene:
    """Render one frame; the same arguments give the same frame, bit for bit.

    Args:
        seed: seed of the world.
        index: index of the frame in the world.
        scenario: CULane's test category.
    """
    rng = np.random.default_rng([seed, index])
    camera = sample_camera(rng)
    ground = Ground(camera, sample_shape(rng, curved=scenario == "curve"))
    layout = sample_layout(rng, scenario)
    light = sample_light(rng, scenario)
    canvas = Canvas(ground, light)

    image = np.zeros((FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8)
    draw_sky(image, rng, light, ground.top)
    backdrop(image, rng, canvas, layout.urban)
    image[ground.top :] = _floor(rng, ground, layout, light, scenario)

    lamps: list[np.ndarray] = []
    cars = sample_traffic(rng, layout, crowded=scenario == "crowd")
    items = roadside(rng, canvas, layout, lamps) + vehicle_items(canvas, cars)
    for item in sorted(items, key=lambda item: -item.z):
        item.draw(image)

    if light.weather == "night":
        camera_effects.apply_night_light(image, rng, light, ground, lamps)
        shining = [(lamp, light.lamps, 1.0) for lamp in lamps] + camera_effects.sample_city_lights(
            rng, layout.urban
        )
        camera_effects.draw_lamps(
            image, ground, shining + visible_lamps(cars, ground), wet=bool(rng.random() < 0.35)
        )
    if scenario == "dazzle":
        camera_effects.add_glare(image, rng, light, ground)
    if camera.roll:
        image = cv2.warpAffine(
            image, camera.roll_matrix(), (FRAME_WIDTH, FRAME_HEIGHT), borderMode=cv2.BORDER_REPLICATE
        )
    if rng.random() < 0.6:
        draw_bonnet(image, rng, camera.horizon, light.ambient)
    if rng.random() < 0.3:
        draw_reflection(image, rng)
    image = camera_effects.apply_camera_response(image, rng, light, scenario)
    draw_frame_marks(image, rng)
    lanes = [] if scenario == "crossroad" else annotate(ground, layout, float(rng.uniform(10, 22)))
    return Scene(image, [points for points, _ in lanes], scenario, [type_ for _, type_ in lanes])
