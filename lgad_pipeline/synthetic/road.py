"""Geometry of the road: its course and height, and the distance that each frame row shows."""

from dataclasses import dataclass

import numpy as np

from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, Camera

NEAR, FAR = 1.0, 900.0


@dataclass(frozen=True)
class Shape:
    """A road's course ahead of the camera, as functions of the distance z along the camera's axis, metres.

    Attributes:
        offset: distance of the ego lane's middle to the right of the camera at z = 0, m.
        heading: angle between the road and the camera's axis, rad.
        curvature: curvature at the camera, 1/m; positive turns right.
        bend: distance over which the curvature decreases to a fraction, m.
        grade: second derivative of the height at the camera, 1/m; positive rises ahead.
        rise: distance over which that second derivative decreases to a fraction, m.
    """

    offset: float = 0.0
    heading: float = 0.0
    curvature: float = 0.0
    bend: float = 120.0
    grade: float = 0.0
    rise: float = 100.0

    def middle(self, z: np.ndarray) -> np.ndarray:
        """Compute the lateral position of the ego lane's middle at distances z, m."""
        return self.offset + self.heading * z + 0.5 * self.curvature * z**2 / (1 + z / self.bend)

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Compute the derivative of `middle` at distances z."""
        q = 1 + z / self.bend
        return self.heading + self.curvature * (z / q - 0.5 * z**2 / (self.bend * q**2))

    def height(self, z: np.ndarray) -> np.ndarray:
        """Compute the height of the road's surface at distances z, m."""
        return 0.5 * self.grade * z**2 / (1 + z / self.rise)

    def lateral(self, u: np.ndarray | float, z: np.ndarray) -> np.ndarray:
        """Compute the world x of a line along the road at distances z.

        Args:
            u: position of the line, m to the right of the ego lane's middle, measured across the road.
            z: distances along the camera's axis, m.
        """
        return self.middle(z) + u * np.sqrt(1 + self.slope(z) ** 2)


def sample_shape(rng: np.random.Generator, curved: bool) -> Shape:
    """Draw a course; a curve if `curved`, else straight or nearly straight."""
    if curved:
        curvature = rng.choice([-1, 1]) / rng.uniform(85, 300)
        bend = rng.uniform(120, 500)
    else:
        curvature = rng.normal(0, 1) / 2500 if rng.random() < 0.5 else 0.0
        bend = rng.uniform(80, 300)
    hilly = rng.random() < 0.45
    return Shape(
        offset=float(np.clip(rng.normal(0, 0.42), -1.1, 1.1)),
        heading=float(np.clip(rng.normal(0, 0.012), -0.03, 0.03)),
        curvature=float(curvature),
        bend=float(bend),
        grade=float(np.clip(rng.normal(0, 5e-4), -1.2e-3, 1.2e-3)) if hilly else 0.0,
        rise=float(rng.uniform(40, 150)),
    )


class Ground:
    """Geometry of the ground in each frame row.

    Each row below the horizon shows one distance (before roll). On a hilly road a row shows the nearest
    visible surface; ground behind a crest has no row.

    Attributes:
        camera: camera of the frame.
        shape: course of the road.
        vanishing: frame row of the farthest visible ground, pixels.
        top: first frame row that shows ground.
        rows: frame rows top..589, int (n,).
        z: distance of each row, float64 (n,), m.
        z_far: distance of each row's upper edge, float64 (n,), m.
        z_near: distance of each row's lower edge, float64 (n,), m.
        scale: pixels per metre perpendicular to the camera's axis, float64 (n,).
        middle: frame column of the ego lane's middle, float64 (n,), pixels.
        stretch: ratio of a distance along x to the same distance across the road, float64 (n,).
        along: length of road from z = 0, float64 (n,), m.
        along_far: length of road up to each row's upper edge, float64 (n,), m.
        along_near: length of road up to each row's lower edge, float64 (n,), m.
    """

    def __init__(self, camera: Camera, shape: Shape) -> None:
        self.camera = camera
        self.shape = shape
        samples = np.geomspace(NEAR, FAR, 1500)
        _, y = camera.project(np.zeros_like(samples), shape.height(samples), samples)
        lowest = np.minimum.accumulate(y)
        seen = np.r_[True, y[1:] < lowest[:-1]]
        self._seen_y = y[seen][::-1]
        self._seen_z = samples[seen][::-1]
        self.vanishing = float(self._seen_y[0])
        self.top = int(np.ceil(self.vanishing + 0.5))
        self.rows = np.arange(self.top, FRAME_HEIGHT)
        self.z = self.distance(self.rows)
        self.z_far = self.distance(self.rows - 0.5)
        self.z_near = self.distance(self.rows + 0.5)
        self.scale = camera.focal / self.z
        self.middle = camera.centre_x + self.scale * shape.middle(self.z)
        self.stretch = np.sqrt(1 + shape.slope(self.z) ** 2)
        steps = np.linspace(0, FAR, 3000)
        lengths = np.concatenate([[0], np.cumsum(np.diff(steps) * np.sqrt(1 + shape.slope(steps[:-1]) ** 2))])
        self.along = np.interp(self.z, steps, lengths)
        self.along_far = np.interp(self.z_far, steps, lengths)
        self.along_near = np.interp(self.z_near, steps, lengths)

    def distance(self, y: np.ndarray) -> np.ndarray:
        """Compute the distance z of the ground at frame rows `y`, m; rows may be fractional."""
        # On a flat road 1/z is linear in y, so that its interpolation is exact.
        return 1 / np.interp(y, self._seen_y, 1 / self._seen_z)

    def columns(self, u: np.ndarray | float) -> np.ndarray:
        """Compute the frame columns (n,) of the line `u` m to the right of the ego lane's middle."""
        return self.middle + u * self.scale * self.stretch

    def points(
        self, u: np.ndarray | float, z: np.ndarray | float, height: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """Project points of the road to the frame, before roll.

        Args:
            u: positions, m to the right of the ego lane's middle.
            z: distances, m.
            height: heights above the road, m.

        Returns:
            float64 (..., 2) as (x, y), frame pixels.
        """
        z = np.asarray(z, np.float64)
        x, y = self.camera.project(self.shape.lateral(u, z), self.shape.height(z) + height, z)
        return np.stack(np.broadcast_arrays(x, y), axis=-1)

    def hidden(self, z: float) -> bool:
        """Return true if the ground at distance `z` (m) is hidden behind a crest."""
        _, y = self.camera.project(np.zeros(1), self.shape.height(np.array([z])), np.array([z]))
        return bool(abs(float(self.distance(y)[0]) / z - 1) > 0.05)
