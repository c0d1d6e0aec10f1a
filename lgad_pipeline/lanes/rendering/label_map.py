"""Label map of one frame, drawn by OpenCV as CULane's label tool draws it.

Lines are 8-connected; the coordinates of their ends are rounded half to even. The tool draws round ends that
reach over the first and the last point by half of the line's width. With label rows of another distance than
the tool's, which are the rows of an annotation (TuSimple), a lane ends on its first and last row, because a
network that learns longer lanes loses a row at each end in TuSimple's metric.
"""

import cv2
import numpy as np

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.config.slots import CULANE
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
    round_ends = np.isclose(lanes.rows[0] - lanes.rows[1], frame_size[0] / CULANE.divisions)
    slots = [slot for slot in range(len(lanes.existence)) if lanes.existence[slot]]
    for slot, samples in zip(
        slots, sample_steps(ragged([lanes.points(slot) for slot in slots])), strict=True
    ):
        path = round_to_pixels(samples)
        # OpenCV clips the lines at the borders of the part.
        top, below = (0, frame_size[0]) if round_ends else (max(path[:, 1].min(), 0), path[:, 1].max() + 1)
        draw_path(picture[top:below], path - [0, top], value=slot + 1, lane_width=lane_width)
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
