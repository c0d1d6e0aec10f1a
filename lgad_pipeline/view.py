"""Mapping between camera frames and the network's input: images, label maps and points."""

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

from lgad_pipeline.errors import LgadError


@dataclass(frozen=True)
class View:
    """Part of the camera frame that the network sees, and the size of the network's input.

    The rows above `crop_top` are cut off (sky; CULane's labels begin at row 250) and the rest is resized.
    Pixel centres are at integer coordinates, in the frame and in the image, as in `cv2.resize`.

    Attributes:
        frame_size: height and width (H, W) of the camera frame, in pixels.
        image_size: height and width (H, W) of the network's input, in pixels.
        crop_top: number of rows cut off at the top of the frame.
    """

    frame_size: tuple[int, int]
    image_size: tuple[int, int]
    crop_top: int = 0

    @property
    def scale(self) -> tuple[float, float]:
        """Number of frame pixels per image pixel, (x, y)."""
        height, width = self.image_size
        return self.frame_size[1] / width, (self.frame_size[0] - self.crop_top) / height

    def of_size(self, frame_size: tuple[int, int]) -> Self:
        """Return the view of the same part of a frame of another size (H, W); `crop_top` scales with it."""
        crop_top = min(round(self.crop_top * frame_size[0] / self.frame_size[0]), frame_size[0] - 1)
        return replace(self, frame_size=frame_size, crop_top=crop_top)

    def image(self, frame: np.ndarray) -> np.ndarray:
        """Crop and resize a frame, uint8 (H, W, 3), by averaging over the area of each new pixel."""
        return self._resize(frame, cv2.INTER_AREA)

    def label(self, label_map: np.ndarray) -> np.ndarray:
        """Crop and resize a label map, uint8 (H, W), by exact nearest-neighbour sampling of pixel centres."""
        return self._resize(label_map, cv2.INTER_NEAREST_EXACT)

    def check(self, picture: np.ndarray) -> None:
        """Check that an array (H, W, ...) has the size of the frame.

        Raises:
            LgadError: The array has another size.
        """
        if picture.shape[:2] != self.frame_size:
            raise LgadError(
                f"A picture is {picture.shape[1]} x {picture.shape[0]} px where {self.frame_size[1]} x "
                f"{self.frame_size[0]} px are expected; correct frame_size of the data set."
            )

    def _resize(self, picture: np.ndarray, interpolation: int) -> np.ndarray:
        self.check(picture)
        height, width = self.image_size
        return cv2.resize(picture[self.crop_top :], (width, height), interpolation=interpolation)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Convert points (..., 2) as (x, y) from image pixels to frame pixels, float64."""
        scale = np.array(self.scale)
        return (points + 0.5) * scale - 0.5 + np.array([0.0, self.crop_top])

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Convert points (..., 2) as (x, y) from frame pixels to image pixels, float64."""
        scale = np.array(self.scale)
        return (points - np.array([0.0, self.crop_top]) + 0.5) / scale - 0.5
