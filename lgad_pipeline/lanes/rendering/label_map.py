"""Label map of one frame, drawn by OpenCV as CULane's label tool draws it.

Lines are 8-connected; the coordinates of their ends are rounded half to even.
"""

import cv2
import numpy as np

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.lanes.slots import SlotLanes
from lgad_pipeline.lanes.spline import ragged, sample_steps

LABEL_WIDTH = 16
"""Width of a lane in CULane's published label maps, pixels."""


def round_to_pixels(points: np.ndarray) -> np.ndarray:
    """Round points to pixels, half to even.

    Args:
        points: float (..., 2).

    Returns:
        int64 (..., 2); values outside the range of 32-bit integers and NaN become the least one, as on x86.
    """
    rounded = np.rint(points)
    with np.errstate(invalid="ignore"):
        fits = np.abs(rounded) < 2.0**31
        return np.where(fits, rounded, -(2.0**31)).astype(np.int64)


def label_map(
    lanes: SlotLanes, frame_size: tuple[int, int] = CULANE_FRAME, *, lane_width: int = LABEL_WIDTH
) -> np.ndarray:
    """Draw the lanes of a frame as CULane's label tool does.

    Args:
        lanes: lanes of the frame by slot.
        frame_size: size of the frame (H, W), pixels.
        lane_width: thickness of the lines, frame pixels.

    Returns:
        uint8 (H, W): slot number from 1, or 0 for background. Later slots cover earlier ones.
    """
    picture = np.zeros(frame_size, np.uint8)
    slots = [slot for slot in range(len(lanes.existence)) if lanes.existence[slot]]
    for slot, samples in zip(
        slots, sample_steps(ragged([lanes.points(slot) for slot in slots])), strict=True
    ):
        draw_path(picture, round_to_pixels(samples), value=slot + 1, lane_width=lane_width)
    return picture


def draw_path(picture: np.ndarray, path: np.ndarray, *, value: int, lane_width: int) -> None:
    """Draw a path as consecutive lines, in place.

    Args:
        picture: uint8 (H, W).
        path: pixels of the path, int64 (N, 2) as (x, y).
        value: value of the drawn pixels.
        lane_width: thickness of the lines, pixels.
    """
    moves = np.append((path[1:] != path[:-1]).any(axis=1), True)
    moves[0] = True  # a path within one pixel is drawn as one dot
    cv2.polylines(picture, [path[moves].astype(np.int32)], False, value, lane_width)
