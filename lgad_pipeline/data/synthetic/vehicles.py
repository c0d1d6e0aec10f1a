"""Other vehicles: boxes with drawn faces, seen from behind or from ahead, by day and by night."""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import cv2
import numpy as np

from lgad_pipeline.data.synthetic.layout import Layout
from lgad_pipeline.data.synthetic.scenery import Colour, Item, Stage

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

_PAINTS: list[Colour] = [
    (225, 228, 228), (205, 208, 210), (40, 38, 36), (28, 26, 25), (120, 122, 124), (150, 152, 155), (30, 30, 150),
    (110, 60, 30), (60, 75, 95), (70, 90, 130), (225, 228, 228), (190, 190, 188), (45, 60, 40),
]  # fmt: skip

_GLASS: Colour = (52, 46, 40)
_BLACK: Colour = (22, 21, 21)


@dataclass(frozen=True)
class Vehicle:
    """A vehicle on the road: its middle `u` and its near end `z`, in metres; oncoming ones show their front."""

    kind: Kind
    u: float
    z: float
    paint: Colour
    oncoming: bool
    size: tuple[float, float, float]


def _outline(kind: Kind) -> list[tuple[float, float]]:
    """The rear silhouette: (across -0.5..0.5, up 0..1)."""
    if kind in ("truck", "bus"):
        return [(-0.5, 0.14), (0.5, 0.14), (0.5, 0.98), (0.47, 1.0), (-0.47, 1.0), (-0.5, 0.98)]
    shoulder, roof = (0.62, 0.36) if kind == "sedan" else (0.6, 0.42)
    return [
        (-0.48, 0.13), (0.48, 0.13), (0.5, 0.3), (0.495, 0.55), (0.47, shoulder), (roof + 0.03, 0.95), (roof - 0.06, 1.0),
        (-roof + 0.06, 1.0), (-roof - 0.03, 0.95), (-0.47, shoulder), (-0.495, 0.55), (-0.5, 0.3),
    ]  # fmt: skip


Face = list[tuple[list[tuple[float, float]], Colour]]


def _box(left: float, right: float, low: float, high: float) -> list[tuple[float, float]]:
    return [(left, low), (right, low), (right, high), (left, high)]


def _tone(colour: Colour, gain: float) -> Colour:
    b, g, r = (float(min(c * gain, 255)) for c in colour)
    return b, g, r


