"""Roadside scenery: plants, buildings, skyline, and the composition of both sides of the road."""

from functools import partial

import cv2
import numpy as np

from lgad_pipeline.synthetic import sprites
from lgad_pipeline.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.synthetic.canvas import Canvas, Item
from lgad_pipeline.synthetic.layout import Layout
from lgad_pipeline.synthetic.road_furniture import edge_items, lamp_row, signs, traffic_lights


def plant_row(
    rng: np.random.Generator,
    canvas: Canvas,
    kinds: list[str],
    u: float,
    height: float,
    step: float,
    near_far: float,
    far_step: float,
    start: float = 3.0,
) -> list[Item]:
    """Create a row of plants along the road.

    Args:
        rng: random generator of the frame.
        canvas: canvas that the items are drawn on.
        kinds: kinds of plants.
        u: position of the row, m to the right of the ego lane's middle.
        height: mean height of the plants, m.
        step: distance of two plants up to `near_far`, m.
        near_far: distance z where the spacing changes, m.
        far_step: distance of two plants beyond `near_far`, m.
        start: distance z of the first plant, m.
    """
    bank = [sprite for kind in kinds for sprite in sprites.plants(kind)]
    gain = rng.uniform(0.32, 0.95) * np.clip(1 + rng.normal(0, [0.14, 0.06, 0.16]), 0.6, 1.5)
    places = np.concatenate([np.arange(start, near_far, step), np.arange(near_far, 260, far_step)])
    items = []
    for z in places + rng.uniform(-0.3, 0.3, len(places)) * step:
        own = gain * rng.uniform(0.75, 1.15) * np.clip(1 + rng.normal(0, [0.08, 0.04, 0.1]), 0.7, 1.3)
        tint = (float(own[0]), float(own[1]), float(own[2]))
        draw = partial(
            canvas.sprite,
            sprite=bank[int(rng.integers(0, len(bank)))],
            u=u + float(rng.normal(0, 0.08 * height)),
            z=float(z),
            height=height * float(rng.uniform(0.75, 1.25)),
            gain=tint,
            flip=bool((rng.random() < 0.5) if canvas.light.hardness < 0.2 else canvas.light.sun < 0),
        )
        items.append(Item(float(z), draw))
    return items


def _draw_building(
    image: np.ndarray,
    canvas: Canvas,
    sprite: sprites.Sprite,
    near: float,
    far: float,
    u: float,
    height: float,
    width: float,
    gain: float,
) -> None:
    """Draw a building with one face to the road (u, near..far) and one to the camera (at near)."""
    share, air = canvas.haze(near)
    texture = sprite.levels[0] if near < 40 else sprite.levels[1]
    outer = u + np.sign(u) * width
    for corners, tone in (
        ([(u, near), (u, far), (u, far), (u, near)], gain * 0.8),
        ([(outer, near), (u, near), (u, near), (outer, near)], gain),
    ):
        heights = np.array([height, height, 0, 0])
        place = np.array(corners)
        target = canvas.ground.points(place[:, 0], place[:, 1], heights).astype(np.float32)
        low = np.floor(np.clip(target.min(0), 0, [FRAME_WIDTH - 1, image.shape[0] - 1])).astype(int)
        high = np.ceil(np.clip(target.max(0), 0, [FRAME_WIDTH, image.shape[0]])).astype(int)
        if high[0] - low[0] < 2 or high[1] - low[1] < 2:
            continue
        h, w = texture.shape[:2]
        source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, target - low.astype(np.float32))
        piece = cv2.warpPerspective(texture, matrix, (int(high[0] - low[0]), int(high[1] - low[1])))
        sprites.blend(image[low[1] : high[1], low[0] : high[0]], piece, (tone, tone, tone), (share, air))


def building_row(rng: np.random.Generator, canvas: Canvas, u: float, sign: int) -> list[Item]:
    """Create a loose row of buildings, `u` m from the ego lane's middle; sign is -1 for left, 1 for right."""
    items = []
    z = float(rng.uniform(8, 60))
    while z < 260:
        depth, height = float(rng.uniform(10, 40)), float(rng.uniform(5, 32))
        sprite = sprites.facades()[int(rng.integers(0, 6))]
        draw = partial(
            _draw_building, canvas=canvas, sprite=sprite, near=z, far=z + depth,
            u=sign * (u + float(rng.uniform(0, 10))),
            height=height, width=float(rng.uniform(10, 25)), gain=float(rng.uniform(0.6, 1.1)),
        )  # fmt: skip
        items.append(Item(z + 1, draw))
        z += depth + float(rng.exponential(25))
    return items


