"""Comparison of the frame size that an annotation states with the size of its image."""

from collections.abc import Sequence

import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError

SAME = (1.0, 1.0)
_BEYOND = 0.02  # fraction of the frame's side by which a point may be outside the frame


def scale_to(frame: tuple[int, int], stated: tuple[int, int] | None) -> tuple[float, float]:
    """Return the factors (x, y) from annotated pixels to frame pixels.

    Two sizes have the same proportions if the smaller one equals the larger one reduced, to one pixel.

    Args:
        frame: (H, W) of the image as it is displayed, pixels.
        stated: (H, W) that the annotation states, pixels; None where it states none, which means `frame`.

    Raises:
        AnnotationError: the proportions differ.
    """
    if stated is None or stated == frame:
        return SAME
    (height, width), (of_height, of_width) = frame, stated
    if abs(width * of_height - height * of_width) > max(width, of_width):
        raise AnnotationError(
            f"was annotated at {of_width} x {of_height} px, but its image is {width} x {height} px as "
            "displayed, which has other proportions; put the annotated image there"
        )
    return width / of_width, height / of_height


def refuse_outside(lanes: Sequence[np.ndarray], frame: tuple[int, int]) -> None:
    """Refuse lanes that leave the frame, for annotations that do not state the size of their image.

    Args:
        lanes: lanes of the frame, (N, 2) each as (x, y), frame pixels.
        frame: (H, W) of the frame, pixels.

    Raises:
        AnnotationError: a point is outside the frame by more than 2 % of the frame's side.
    """
    height, width = frame
    most = np.array([width, height])
    for lane in lanes:
        beyond = lane[((lane < -_BEYOND * most) | (lane > (1 + _BEYOND) * most)).any(axis=1)]
        if len(beyond):
            x, y = beyond[0]
            raise AnnotationError(
                f"has a point at ({x:.0f}, {y:.0f}) outside its image of {width} x {height} px and states no "
                "size; put the annotated image there"
            )


def in_a_corner(lanes: Sequence[tuple[np.ndarray, tuple[int, int]]]) -> bool:
    """Return True if no lane leaves the upper left quarter of its frame, as after enlarging the images.

    Args:
        lanes: lanes, float32 (N, 2) each as (x, y), and the size (H, W) of their frames, pixels.
    """
    return bool(lanes) and all((lane.max(axis=0) < np.array(size[::-1]) / 2).all() for lane, size in lanes)
