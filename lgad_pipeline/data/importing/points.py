"""What every import yields: an image and its lanes."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from lgad_pipeline.data.entries import AnnotationError, points


class Imported(NamedTuple):
    """One annotated image: its path below the source folder, lanes float32 (N, 2) as (x, y), bottom first."""

    image: str
    lanes: list[np.ndarray]


def lane(pairs: Iterable) -> np.ndarray:
    """A lane from pairs as annotation tools have them, with the origin at the corner of the first pixel.

    Raises:
        AnnotationError: not two pairs of finite numbers or more.
    """
    found = points(pairs)
    if len(found) < 2:
        raise AnnotationError("has a line of fewer than two points; correct it")
    found = found - np.float32(0.5)
    return found if found[0, 1] >= found[-1, 1] else found[::-1]
