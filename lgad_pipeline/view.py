"""How a camera frame becomes the network's input, and how points find their way back."""

from dataclasses import dataclass, replace
from typing import Self

import cv2
import numpy as np

from lgad_pipeline.errors import LgadError


@dataclass(frozen=True)
class View:
    """The part of the frame that the network sees, and its size there.

    The rows above `crop_top` are cut off (sky; CULane's labels begin at row 250) and the rest is resized.
    Pixel centres lie at integer coordinates in the frame and in the image alike, as `cv2.resize` has it.

    Attributes:
        frame_size: (H, W) of the camera frame, pixels.
        image_size: (H, W) of the network's input, pixels.
        crop_top: frame rows cut off at the top, pixels.
    """

    frame_size: tuple[int, int]
    image_size: tuple[int, int]
    crop_top: int = 0

    @property
    def scale(self) -> tuple[float, float]:
        """Frame pixels per image pixel, (x, y)."""
        height, width = self.image_size
        return self.frame_size[1] / width, (self.frame_size[0] - self.crop_top) / height

    def of_size(self, frame_size: tuple[int, int]) -> Self:
        """The same part of a frame of another size (H, W), as if the frame had been resized to this one's."""
        crop_top = min(round(self.crop_top * frame_size[0] / self.frame_size[0]), frame_size[0] - 1)
        return replace(self, frame_size=frame_size, crop_top=crop_top)

    def image(self, frame: np.ndarray) -> np.ndarray:
        """Cut and resize a frame, uint8 (H, W, 3), by averaging over the pixels that fall together."""
        return self._resize(frame, cv2.INTER_AREA)

    def label(self, label_map: np.ndarray) -> np.ndarray:
        """Cut and resize a label map, uint8 (H, W), by taking the nearest pixel, centre to centre."""
        return self._resize(label_map, cv2.INTER_NEAREST_EXACT)

    def check(self, picture: np.ndarray) -> None:
        """Refuse a picture (H, W, ...) that is not of the frame's size.

        Raises:
            LgadError: it is of another size.
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
        """Points (..., 2) as (x, y) from image pixels to frame pixels."""
        scale = np.array(self.scale)
        return (points + 0.5) * scale - 0.5 + np.array([0.0, self.crop_top])

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 2) as (x, y) from frame pixels to image pixels."""
        scale = np.array(self.scale)
        return (points - np.array([0.0, self.crop_top]) + 0.5) / scale - 0.5
