"""What every import yields: an image and its lanes."""

from typing import Any, NamedTuple

import numpy as np

from lgad_pipeline.lanes.files import FARTHEST


class Imported(NamedTuple):
    """One annotated image: its path below the source folder, lanes float32 (N, 2) as (x, y), bottom first."""

    image: str
    lanes: list[np.ndarray]


def lane(points: Any) -> np.ndarray:
    """A lane from pairs as annotation tools have them, with the origin at the corner of the first pixel.

    Raises:
        ValueError: not two pairs of finite numbers or more; the text is the reason to report.
    """
    try:
        found = np.array([[float(x), float(y)] for x, y in points], np.float64).reshape(-1, 2) - 0.5
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError("has a line that is not made of x y pairs; correct it") from error
    if len(found) < 2 or not (np.abs(found) <= FARTHEST).all():
        raise ValueError("has a line of fewer than two points, or far from the frame; correct it")
    return (found if found[0, 1] >= found[-1, 1] else found[::-1]).astype(np.float32)