def _rear(v: Vehicle, gain: float) -> Face:
    """Polygons of the end that faces the camera, back to front."""
    paint = _tone(v.paint, gain)
    lamp: Colour = (215, 225, 225) if v.oncoming else (40, 35, 175)
    plate: Colour = (150, 75, 25) if v.kind != "truck" else (40, 170, 205)
    face: Face = [(_box(-0.47, -0.33, 0, 0.2), _BLACK), (_box(0.33, 0.47, 0, 0.2), _BLACK)]
    face.append((_box(-0.46, 0.46, 0.08, 0.2), _BLACK))
    if v.kind == "truck" and not v.oncoming:
        face += [
            (_box(-0.5, 0.5, 0.3, 1.0), paint),
            (_box(-0.48, 0.48, 0.17, 0.27), _tone(_BLACK, 2.2)),
            (_box(-0.5, 0.5, 0.93, 1.0), _tone(paint, 0.8)),
            (_box(-0.012, 0.012, 0.31, 0.93), _tone(paint, 0.6)),
            (_box(-0.34, -0.31, 0.31, 0.93), _tone(paint, 0.8)),
            (_box(0.31, 0.34, 0.31, 0.93), _tone(paint, 0.8)),
            (_box(-0.5, 0.5, 0.3, 0.33), _tone(paint, 0.55)),
            (_box(-0.46, -0.36, 0.2, 0.25), lamp),
            (_box(0.36, 0.46, 0.2, 0.25), lamp),
            (_box(-0.1, 0.1, 0.19, 0.25), plate),
        ]
        return face
    face.append((_outline(v.kind), paint))
    if v.kind in ("bus", "truck"):
        top = 0.92 if v.kind == "bus" else 0.78
        face += [
            (_box(-0.44, 0.44, 0.46, top), _GLASS),
            (_box(-0.44, 0.44, 0.46 + 0.6 * (top - 0.46), top), _tone(_GLASS, 1.8)),
            (_box(-0.49, 0.49, 0.14, 0.2), _tone(paint, 0.5)),
            (_box(-0.47, -0.38, 0.26, 0.36), lamp),
            (_box(0.38, 0.47, 0.26, 0.36), lamp),
            (_box(-0.1, 0.1, 0.2, 0.25), plate),
            (_box(-0.3, 0.3, 0.26, 0.38), _tone(paint, 0.82)),
        ]
        return face
    tall = v.kind != "sedan"
    glass_top, glass_low, half = (0.93, 0.64, 0.385) if tall else (0.94, 0.66, 0.36)
    face += [
        (
            [
                (-half - 0.03, glass_low),
                (half + 0.03, glass_low),
                (half - 0.04, glass_top),
                (-half + 0.04, glass_top),
            ],
            _GLASS,
        ),
        (
            [
                (-half, glass_low + 0.13),
                (half, glass_low + 0.13),
                (half - 0.04, glass_top),
                (-half + 0.04, glass_top),
            ],
            _tone(_GLASS, 2.0),
        ),
        (_box(-0.49, 0.49, 0.13, 0.31), _tone(paint, 0.72)),
        (_box(-0.43, 0.43, 0.13, 0.19), _tone(_BLACK, 1.6)),
        (_box(-0.48, 0.48, 0.575, 0.60), _tone(paint, 1.25)),
        (_box(-0.14, 0.14, 0.36, 0.44), _tone(plate, 1.0)),
        (_box(-0.11, 0.11, 0.385, 0.415), (200, 200, 200)),
    ]
    wide = 0.13 if not tall else 0.09
    low = 0.46 if not tall else 0.48
    face += [
        (_box(-0.49, -0.49 + wide, low, low + 0.13), lamp),
        (_box(0.49 - wide, 0.49, low, low + 0.13), lamp),
    ]
    if v.oncoming:
        face.append((_box(-0.3, 0.3, 0.3, 0.46), _tone(_BLACK, 1.5)))
    return face


def _side(v: Vehicle, gain: float) -> Face:
    """Polygons of the flank: (along 0 at the near end..1, up 0..1)."""
    paint = _tone(v.paint, gain)
    wheel = [(0.5 + 0.5 * np.cos(a), np.sin(a)) for a in np.linspace(0, 2 * np.pi, 14)[:-1]]
    width, height, length = v.size
    radius = 0.33 if v.kind in ("sedan", "suv", "van") else 0.48
    places = (0.2, 0.8) if v.kind != "bus" else (0.28, 0.78)
    if v.kind == "truck":
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
    elif v.kind == "bus":
        body = [(0, 0.14), (1, 0.14), (1, 1), (0, 1)]
        glass = [_box(0.03, 0.97, 0.48, 0.88)]
    elif v.kind == "sedan":
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
        if v.oncoming:
            body = [(1 - a, h) for a, h in body]
            glass = [[(1 - a, h) for a, h in pane] for pane in glass]
    else:
        body = [(0, 0.18), (1, 0.18), (1, 0.5), (0.84, 0.6), (0.7, 0.96), (0.1, 1.0), (0.02, 0.62), (0, 0.55)]
        glass = [
            [(0.1, 0.64), (0.42, 0.64), (0.42, 0.92), (0.13, 0.92)],
            [(0.44, 0.64), (0.78, 0.64), (0.67, 0.91), (0.44, 0.92)],
        ]
        if v.oncoming:
            body = [(1 - a, h) for a, h in body]
            glass = [[(1 - a, h) for a, h in pane] for pane in glass]
    face: Face = [(body, paint), (_box(0.02, 0.98, 0.18, 0.34), _tone(paint, 0.72))]
    face += [(pane, _GLASS) for pane in glass]
    for at in places:
        rim = [(at + (x - 0.5) * 2 * radius / length, radius / height * (1 + y)) for x, y in wheel]
        hub = [(at + (x - 0.5) * 1.1 * radius / length, radius / height * (1 + 0.55 * y)) for x, y in wheel]
        face += [(rim, _BLACK), (hub, (125, 125, 125))]
    return face


