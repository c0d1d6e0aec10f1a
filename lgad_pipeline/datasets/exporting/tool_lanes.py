"""Lanes in the coordinates of annotation tools, whose origin is the corner of the first pixel."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

LABEL = "lane"
"""Label of every exported lane."""

_HALF_PIXEL = 0.5
_MOST_DECIMALS = 17


class LabelledFrame(NamedTuple):
    """Frame to export.

    Attributes:
        name: path of the image below the exported folder.
        size: (H, W), pixels.
        lanes: lanes, float32 (N, 2) each as (x, y), frame pixels with pixel centres at integers.
        predicted: True if the lanes are predicted and have not been checked.
        types: type of each lane, empty where it is unknown; empty if no type is known.
    """

    name: str
    size: tuple[int, int]
    lanes: Sequence[np.ndarray]
    predicted: bool = False
    types: Sequence[str] = ()

    @property
    def typed_lanes(self) -> list[tuple[np.ndarray, str]]:
        """Lanes with their types."""
        return list(zip(self.lanes, self.types or [""] * len(self.lanes), strict=True))


def tool_points(lane: np.ndarray) -> list[tuple[float, float]]:
    """Convert the points of a lane to the coordinates of annotation tools.

    Every number has the fewest decimals from which the import computes the same single-precision value.
    So a data set is the same after an export and an import, and so are annotations after an import and an
    export, up to single precision.

    Example:
        >>> tool_points(np.array([[122.96, 590.0]], np.float32))
        [(123.46, 590.5)]
    """
    return [(_tool_value(x), _tool_value(y)) for x, y in np.asarray(lane, np.float32)]


def thinned(lane: np.ndarray, tolerance: float) -> np.ndarray:
    """Leave out points of a lane that are nearer than `tolerance` pixels to the line through the others.

    Args:
        lane: float32 (N, 2) as (x, y), frame pixels.
        tolerance: largest distance of a point that is left out, pixels.
    """
    points = np.asarray(lane, np.float32).reshape(-1, 1, 2)
    return lane if len(lane) < 3 else cv2.approxPolyDP(points, tolerance, False)[:, 0]


def _tool_value(value: np.float32) -> float:
    exact = float(value) + _HALF_PIXEL
    for decimals in range(_MOST_DECIMALS):
        rounded = round(exact, decimals)
        if np.float32(rounded - _HALF_PIXEL) == value:
            return rounded
    return exact
