"""Faces of vehicles: polygons on the end and on the flank of a box."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lgad_pipeline.synthetic.canvas import Colour, brightened

Kind = Literal["sedan", "suv", "van", "truck", "bus", "bike"]

#: Width, height and length in metres.
SIZES: dict[Kind, tuple[float, float, float]] = {
    "sedan": (1.80, 1.46, 4.6),
    "suv": (1.88, 1.72, 4.7),
    "van": (1.85, 1.98, 4.9),
    "truck": (2.35, 3.1, 7.5),
    "bus": (2.5, 3.15, 11.5),
    "bike": (0.62, 1.62, 1.8),
}

GLASS: Colour = (52, 46, 40)
BLACK: Colour = (22, 21, 21)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle on the road.

    Attributes:
        kind: kind of the vehicle.
        u: lateral position of its middle, m to the right of the ego lane's middle.
        z: distance of its near end, m.
        paint: colour of its body.
        oncoming: true if it shows its front; of a crossing vehicle, true if it drives to the left.
        size: width, height and length, m.
        crossing: true if it crosses the road and shows its flank.
    """

    kind: Kind
    u: float
    z: float
    paint: Colour
    oncoming: bool
    size: tuple[float, float, float]
    crossing: bool = False


def _outline(kind: Kind) -> list[tuple[float, float]]:
    """Return the outline of the rear as points (across -0.5..0.5, up 0..1), in shares of width and height."""
    if kind in ("truck", "bus"):
        return [(-0.5, 0.14), (0.5, 0.14), (0.5, 0.98), (0.47, 1.0), (-0.47, 1.0), (-0.5, 0.98)]
    shoulder, top = (0.62, 0.36) if kind == "sedan" else (0.6, 0.42)
    return [
        (-0.48, 0.13), (0.48, 0.13), (0.5, 0.3), (0.495, 0.55), (0.47, shoulder),
        (top + 0.03, 0.95), (top - 0.06, 1.0),
        (-top + 0.06, 1.0), (-top - 0.03, 0.95), (-0.47, shoulder), (-0.495, 0.55), (-0.5, 0.3),
    ]  # fmt: skip


Face = list[tuple[list[tuple[float, float]], Colour]]
"""Polygons with their colours, in drawing order."""


def box(left: float, right: float, low: float, high: float) -> list[tuple[float, float]]:
    """Return the corners of an upright rectangle."""
    return [(left, low), (right, low), (right, high), (left, high)]


def end_face(vehicle: Vehicle, gain: float) -> Face:
    """Return the polygons of the end that faces the camera, in drawing order.

    Args:
        vehicle: vehicle to draw.
        gain: brightness of the body, 1 for its own colour.
    """
    paint = brightened(vehicle.paint, gain)
    lamp: Colour = (215, 225, 225) if vehicle.oncoming else (40, 35, 175)
    plate: Colour = (150, 75, 25) if vehicle.kind != "truck" else (40, 170, 205)
    face: Face = [(box(-0.47, -0.33, 0, 0.2), BLACK), (box(0.33, 0.47, 0, 0.2), BLACK)]
    face.append((box(-0.46, 0.46, 0.08, 0.2), BLACK))
    if vehicle.kind == "truck" and not vehicle.oncoming:
        face += [
            (box(-0.5, 0.5, 0.3, 1.0), paint),
            (box(-0.48, 0.48, 0.17, 0.27), brightened(BLACK, 2.2)),
            (box(-0.5, 0.5, 0.93, 1.0), brightened(paint, 0.8)),
            (box(-0.012, 0.012, 0.31, 0.93), brightened(paint, 0.6)),
            (box(-0.34, -0.31, 0.31, 0.93), brightened(paint, 0.8)),
            (box(0.31, 0.34, 0.31, 0.93), brightened(paint, 0.8)),
            (box(-0.5, 0.5, 0.3, 0.33), brightened(paint, 0.55)),
            (box(-0.46, -0.36, 0.2, 0.25), lamp),
            (box(0.36, 0.46, 0.2, 0.25), lamp),
            (box(-0.1, 0.1, 0.19, 0.25), plate),
        ]
        return face
    face.append((_outline(vehicle.kind), paint))
    if vehicle.kind in ("bus", "truck"):
        top = 0.92 if vehicle.kind == "bus" else 0.78
        face += [
            (box(-0.44, 0.44, 0.46, top), GLASS),
            (box(-0.44, 0.44, 0.46 + 0.6 * (top - 0.46), top), brightened(GLASS, 1.8)),
            (box(-0.49, 0.49, 0.14, 0.2), brightened(paint, 0.5)),
            (box(-0.47, -0.38, 0.26, 0.36), lamp),
            (box(0.38, 0.47, 0.26, 0.36), lamp),
            (box(-0.1, 0.1, 0.2, 0.25), plate),
            (box(-0.3, 0.3, 0.26, 0.38), brightened(paint, 0.82)),
        ]
        return face
    tall = vehicle.kind != "sedan"
    glass_top, glass_low, half = (0.93, 0.64, 0.385) if tall else (0.94, 0.66, 0.36)
    face += [
        (
            [
                (-half - 0.03, glass_low),
                (half + 0.03, glass_low),
                (half - 0.04, glass_top),
                (-half + 0.04, glass_top),
            ],
            GLASS,
        ),
        (
            [
                (-half, glass_low + 0.13),
                (half, glass_low + 0.13),
                (half - 0.04, glass_top),
                (-half + 0.04, glass_top),
            ],
            brightened(GLASS, 2.0),
        ),
        (box(-0.49, 0.49, 0.13, 0.31), brightened(paint, 0.72)),
        (box(-0.43, 0.43, 0.13, 0.19), brightened(BLACK, 1.6)),
        (box(-0.48, 0.48, 0.575, 0.60), brightened(paint, 1.25)),
        (box(-0.14, 0.14, 0.36, 0.44), brightened(plate, 1.0)),
        (box(-0.11, 0.11, 0.385, 0.415), (200, 200, 200)),
    ]
    wide = 0.13 if not tall else 0.09
    low = 0.46 if not tall else 0.48
    face += [
        (box(-0.49, -0.49 + wide, low, low + 0.13), lamp),
        (box(0.49 - wide, 0.49, low, low + 0.13), lamp),
    ]
    if vehicle.oncoming:
        face.append((box(-0.3, 0.3, 0.3, 0.46), brightened(BLACK, 1.5)))
    return face


