"""Annotations in the common form that the reader of each annotation tool yields: the shapes of a frame."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError, coordinates

MOST_POINTS = 2000
"""Maximum number of points of one shape; a lane needs at most one point per frame row."""


PREDICTED = "predicted"
"""Flag (labelme) or tag (CVAT) of a frame whose lanes are predicted and have not been checked."""
OF_IMAGES = ("tag", "flag")
"""Kinds of shapes that describe the whole image: tags of CVAT, flags of labelme."""


class Shape(NamedTuple):
    """Annotated shape.

    Attributes:
        kind: type of the shape in the tool's terms, such as linestrip, polyline, polygon, rectangle.
        label: text that the annotator chose; empty where there is none.
        points: float64 (N, 2) as (x, y), pixels of the size that the annotation states, with the origin at
            the corner of the first pixel; empty for kinds without points.
        group: identifier shared by the shapes of one object; None where the tool states none.
        fault: reason why the points cannot be used; None if they can.
        type: type of the lane from the shape's attributes, such as dashed white; empty where there are none.
    """

    kind: str
    label: str
    points: np.ndarray
    group: str | None = None
    fault: str | None = None
    type: str = ""


@dataclass(frozen=True)
class Annotation:
    """Annotation of one frame.

    Attributes:
        file: path of the annotation file relative to the source folder.
        line: line of the frame in the file, from 1; None where the file contains one frame.
        image: name of the image as the file states it.
        places: paths relative to the source folder where the image is expected, in the order of preference;
            a path without an image suffix matches any suffix.
        size: (H, W) that the file states, pixels; None where it states none.
        shapes: shapes of the frame in the file's order; those of `OF_IMAGES` have a label and no points.
        embedded: True if the annotation file contains the image itself.
        predicted: True if the frame is marked as `PREDICTED`.
    """

    file: str
    line: int | None
    image: str
    places: list[str]
    size: tuple[int, int] | None = None
    shapes: list[Shape] = field(default_factory=list)
    embedded: bool = False
    predicted: bool = False

    @property
    def is_drawn(self) -> bool:
        """True if a shape was drawn in the image."""
        return any(shape.kind not in OF_IMAGES for shape in self.shapes)


def shape(kind: str, label: str, *, pairs: Sequence, group: str | None = None) -> Shape:
    """Create a shape; a fault of its points is stored in the shape instead of raised.

    Args:
        kind: type of the shape in the tool's terms.
        label: text that the annotator chose.
        pairs: pairs (x, y) of numbers or numeric texts, annotated pixels.
        group: identifier shared by the shapes of one object; None where there is none.
    """
    try:
        if len(pairs) > MOST_POINTS:
            raise AnnotationError(f"has more than {MOST_POINTS} points; simplify it")
        return Shape(kind, label, coordinates(pairs), group)
    except AnnotationError as error:
        return Shape(kind, label, np.zeros((0, 2)), group, str(error))


def attribute_word(name: str, value: str) -> str:
    """Return what an attribute adds to the type: its value, or the name of a checkbox that is ticked."""
    if value.lower() in ("true", "false"):
        return name if value.lower() == "true" else ""
    return "" if value == "__undefined__" else value


def stated_size(height: object, width: object) -> tuple[int, int] | None:
    """Return (H, W) in pixels from an annotation file's numbers or texts; None if they are not valid."""
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