def _fill(image: np.ndarray, stage: Stage, points: np.ndarray, face: Face, z: float) -> None:
    """Fill the polygons of a face, whose road places (N, 3) are one after another in `points`."""
    xy = stage.ground.points(points[:, 0], np.maximum(points[:, 2], 0.9), points[:, 1])
    xy = np.round(np.clip(xy, -6000, 8000) * 16).astype(np.int32)
    start = 0
    for polygon, colour in face:
        cv2.fillPoly(image, [xy[start : start + len(polygon)]], stage.aired(colour, z), cv2.LINE_AA, 4)
        start += len(polygon)


def _shadow(image: np.ndarray, stage: Stage, v: Vehicle) -> None:
    width, height, length = v.size
    ground, light = stage.ground, stage.light
    reach = -light.sun * 0.9 * height * light.hardness
    for half, lean, keep in ((0.60, reach, 1 - 0.75 * light.hardness), (0.52, 0.0, 0.45), (0.47, 0.0, 0.4)):
        a, b = v.u - half * width + min(lean, 0), v.u + half * width + max(lean, 0)
        near, far = v.z - 0.15, v.z + length
        corners = ground.points(np.array([a, b, b, a]), np.maximum(np.array([near, near, far, far]), 1.0))
        low = np.clip(np.floor(corners.min(0)), 0, [image.shape[1], image.shape[0]]).astype(int)
        high = np.clip(np.ceil(corners.max(0)) + 1, 0, [image.shape[1], image.shape[0]]).astype(int)
        if (high - low).min() < 1 or keep > 0.97:
            continue
        area = image[low[1] : high[1], low[0] : high[0]]
        mask = np.full(area.shape, 255, np.uint8)
        shifted = np.round((corners - low) * 16).astype(np.int32)
        cv2.fillPoly(mask, [shifted], (255 * keep,) * 3, cv2.LINE_AA, 4)
        cv2.multiply(area, mask, area, scale=1 / 255)


def _draw(image: np.ndarray, stage: Stage, v: Vehicle) -> None:
    width, height, length = v.size
    if v.kind == "bike":
        _draw_bike(image, stage, v)
        return
    _shadow(image, stage, v)
    light = stage.light
    lateral = float(stage.ground.shape.lateral(v.u, np.array(v.z)))
    sunny = 1 + 0.25 * light.hardness
    flank = -1 if lateral > 0 else 1  # the side that the camera sees
    if abs(lateral) > 0.5 * width:
        face = _side(v, sunny if light.sun == flank else 0.72)
        places = np.array([p for polygon, _ in face for p in polygon])
        across = np.full(len(places), v.u + flank * 0.49 * width)
        # The glasshouse leans inward above the shoulders of a car.
        if v.kind not in ("truck", "bus"):
            across -= flank * width * 0.22 * np.clip(places[:, 1] - 0.6, 0, 1)
        _fill(
            image, stage, np.stack([across, places[:, 1] * height, v.z + places[:, 0] * length], 1), face, v.z
        )
    face = _rear(v, 0.62 + 0.2 * light.hardness if v.oncoming else 0.8)
    places = np.array([p for polygon, _ in face for p in polygon])
    points = np.stack([v.u + places[:, 0] * width, places[:, 1] * height, np.full(len(places), v.z)], 1)
    _fill(image, stage, points, face, v.z)


def _draw_bike(image: np.ndarray, stage: Stage, v: Vehicle) -> None:
    jacket = v.paint
    face: Face = [
        (_box(-0.12, 0.12, 0, 0.4), _BLACK),
        (_box(-0.32, 0.32, 0.32, 0.5), _tone(_BLACK, 2)),
        ([(-0.36, 0.42), (0.36, 0.42), (0.42, 0.78), (0.2, 0.86), (-0.2, 0.86), (-0.42, 0.78)], jacket),
        ([(-0.16, 0.86), (0.16, 0.86), (0.2, 0.94), (0.1, 1.0), (-0.1, 1.0), (-0.2, 0.94)], (60, 55, 140)),
        (_box(-0.07, 0.07, 0.4, 0.46), (40, 35, 190)),
    ]
    places = np.array([p for polygon, _ in face for p in polygon])
    points = np.stack(
        [v.u + places[:, 0] * v.size[0], places[:, 1] * v.size[1], np.full(len(places), v.z)], 1
    )
    _fill(image, stage, points, face, v.z)


