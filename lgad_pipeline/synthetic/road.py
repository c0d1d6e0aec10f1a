"""The road's shape: where its middle runs, how it rises, and which distance each frame row shows."""

from dataclasses import dataclass

import numpy as np

from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, Camera

NEAR, FAR = 1.0, 900.0


@dataclass(frozen=True)
class Shape:
    """A road's course ahead of the camera, as functions of the distance z along the camera's axis, metres.

    Attributes:
        offset: of the ego lane's middle to the right of the camera at z = 0, m.
        heading: of the road against the camera's axis, rad.
        curvature: at the camera, 1/m; positive turns right.
        bend: distance at which the curvature has fallen by half or so, m; far curves straighten out.
        grade: second derivative of the height at the camera, 1/m; positive rises ahead.
        rise: distance over which the grade levels off, m.
    """

    offset: float = 0.0
    heading: float = 0.0
    curvature: float = 0.0
    bend: float = 120.0
    grade: float = 0.0
    rise: float = 100.0

    def middle(self, z: np.ndarray) -> np.ndarray:
        """Lateral place of the ego lane's middle, m."""
        return self.offset + self.heading * z + 0.5 * self.curvature * z**2 / (1 + z / self.bend)

    def slope(self, z: np.ndarray) -> np.ndarray:
        """Derivative of `middle`."""
        q = 1 + z / self.bend
        return self.heading + self.curvature * (z / q - 0.5 * z**2 / (self.bend * q**2))

    def height(self, z: np.ndarray) -> np.ndarray:
        """Height of the road's surface, m."""
        return 0.5 * self.grade * z**2 / (1 + z / self.rise)

    def lateral(self, u: np.ndarray | float, z: np.ndarray) -> np.ndarray:
        """World x of a line `u` metres to the right of the ego lane's middle, measured across the road."""
        return self.middle(z) + u * np.sqrt(1 + self.slope(z) ** 2)


def sample_shape(rng: np.random.Generator, curved: bool) -> Shape:
    """Draw a course; `curved` for the scenario of that name, else straight or nearly so."""
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
    """The ground as the frame's rows show it.

    Each row below the horizon shows one distance (the camera does not roll here). With hills, rows are given
    to the nearest surface that they see; what lies behind a crest has no row.

    Attributes:
        top: first frame row that shows ground.
        rows: (n,) frame rows top..589.
        z: (n,) distance of each row, m; z_far and z_near: of its upper and lower edge.
        scale: (n,) px per metre across.
        middle: (n,) frame column of the ego lane's middle.
        stretch: (n,) px along x per metre across the road, over `scale`.
        along: (n,) length of road from z = 0, m; along_far, along_near as above.
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
        """Distance z (m) of the ground seen at frame rows `y` (floats)."""
        # Interpolating 1/z, which is linear in y on a flat road, is exact there.
        return 1 / np.interp(y, self._seen_y, 1 / self._seen_z)

    def columns(self, u: np.ndarray | float) -> np.ndarray:
        """(n,) frame columns, one for each of `rows`, of the line `u` m right of the ego lane's middle."""
        return self.middle + u * self.scale * self.stretch

    def points(
        self, u: np.ndarray | float, z: np.ndarray | float, height: np.ndarray | float = 0.0
    ) -> np.ndarray:
        """(..., 2) frame points of places `u` m right of the ego lane's middle, `height` m above the road."""
        z = np.asarray(z, np.float64)
        x, y = self.camera.project(self.shape.lateral(u, z), self.shape.height(z) + height, z)
        return np.stack(np.broadcast_arrays(x, y), axis=-1)

    def hidden(self, z: float) -> bool:
        """Whether the ground at distance `z` lies behind a crest."""
        _, y = self.camera.project(np.zeros(1), self.shape.height(np.array([z])), np.array([z]))
        return bool(abs(float(self.distance(y)[0]) / z - 1) > 0.05)
