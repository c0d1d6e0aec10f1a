"""One frame of the road world, from its seed."""

from dataclasses import dataclass

import cv2
import numpy as np

from lgad_pipeline.data.synthetic import surface
from lgad_pipeline.data.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH, sample_camera
from lgad_pipeline.data.synthetic.config import Scenario
from lgad_pipeline.data.synthetic.layout import Layout, sample_layout
from lgad_pipeline.data.synthetic.road import Ground, sample_shape

ROW_STEP = 10  # px between two points of an annotated lane


@dataclass(frozen=True)
class Scene:
    """A rendered frame.

    Attributes:
        image: (590, 1640, 3) uint8, BGR.
        lanes: left to right, each (N, 2) float64 frame points, bottom first, every 10 rows.
        scenario: CULane's category.
    """

    image: np.ndarray
    lanes: list[np.ndarray]
    scenario: Scenario


def lane_points(ground: Ground, u: float, top: float) -> np.ndarray:
    """(N, 2) points of the line at `u`, bottom first, on rows 590, 580, ... down to row `top`.

    As in CULane, a lane that leaves the frame at its side keeps one point beyond the border.
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
    return np.stack([x[span], rows[span]], 1)


def annotate(ground: Ground, layout: Layout, margin: float) -> list[np.ndarray]:
    """Lanes as CULane's annotators draw them, up to `margin` px below the point where the road vanishes."""
    lanes = [lane_points(ground, line.u, ground.vanishing + margin) for line in layout.annotated]
    return [lane for lane in lanes if len(lane) >= 3]


def render(seed: int, index: int, scenario: Scenario) -> Scene:
    """Draw frame `index` of the world `seed`; the same arguments give the same frame, bit for bit."""
    rng = np.random.default_rng([seed, index])
    camera = sample_camera(rng)
    ground = Ground(camera, sample_shape(rng, curved=scenario == "curve"))
    layout = sample_layout(rng, scenario)
    image = np.empty((FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8)
    image[:] = np.clip(np.array([235, 200, 150]) + rng.normal(0, 20, 3), 0, 255).astype(np.uint8)
    plane = surface.Plane(ground)
    floor = surface.road_surface(rng, ground, layout, plane)
    white, yellow = surface.line_masks(ground, layout)
    wear = float(rng.uniform(0, 0.5)) ** 2 * 2
    surface.paint_layer(floor, plane, white, (215, 215, 215), wear, int(rng.integers(0, 512)))
    surface.paint_layer(floor, plane, yellow, (40, 165, 215), wear, int(rng.integers(0, 512)))
    image[ground.top :] = floor
    if camera.roll:
        image = cv2.warpAffine(
            image, camera.roll_matrix(), (FRAME_WIDTH, FRAME_HEIGHT), borderMode=cv2.BORDER_REPLICATE
        )
    lanes = [] if scenario == "crossroad" else annotate(ground, layout, float(rng.uniform(10, 22)))
    return Scene(image, lanes, scenario)
