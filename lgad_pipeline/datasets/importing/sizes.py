"""Comparison of the frame size that an annotation states, and of its lanes, with the size of its image."""

from collections.abc import Sequence

import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.lanes.extents import annotated_warnings, lane_extents
from lgad_pipeline.lanes.pieces import count_pieces, pieces_warning
from lgad_pipeline.lanes.spline import ragged

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


def lane_notes(
    frames: Sequence[str], lanes: Sequence[Sequence[np.ndarray]], sizes: Sequence[tuple[int, int]]
) -> list[str]:
    """Return warnings about lanes that do not fit their frames, or are drawn in pieces, a sentence each.

    Args:
        frames: names of the frames.
        lanes: lanes of each frame, float32 (N, 2) each as (x, y), frame pixels.
        sizes: (H, W) of each frame, pixels.
    """
    of_frames = np.array(sizes)
    extents = lane_extents(lanes, of_frames)
    joined = ragged([lane for of_frame in lanes for lane in of_frame])
    pieces = count_pieces(joined, [len(of_frame) for of_frame in lanes], widths=of_frames[:, 1])
    return [
        *annotated_warnings(extents, sizes=of_frames, frames=frames),
        *pieces_warning(pieces, frames),
    ]
