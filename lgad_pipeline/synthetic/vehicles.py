"""Other vehicles: boxes with drawn faces, their traffic, and their lamps at night."""

from dataclasses import replace
from functools import partial

import cv2
import numpy as np

from lgad_pipeline.synthetic.canvas import Canvas, Colour, Item, brightened
from lgad_pipeline.synthetic.layout import Layout
from lgad_pipeline.synthetic.road import Ground
from lgad_pipeline.synthetic.vehicle_faces import (
    BLACK,
    SIZES,
    Face,
    Kind,
    Vehicle,
    box,
    end_face,
    end_setback,
    flank_face,
)

_PAINTS: list[Colour] = [
    (225, 228, 228), (205, 208, 210), (40, 38, 36), (28, 26, 25), (120, 122, 124), (150, 152, 155),
    (30, 30, 150), (110, 60, 30), (60, 75, 95), (70, 90, 130), (225, 228, 228), (190, 190, 188), (45, 60, 40),
]  # fmt: skip


def _fill(image: np.ndarray, canvas: Canvas, points: np.ndarray, face: Face, z: float) -> None:
    """Fill the polygons of a face in place; `points` are their corners, (N, 3) as (u, height, z) in m."""
    xy = canvas.ground.points(points[:, 0], np.maximum(points[:, 2], 0.9), points[:, 1])
    xy = np.round(np.clip(xy, -6000, 8000) * 16).astype(np.int32)
    start = 0
    for polygon, colour in face:
        cv2.fillPoly(image, [xy[start : start + len(polygon)]], canvas.hazed(colour, z), cv2.LINE_AA, 4)
        start += len(polygon)


def _shadow(image: np.ndarray, canvas: Canvas, vehicle: Vehicle) -> None:
    """Darken the ground under and next to a vehicle, in place."""
    width, height, length = vehicle.size
    ground, light = canvas.ground, canvas.light
    reach = -light.sun * 0.9 * height * light.hardness
    for half, lean, keep in ((0.60, reach, 1 - 0.75 * light.hardness), (0.52, 0.0, 0.45), (0.47, 0.0, 0.4)):
        a, b = vehicle.u - half * width + min(lean, 0), vehicle.u + half * width + max(lean, 0)
        near, far = vehicle.z - 0.15, vehicle.z + length
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


def _draw(image: np.ndarray, canvas: Canvas, vehicle: Vehicle) -> None:
    """Draw a vehicle with its shadow, in place."""
    width, height, length = vehicle.size
    if vehicle.kind == "bike":
        _draw_bike(image, canvas, vehicle)
        return
    light = canvas.light
    if vehicle.crossing:
        _shadow(image, canvas, replace(vehicle, size=(length, height, width)))
        face = flank_face(vehicle, 0.95)
        places = np.array([p for polygon, _ in face for p in polygon])
        across = vehicle.u + (places[:, 0] - 0.5) * length
        _fill(
            image,
            canvas,
            np.stack([across, places[:, 1] * height, np.full(len(places), vehicle.z)], 1),
            face,
            vehicle.z,
        )
        return
    _shadow(image, canvas, vehicle)
    lateral = float(canvas.ground.shape.lateral(vehicle.u, np.array(vehicle.z)))
    sunny = 1 + 0.25 * light.hardness
    flank = -1 if lateral > 0 else 1  # the side that the camera sees
    if abs(lateral) > 0.5 * width:
        face = flank_face(vehicle, sunny if light.sun == flank else 0.72)
        places = np.array([p for polygon, _ in face for p in polygon])
        across = np.full(len(places), vehicle.u + flank * 0.49 * width)
        # The glasshouse leans inward above the shoulders of a car.
        if vehicle.kind not in ("truck", "bus"):
            inset = 0.13 if vehicle.kind == "sedan" else 0.07
            across -= flank * width * np.interp(places[:, 1], [0.6, 1.0], [0.02, inset])
        _fill(
            image,
            canvas,
            np.stack([across, places[:, 1] * height, vehicle.z + places[:, 0] * length], 1),
            face,
            vehicle.z,
        )
    face = end_face(vehicle, 0.62 + 0.2 * light.hardness if vehicle.oncoming else 0.8)
    places = np.array([p for polygon, _ in face for p in polygon])
    back = vehicle.z + end_setback(vehicle, places[:, 1]) * length
    _fill(
        image,
        canvas,
        np.stack([vehicle.u + places[:, 0] * width, places[:, 1] * height, back], 1),
        face,
        vehicle.z,
    )


