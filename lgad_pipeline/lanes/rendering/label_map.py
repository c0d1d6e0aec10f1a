"""Lanes as pixels: label maps, and the masks that lanes are compared by.

Drawing is OpenCV's `line`: 8-connected, ends rounded half to even.
"""

import cv2
import numpy as np

from lgad_pipeline.lanes.slots import SLOTS, SlotLanes
from lgad_pipeline.lanes.spline import ragged, sample_steps

LABEL_WIDTH = 16
"""Width of a lane in CULane's published label maps, px."""


def pixels(points: np.ndarray) -> np.ndarray:
    """Points rounded half to even, int64; what no 32-bit integer holds becomes the least one (as on x86)."""
    rounded = np.rint(points)
    with np.errstate(invalid="ignore"):
        fits = np.abs(rounded) < 2.0**31
        return np.where(fits, rounded, -(2.0**31)).astype(np.int64)


def label_map(
    lanes: SlotLanes, frame_size: tuple[int, int] = (590, 1640), lane_width: int = LABEL_WIDTH
) -> np.ndarray:
    """Draw the lanes of a frame as CULane's label tool does.

    Args:
        lanes: the frame's lanes by slot.
        frame_size: (H, W), pixels.
        lane_width: thickness of the lines, frame pixels.

    Returns:
        uint8 (H, W): slot number 1..4, or 0 for background. Later slots lie on top.
    """
    picture = np.zeros(frame_size, np.uint8)
    slots = [slot for slot in range(SLOTS) if lanes.existence[slot]]
    for slot, samples in zip(
        slots, sample_steps(ragged([lanes.points(slot) for slot in slots])), strict=True
    ):
        draw(picture, pixels(samples), slot + 1, lane_width)
    return picture


def draw(picture: np.ndarray, path: np.ndarray, value: int, lane_width: int) -> None:
    """Draw a path of pixels (N, 2) as consecutive lines, in place."""
    changes = np.append((path[1:] != path[:-1]).any(axis=1), True)
    changes[0] = True  # a path that never leaves its pixel is drawn as one dot
    cv2.polylines(picture, [path[changes].astype(np.int32)], False, value, lane_width)
