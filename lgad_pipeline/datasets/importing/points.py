"""What the reader of each annotation tool yields: the shapes of a frame, as they were annotated."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError, points

MOST_POINTS = 2000
"""Most points of one shape; a lane has one a frame row at most."""


class Shape(NamedTuple):
    """One annotated shape.

    Attributes:
        kind: what the tool calls it, such as linestrip, polyline, polygon, rectangle.
        label: text that the annotator chose; empty where there is none.
        points: float32 (N, 2) as (x, y), pixels of the size that the annotation states, with the origin at
            the corner of the first pixel; empty for kinds without points.
        group: what connects shapes of one object; None where the tool states nothing.
        fault: why the points cannot be used, or None.
    """

    kind: str
    label: str
    points: np.ndarray
    group: str | None = None
    fault: str | None = None


@dataclass(frozen=True)
class Annotation:
    """The annotation of one frame.

    Attributes:
        file: annotation file, below the source folder.
        line: its line, from 1; None where the file holds one frame.
        image: the image's name as the file states it.
        places: paths below the source folder where the image is expected, best first; a path without an
            image's ending stands for any.
        size: (H, W) that the file states, pixels; None where it states none.
        shapes: in the file's order.
        embedded: the annotation file holds the image itself.
    """

    file: str
    line: int | None
    image: str
    places: list[str]
    size: tuple[int, int] | None = None
    shapes: list[Shape] = field(default_factory=list)
    embedded: bool = False


def shape(kind: str, label: str, pairs: Sequence, group: str | None = None) -> Shape:
    """A shape from pairs of numbers or of texts; what is wrong with them is noted in the shape itself."""
    try:
        if len(pairs) > MOST_POINTS:
            raise AnnotationError(f"has more than {MOST_POINTS} points; simplify it")
        return Shape(kind, label, points(pairs), group)
    except AnnotationError as error:
        return Shape(kind, label, np.zeros((0, 2), np.float32), group, str(error))


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """(H, W) from an annotation file's values, numbers or texts; None where they are no size in pixels."""
    sides = []
    for value in (height, width):
        try:
            side = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError, OverflowError):
            return None
        if not (math.isfinite(side) and 1 <= side <= 1 << 20):
            return None
        sides.append(round(side))
    return sides[0], sides[1]