def vehicle_items(stage: Stage, vehicles: list[Vehicle]) -> list[Item]:
    """Vehicles as items to draw."""
    return [Item(v.z, partial(_draw, stage=stage, v=v)) for v in vehicles if not stage.ground.hidden(v.z)]


def make_vehicle(rng: np.random.Generator, u: float, z: float, oncoming: bool, bikes: float = 0.0) -> Vehicle:
    """A vehicle of any kind at (u, z)."""
    shares = np.array([0.45, 0.24, 0.12, 0.09, 0.1, 0.0]) * (1 - bikes) + np.array([0, 0, 0, 0, 0, bikes])
    kind: Kind = list(SIZES)[int(rng.choice(6, p=shares))]
    width, height, length = SIZES[kind]
    paint = _PAINTS[int(rng.integers(0, len(_PAINTS)))]
    if kind == "bus":
        paint = [(40, 60, 190), (60, 140, 60), (200, 205, 205), (40, 130, 210)][int(rng.integers(0, 4))]
    gain = float(rng.uniform(0.8, 1.1))
    size = (
        width * float(rng.uniform(0.95, 1.05)),
        height * float(rng.uniform(0.92, 1.1)),
        length * float(rng.uniform(0.9, 1.1)),
    )
    return Vehicle(kind, u, z, _tone(paint, gain), oncoming, size)


def traffic(rng: np.random.Generator, layout: Layout, crowded: bool) -> list[Vehicle]:
    """Vehicles in the lanes of both directions, and now and then a bike at the edge."""
    vehicles = []
    density = float(rng.uniform(0.6, 1.0) if crowded else rng.uniform(0.0, 0.45))
    for number, middle in enumerate(layout.lane_middles):
        oncoming = number < layout.oncoming
        own = abs(middle) < 0.1
        z = (
            float(rng.uniform(5.5, 22) if crowded else rng.uniform(12, 90))
            if own
            else float(rng.uniform(2.5, 40))
        )
        gap = 6.0 + (6 if crowded else 45) * (1.2 - density)
        while z < 160:
            if rng.random() < density + 0.25 * crowded:
                vehicles.append(make_vehicle(rng, middle + float(rng.normal(0, 0.22)), z, oncoming))
                z += vehicles[-1].size[2]
            z += 2.0 + float(rng.exponential(gap)) + (5 if own else 0)
    for lane in range(layout.left.beyond):
        u = layout.lines[0].u - layout.left.shoulder - layout.left.strip - 0.8 - 3.6 * (lane + 0.5)
        z = float(rng.uniform(6, 60))
        while z < 160:
            if rng.random() < 0.5:
                vehicles.append(make_vehicle(rng, u + float(rng.normal(0, 0.2)), z, oncoming=True))
            z += 6 + float(rng.exponential(18 if crowded else 40))
    if layout.urban and rng.random() < (0.5 if crowded else 0.25):
        for _ in range(int(rng.integers(1, 4))):
            u = layout.lines[-1].u + float(rng.uniform(0.0, 1.0)) * layout.right.shoulder
            vehicles.append(make_vehicle(rng, u, float(rng.uniform(6, 60)), False, bikes=1.0))
    return vehicles


def lamps_of(v: Vehicle) -> list[tuple[np.ndarray, Colour, float]]:
    """Lamps that shine at night: place (u, height, z), colour and strength."""
    width, height, _ = v.size
    colour: Colour = (0.85, 0.95, 1.0) if v.oncoming else (0.12, 0.1, 1.0)
    level = 0.65 if v.oncoming else 0.9 * min(height * 0.55, 1.0)
    strength = 1.6 if v.oncoming else 0.55
    sides = (0.0,) if v.kind == "bike" else (-0.42 * width, 0.42 * width)
    return [(np.array([v.u + side, level, v.z]), colour, strength) for side in sides]
