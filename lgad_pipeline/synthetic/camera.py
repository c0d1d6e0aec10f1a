"""Pinhole model of a dashcam above a road, in CULane's frame size."""

from dataclasses import dataclass

import numpy as np

FRAME_HEIGHT = 590
FRAME_WIDTH = 1640


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks along the car's axis.

    World axes: x to the right, z forward, height upward, in metres, from the road under the camera.
    Frame axes: x to the right, y downward, in pixels with pixel centres at integers.

    Attributes:
        focal: focal length, pixels.
        centre_x: frame column of the car's axis at infinity, pixels.
        horizon: frame row of a flat road at infinity, pixels; it expresses the pitch.
        height: height of the camera above the road, m.
        roll: rotation of the finished frame about its centre, degrees.
    """

    focal: float
    centre_x: float
    horizon: float
    height: float
    roll: float = 0.0

    def project(
        self, x: np.ndarray, height: np.ndarray | float, z: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Project world points to the frame, before roll.

        Args:
            x: lateral coordinate, m.
            height: height above the road under the camera, m.
            z: distance along the camera's axis, m.

        Returns:
            Frame columns and rows, pixels.
        """
        return self.centre_x + self.focal * x / z, self.horizon + self.focal * (self.height - height) / z

    def roll_matrix(self) -> np.ndarray:
        """Return the affine map from unrolled to rolled frame points, float64 (2, 3)."""
        angle = np.deg2rad(self.roll)
        cos, sin = np.cos(angle), np.sin(angle)
        mid_x, mid_y = (FRAME_WIDTH - 1) / 2, (FRAME_HEIGHT - 1) / 2
        # A slight magnification fills the corners of the rotated frame.
        scale = 1 + abs(sin) * FRAME_WIDTH / FRAME_HEIGHT
        return np.array(
            [
                [scale * cos, -scale * sin, mid_x - scale * (cos * mid_x - sin * mid_y)],
                [scale * sin, scale * cos, mid_y - scale * (sin * mid_x + cos * mid_y)],
            ]
        )


def sample_camera(rng: np.random.Generator) -> Camera:
    """Draw a camera: the spread of CULane's cars around a vanishing point near (800, 275)."""
    return Camera(
        focal=float(rng.uniform(720, 1150)),
        centre_x=float(np.clip(rng.normal(805, 65), 620, 1000)),
        horizon=float(np.clip(rng.normal(272, 26), 205, 335)),
        height=float(rng.uniform(1.15, 1.6)),
        roll=float(np.clip(rng.normal(0, 0.7), -1.8, 1.8)) if rng.random() < 0.4 else 0.0,
    )