#: Setback of the glass at a car's rear and at its front: (foot, top) as shares of the length.
_LEAN: dict[Kind, tuple[tuple[float, float], tuple[float, float]]] = {
    "sedan": ((0.12, 0.32), (0.22, 0.38)),
    "suv": ((0.02, 0.1), (0.16, 0.3)),
    "van": ((0.02, 0.1), (0.16, 0.3)),
}


def end_setback(vehicle: Vehicle, up: np.ndarray) -> np.ndarray:
    """Compute the distance of the end's face from the near end at given heights.

    Args:
        vehicle: vehicle to draw.
        up: heights, shares of the vehicle's height.

    Returns:
        Distances, shares of the vehicle's length.
    """
    if vehicle.kind not in _LEAN:
        return np.zeros_like(up)
    foot, top = _LEAN[vehicle.kind][vehicle.oncoming]
    return np.interp(up, [0.6, 0.64, 1.0], [0, foot, top])


def flank_face(vehicle: Vehicle, gain: float) -> Face:
    """Return the polygons of the flank in drawing order, as points (along 0..1 from the near end, up 0..1).

    Args:
        vehicle: vehicle to draw.
        gain: brightness of the body, 1 for its own colour.
    """
    paint = brightened(vehicle.paint, gain)
    wheel = [(0.5 + 0.5 * np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 14)[:-1]]
    _, height, length = vehicle.size
    radius = 0.33 if vehicle.kind in ("sedan", "suv", "van") else 0.48
    axles = (0.2, 0.8) if vehicle.kind != "bus" else (0.28, 0.78)
    if vehicle.kind == "truck":
        body = [
            (0, 0.28),
            (0.72, 0.28),
            (0.72, 0.2),
            (0.98, 0.2),
            (1, 0.5),
            (0.96, 0.78),
            (0.74, 0.8),
            (0.74, 1),
            (0, 1),
        ]
        glass: list[list[tuple[float, float]]] = [[(0.8, 0.52), (0.97, 0.52), (0.94, 0.72), (0.8, 0.72)]]
    elif vehicle.kind == "bus":
        body = [(0, 0.14), (1, 0.14), (1, 1), (0, 1)]
        glass = [box(0.03, 0.97, 0.48, 0.88)]
    elif vehicle.kind == "sedan":
        body = [
            (0, 0.2),
            (1, 0.2),
            (0.99, 0.5),
            (0.78, 0.62),
            (0.62, 0.97),
            (0.32, 1.0),
            (0.12, 0.68),
            (0, 0.62),
        ]
        glass = [
            [(0.2, 0.66), (0.47, 0.66), (0.47, 0.93), (0.34, 0.93)],
            [(0.49, 0.66), (0.73, 0.66), (0.61, 0.92), (0.49, 0.93)],
        ]
        if vehicle.oncoming:
            body = [(1 - a, h) for a, h in body]
            glass = [[(1 - a, h) for a, h in pane] for pane in glass]
    else:
        body = [(0, 0.18), (1, 0.18), (1, 0.5), (0.84, 0.6), (0.7, 0.96), (0.1, 1.0), (0.02, 0.62), (0, 0.55)]
        glass = [
            [(0.1, 0.64), (0.42, 0.64), (0.42, 0.92), (0.13, 0.92)],
            [(0.44, 0.64), (0.78, 0.64), (0.67, 0.91), (0.44, 0.92)],
        ]
        if vehicle.oncoming:
            body = [(1 - a, h) for a, h in body]
            glass = [[(1 - a, h) for a, h in pane] for pane in glass]
    face: Face = [(body, paint), (box(0.02, 0.98, 0.18, 0.34), brightened(paint, 0.72))]
    face += [(pane, GLASS) for pane in glass]
    for axle in axles:
        rim = [(axle + (x - 0.5) * 2 * radius / length, radius / height * (1 + y)) for x, y in wheel]
        hub = [(axle + (x - 0.5) * 1.1 * radius / length, radius / height * (1 + 0.55 * y)) for x, y in wheel]
        face += [(rim, BLACK), (hub, (125, 125, 125))]
    return face