def backdrop(image: np.ndarray, rng: np.random.Generator, canvas: Canvas, urban: bool) -> None:
    """Draw distant hills, woods and buildings at the horizon, in place."""
    strips = sprites.skylines()
    foot = canvas.ground.vanishing + 3
    if rng.random() < 0.4:
        size = float(rng.uniform(25, 90))
        _skyline(image, rng, strips[int(rng.integers(4, 6))], foot, size, 0.72, canvas)
    for _ in range(int(rng.integers(1, 3))):
        number = int(rng.integers(2, 4) if urban else rng.integers(0, 2))
        _skyline(
            image, rng, strips[number], foot, float(rng.uniform(14, 75)), float(rng.uniform(0.1, 0.5)), canvas
        )


def _skyline(
    image: np.ndarray,
    rng: np.random.Generator,
    sprite: sprites.Sprite,
    foot: float,
    size: float,
    air: float,
    canvas: Canvas,
) -> None:
    """Draw one strip of skyline with its lower edge at row `foot`, `size` px high, faded by `air` (0..1)."""
    widen = max(1.0, 1.15 * FRAME_WIDTH / (size * sprite.aspect)) * float(rng.uniform(1, 1.6))
    slack = 0.5 * (size * sprite.aspect * widen - FRAME_WIDTH)
    x = 0.5 * FRAME_WIDTH + float(rng.uniform(-slack, slack))
    gain = float(rng.uniform(0.45, 0.95))
    sprites.paste(
        image,
        sprite,
        x,
        foot,
        size,
        (gain, gain, gain),
        (air, canvas.light.skyline),
        bool(rng.random() < 0.5),
        widen,
    )


def roadside(
    rng: np.random.Generator, canvas: Canvas, layout: Layout, lights: list[np.ndarray]
) -> list[Item]:
    """Create the items of both sides of the road.

    Args:
        rng: random generator of the frame.
        canvas: canvas that the items are drawn on.
        layout: cross-section of the road.
        lights: list that the positions of street lamps are appended to, (u, height, z) in m.
    """
    items: list[Item] = []
    left_end = layout.lines[0].u - layout.left.shoulder
    right_end = layout.lines[-1].u + layout.right.shoulder
    for side, end, sign in ((layout.left, left_end, -1), (layout.right, right_end, 1)):
        items += edge_items(rng, canvas, side, end, sign)
        if side.edge == "hedge":
            items += plant_row(
                rng, canvas, ["bush"], end + 0.6 * sign, float(rng.uniform(0.6, 1.3)), 0.8, 45, 4.0
            )
        outer = end + sign * side.strip
        if side.beyond:
            if side.strip > 1.5 and rng.random() < 0.5:
                items += plant_row(
                    rng,
                    canvas,
                    _kinds(rng),
                    end + sign * side.strip / 2,
                    float(rng.uniform(2.5, 6)),
                    float(rng.uniform(5, 14)),
                    70,
                    14.0,
                )
            outer += sign * (3.6 * side.beyond + 1.5)
        density = float(rng.uniform(0, 1))
        if density > 0.15:
            step = float(rng.uniform(3, 10))
            items += plant_row(
                rng,
                canvas,
                _kinds(rng),
                outer + sign * float(rng.uniform(1.5, 4)),
                float(rng.uniform(4, 11)),
                step,
                60,
                1.6 * step,
                5.0,
            )
        if density > 0.5:
            items += plant_row(
                rng,
                canvas,
                _kinds(rng),
                outer + sign * float(rng.uniform(7, 14)),
                float(rng.uniform(6, 14)),
                5.0,
                70,
                9.0,
                9.0,
            )
        if rng.random() < 0.5:
            items += plant_row(
                rng,
                canvas,
                ["bush"],
                outer + sign * float(rng.uniform(0.8, 3)),
                float(rng.uniform(0.7, 2.2)),
                1.7,
                40,
                7.0,
            )
        if rng.random() < (0.45 if layout.urban else 0.12):
            items += building_row(rng, canvas, abs(outer) + float(rng.uniform(4, 16)), sign)
        if rng.random() < (0.6 if layout.urban else 0.25):
            items += lamp_row(rng, canvas, outer if rng.random() < 0.5 else end + 0.4 * sign, sign, lights)
    items += signs(rng, canvas, left_end, right_end)
    if layout.junction:
        near, far = layout.junction
        items = [item for item in items if not near - 1 < item.z < far + 1]
        items += traffic_lights(rng, canvas, right_end + 1, far + 2)
    return items


def _kinds(rng: np.random.Generator) -> list[str]:
    """Draw one or two kinds of plants for a row."""
    if rng.random() < 0.06:
        return ["bare"]
    pool = ["broad", "airy", "tall", "conifer"]
    return [pool[i] for i in rng.choice(4, int(rng.integers(1, 3)), replace=False)]