def _draw_bike(image: np.ndarray, canvas: Canvas, vehicle: Vehicle) -> None:
    jacket = vehicle.paint
    face: Face = [
        (box(-0.12, 0.12, 0, 0.4), BLACK),
        (box(-0.32, 0.32, 0.32, 0.5), brightened(BLACK, 2)),
        ([(-0.36, 0.42), (0.36, 0.42), (0.42, 0.78), (0.2, 0.86), (-0.2, 0.86), (-0.42, 0.78)], jacket),
        ([(-0.16, 0.86), (0.16, 0.86), (0.2, 0.94), (0.1, 1.0), (-0.1, 1.0), (-0.2, 0.94)], (60, 55, 140)),
        (box(-0.07, 0.07, 0.4, 0.46), (40, 35, 190)),
    ]
    places = np.array([p for polygon, _ in face for p in polygon])
    points = np.stack(
        [
            vehicle.u + places[:, 0] * vehicle.size[0],
            places[:, 1] * vehicle.size[1],
            np.full(len(places), vehicle.z),
        ],
        1,
    )
    _fill(image, canvas, points, face, vehicle.z)


def vehicle_items(canvas: Canvas, vehicles: list[Vehicle]) -> list[Item]:
    """Create the items of the vehicles that no crest hides."""
    return [
        Item(vehicle.z, partial(_draw, canvas=canvas, vehicle=vehicle))
        for vehicle in vehicles
        if not canvas.ground.hidden(vehicle.z)
    ]


def sample_vehicle(
    rng: np.random.Generator, u: float, z: float, oncoming: bool, bikes: float = 0.0
) -> Vehicle:
    """Draw a vehicle of random kind, colour and size.

    Args:
        rng: random generator of the frame.
        u: lateral position of its middle, m to the right of the ego lane's middle.
        z: distance of its near end, m.
        oncoming: true if it shows its front.
        bikes: probability of a bike.
    """
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
    return Vehicle(kind, u, z, brightened(paint, gain), oncoming, size)


def sample_traffic(rng: np.random.Generator, layout: Layout, crowded: bool) -> list[Vehicle]:
    """Draw vehicles in the lanes of both directions, and bikes at the edge of some urban roads."""
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
                vehicles.append(sample_vehicle(rng, middle + float(rng.normal(0, 0.22)), z, oncoming))
                z += vehicles[-1].size[2]
            z += 2.0 + float(rng.exponential(gap)) + (5 if own else 0)
    for lane in range(layout.left.beyond):
        u = layout.lines[0].u - layout.left.shoulder - layout.left.strip - 0.8 - 3.6 * (lane + 0.5)
        z = float(rng.uniform(6, 60))
        while z < 160:
            if rng.random() < 0.5:
                vehicles.append(sample_vehicle(rng, u + float(rng.normal(0, 0.2)), z, oncoming=True))
            z += 6 + float(rng.exponential(18 if crowded else 40))
    if layout.junction:
        near, far = layout.junction
        for _ in range(int(rng.integers(0, 5))):
            car = sample_vehicle(
                rng, float(rng.normal(0, 14)), float(rng.uniform(max(near, 8), far)), rng.random() < 0.5
            )
            vehicles.append(replace(car, crossing=True))
    if layout.urban and rng.random() < (0.5 if crowded else 0.25):
        for _ in range(int(rng.integers(1, 4))):
            u = layout.lines[-1].u + float(rng.uniform(0.0, 1.0)) * layout.right.shoulder
            vehicles.append(sample_vehicle(rng, u, float(rng.uniform(6, 60)), False, bikes=1.0))
    return vehicles


def _lamps_of(vehicle: Vehicle) -> list[tuple[np.ndarray, Colour, float]]:
    """Return a vehicle's lamps at night: position (u, height, z) in m, relative BGR colour and strength."""
    width, height, length = vehicle.size
    if vehicle.crossing:
        return [(np.array([vehicle.u - 0.5 * length, 0.65, vehicle.z]), (0.85, 0.95, 1.0), 0.7)]
    colour: Colour = (0.85, 0.95, 1.0) if vehicle.oncoming else (0.12, 0.1, 1.0)
    level = 0.65 if vehicle.oncoming else 0.9 * min(height * 0.55, 1.0)
    strength = 1.6 if vehicle.oncoming else 0.55
    sides = (0.0,) if vehicle.kind == "bike" else (-0.42 * width, 0.42 * width)
    return [(np.array([vehicle.u + side, level, vehicle.z]), colour, strength) for side in sides]


def visible_lamps(vehicles: list[Vehicle], ground: Ground) -> list[tuple[np.ndarray, Colour, float]]:
    """Return the lamps of all vehicles that no nearer vehicle hides; see `_lamps_of`."""
    boxes = []
    for vehicle in vehicles:
        half = 0.5 * (vehicle.size[2] if vehicle.crossing else vehicle.size[0])
        corners = ground.points(
            np.array([vehicle.u - half, vehicle.u + half]),
            np.array([vehicle.z, vehicle.z]),
            np.array([0, vehicle.size[1]]),
        )
        boxes.append((vehicle.z, corners.min(0), corners.max(0)))
    lamps = []
    for vehicle in vehicles:
        for lamp in _lamps_of(vehicle):
            point = ground.points(lamp[0][0], lamp[0][2], lamp[0][1])
            if not any(
                z < vehicle.z and (low < point).all() and (point < high).all() for z, low, high in boxes
            ):
                lamps.append(lamp)
    return lamps
