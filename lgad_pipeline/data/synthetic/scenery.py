"""What stands beside the road: plants, houses, rails, walls, fences, poles, signs."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from lgad_pipeline.data.synthetic import sprites
from lgad_pipeline.data.synthetic.camera import FRAME_WIDTH
from lgad_pipeline.data.synthetic.layout import Layout, Side
from lgad_pipeline.data.synthetic.light import Light
from lgad_pipeline.data.synthetic.road import Ground

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Item:
    """Something to draw; items are drawn from far to near."""

    z: float
    draw: Callable[[np.ndarray], None]


class Stage:
    """Draws upright things at places of the road, with the air between."""

    def __init__(self, ground: Ground, light: Light) -> None:
        self.ground = ground
        self.light = light

    def haze(self, z: float) -> tuple[float, Colour]:
        """Share and colour of the air in front of a thing at distance `z`."""
        return 1 - float(np.exp(-z / self.light.haze)), self.light.skyline

    def aired(self, colour: Colour, z: float) -> Colour:
        """`colour` as seen through the air."""
        share, air = self.haze(z)
        b, g, r = (c + (a - c) * share for c, a in zip(colour, air, strict=True))
        return b, g, r

    def polygon(self, image: np.ndarray, points: np.ndarray, colour: Colour, z: float) -> None:
        """Fill the polygon of road places `points` (N, 3): u, height, z in metres."""
        xy = self.ground.points(points[:, 0], np.maximum(points[:, 2], 0.8), points[:, 1])
        xy = np.round(np.clip(xy, -8000, 9000) * 16).astype(np.int32)
        cv2.fillPoly(image, [xy], self.aired(colour, z), cv2.LINE_AA, 4)

    def sprite(
        self,
        image: np.ndarray,
        sprite: sprites.Sprite,
        u: float,
        z: float,
        height: float,
        gain: Colour,
        flip: bool,
    ) -> None:
        """Paste a sprite of `height` m that stands at (u, z)."""
        x, y = self.ground.points(u, z)
        size = height * self.ground.camera.focal / z
        half = 0.5 * size * sprite.aspect
        if size < 2 or x + half < 0 or x - half > FRAME_WIDTH:
            return
        sprites.paste(image, sprite, float(x), float(y) + 0.02 * size, size, gain, self.haze(z), flip)


def strip_along(stage: Stage, u: float, bands: list[tuple[float, float, Colour]], far: float) -> list[Item]:
    """A wall or rail along `u`, as items of growing length; bands are (lower, upper height in m, colour)."""
    edges = np.geomspace(1.2, far, 15)
    items = []

    def draw(image: np.ndarray, near: float, end: float) -> None:
        z = np.linspace(near, end, 4)
        for low, high, colour in bands:
            lower = np.stack([np.full(4, u), np.full(4, low), z], 1)
            upper = np.stack([np.full(4, u), np.full(4, high), z], 1)[::-1]
            stage.polygon(image, np.concatenate([lower, upper]), colour, near)

    for near, end in zip(edges[:-1], edges[1:], strict=True):
        items.append(Item(float(near), partial(draw, near=float(near), end=float(end) * 1.002)))
    return items


def posts_along(
    stage: Stage, u: float, width: float, height: float, step: float, colour: Colour, far: float
) -> list[Item]:
    """Posts at equal steps along `u`."""
    items = []

    def draw(image: np.ndarray, z: float) -> None:
        half = 0.5 * width
        corners = np.array([[u - half, 0, z], [u + half, 0, z], [u + half, height, z], [u - half, height, z]])
        stage.polygon(image, corners, colour, z)

    for z in np.arange(2.0, far, step):
        items.append(Item(float(z), partial(draw, z=float(z))))
    return items


def _scaled(colour: Colour, gain: float) -> Colour:
    b, g, r = (float(np.clip(c * gain, 0, 255)) for c in colour)
    return b, g, r


def edge_items(rng: np.random.Generator, stage: Stage, side: Side, u: float, sign: int) -> list[Item]:
    """The edge of the carriageway at `u`; `sign` is the way outward."""
    shine = float(rng.uniform(0.75, 1.15))
    if side.edge == "rail":
        steel: Colour = (165 * shine, 160 * shine, 152 * shine)
        bands = [
            (0.44, 0.80, _scaled(steel, 0.62)),
            (0.50, 0.57, _scaled(steel, 1.05)),
            (0.60, 0.66, _scaled(steel, 0.45)),
            (0.69, 0.79, _scaled(steel, 1.15)),
        ]
        posts = posts_along(
            stage, u + 0.12 * sign, 0.12, 0.6, float(rng.uniform(2, 4)), _scaled(steel, 0.6), 60
        )
        return posts + strip_along(stage, u, bands, 220)
    if side.edge == "wall":
        concrete: Colour = (160 * shine, 162 * shine, 164 * shine)
        top = float(rng.uniform(0.7, 1.1))
        return strip_along(stage, u, [(0, top, concrete), (0, 0.25, _scaled(concrete, 0.78))], 220)
    if side.edge == "fence":
        tone: Colour = (205 * shine, 205 * shine, 200 * shine) if rng.random() < 0.7 else (70, 80, 60)
        bands = [(0.95, 1.02, tone), (0.52, 0.57, tone), (0.12, 0.2, tone), (0.0, 0.1, _scaled(tone, 0.5))]
        bars = posts_along(stage, u, 0.035, 1.0, 0.3, tone, 14) + posts_along(
            stage, u, 0.1, 1.1, 3.0, tone, 90
        )
        return bars + strip_along(stage, u, bands, 200)
    items: list[Item] = []
    if side.edge == "hedge":
        height = float(rng.uniform(0.6, 1.3))
        items += plant_row(rng, stage, ["bush"], u + 0.6 * sign, height, 1.0, 45, far_step=5.0)
    if side.edge in ("kerb", "hedge"):
        stone: Colour = (170 * shine, 172 * shine, 172 * shine)
        items += strip_along(stage, u, [(0, float(rng.uniform(0.1, 0.2)), stone)], 150)
    return items


def plant_row(
    rng: np.random.Generator,
    stage: Stage,
    kinds: list[str],
    u: float,
    height: float,
    step: float,
    near_far: float,
    far_step: float,
    start: float = 3.0,
) -> list[Item]:
    """Plants in a row along `u`: every `step` m up to `near_far`, every `far_step` beyond it."""
    bank = [sprite for kind in kinds for sprite in sprites.plants(kind)]
    gain = rng.uniform(0.5, 1.15) * np.clip(1 + rng.normal(0, [0.12, 0.06, 0.16]), 0.6, 1.5)
    places = np.concatenate([np.arange(start, near_far, step), np.arange(near_far, 260, far_step)])
    items = []
    for z in places + rng.uniform(-0.3, 0.3, len(places)) * step:
        own = gain * rng.uniform(0.75, 1.15) * np.clip(1 + rng.normal(0, [0.08, 0.04, 0.1]), 0.7, 1.3)
        tint = (float(own[0]), float(own[1]), float(own[2]))
        draw = partial(
            stage.sprite,
            sprite=bank[int(rng.integers(0, len(bank)))],
            u=u + float(rng.normal(0, 0.08 * height)),
            z=float(z),
            height=height * float(rng.uniform(0.75, 1.25)),
            gain=tint,
            flip=bool((rng.random() < 0.5) if stage.light.hardness < 0.2 else stage.light.sun < 0),
        )
        items.append(Item(float(z), draw))
    return items


def _house(
    image: np.ndarray,
    stage: Stage,
    sprite: sprites.Sprite,
    near: float,
    far: float,
    u: float,
    height: float,
    width: float,
    gain: float,
) -> None:
    """A block with one face to the road (u, near..far) and one to the camera (outward from u at `near`)."""
    share, air = stage.haze(near)
    texture = sprite.levels[0] if near < 40 else sprite.levels[1]
    outer = u + np.sign(u) * width
    for corners, tone in (
        ([(u, near), (u, far), (u, far), (u, near)], gain * 0.8),
        ([(outer, near), (u, near), (u, near), (outer, near)], gain),
    ):
        heights = np.array([height, height, 0, 0])
        place = np.array(corners)
        target = stage.ground.points(place[:, 0], place[:, 1], heights).astype(np.float32)
        low = np.floor(np.clip(target.min(0), 0, [FRAME_WIDTH - 1, image.shape[0] - 1])).astype(int)
        high = np.ceil(np.clip(target.max(0), 0, [FRAME_WIDTH, image.shape[0]])).astype(int)
        if high[0] - low[0] < 2 or high[1] - low[1] < 2:
            continue
        h, w = texture.shape[:2]
        source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, target - low.astype(np.float32))
        piece = cv2.warpPerspective(texture, matrix, (int(high[0] - low[0]), int(high[1] - low[1])))
        sprites.blend(image[low[1] : high[1], low[0] : high[0]], piece, (tone, tone, tone), (share, air))


def houses(rng: np.random.Generator, stage: Stage, u: float, sign: int) -> list[Item]:
    """A loose row of houses, `u` m out on the side `sign`."""
    items = []
    z = float(rng.uniform(8, 60))
    while z < 260:
        depth, height = float(rng.uniform(10, 40)), float(rng.uniform(5, 32))
        sprite = sprites.facades()[int(rng.integers(0, 6))]
        draw = partial(
            _house, stage=stage, sprite=sprite, near=z, far=z + depth, u=sign * (u + float(rng.uniform(0, 10))),
            height=height, width=float(rng.uniform(10, 25)), gain=float(rng.uniform(0.6, 1.1)),
        )  # fmt: skip
        items.append(Item(z + 1, draw))
        z += depth + float(rng.exponential(25))
    return items


def _lamp(
    image: np.ndarray, stage: Stage, u: float, z: float, height: float, reach: float, colour: Colour
) -> None:
    w = 0.07 + 0.0006 * z
    stage.polygon(
        image,
        np.array([[u - w, 0, z], [u + w, 0, z], [u + 0.6 * w, height, z], [u - 0.6 * w, height, z]]),
        colour,
        z,
    )
    arm = np.array(
        [[u, height - 0.3, z], [u + reach, height + 0.1, z], [u + reach, height + 0.22, z], [u, height, z]]
    )
    stage.polygon(image, arm, colour, z)


def lamp_row(
    rng: np.random.Generator, stage: Stage, u: float, sign: int, lights: list[np.ndarray]
) -> list[Item]:
    """Street lamps along `u`, arms over the road; their heads are added to `lights` as (u, height, z)."""
    height, step = float(rng.uniform(6, 10)), float(rng.uniform(22, 40))
    reach = -sign * float(rng.uniform(1, 2.5))
    grey = float(rng.uniform(90, 200))
    items = []
    for z in np.arange(rng.uniform(5, 30), 260, step):
        items.append(
            Item(
                float(z),
                partial(
                    _lamp, stage=stage, u=u, z=float(z), height=height, reach=reach, colour=(grey, grey, grey)
                ),
            )
        )
        lights.append(np.array([u + reach, height, z]))
    return items


def _sign(
    image: np.ndarray,
    stage: Stage,
    box: tuple[float, float, float, float],
    z: float,
    colour: Colour,
    seed: int,
) -> None:
    """A board (left, right, low, high) with bright strokes for its lettering."""
    left, right, low, high = box
    stage.polygon(
        image, np.array([[left, low, z], [right, low, z], [right, high, z], [left, high, z]]), colour, z
    )
    rng = np.random.default_rng(seed)
    for _ in range(int(6 + 4 * (right - left))):
        a, b = rng.uniform(left + 0.15, right - 0.4), rng.uniform(low + 0.2, high - 0.3)
        w, h = (0.3, 0.06) if rng.random() < 0.5 else (0.06, 0.25)
        stage.polygon(
            image, np.array([[a, b, z], [a + w, b, z], [a + w, b + h, z], [a, b + h, z]]), (235, 235, 235), z
        )


def signs(rng: np.random.Generator, stage: Stage, left: float, right: float) -> list[Item]:
    """Sign boards beside the road or on a gantry over it, between the road's edges."""
    items = []
    for _ in range(int(rng.integers(0, 3))):
        z = float(rng.uniform(18, 140))
        colour: Colour = [(150, 70, 20), (75, 120, 20), (200, 205, 205), (30, 40, 190)][
            int(rng.integers(0, 4))
        ]
        if rng.random() < 0.35:
            low, width = float(rng.uniform(5.2, 6.2)), float(rng.uniform(3, 6))
            u = float(rng.uniform(left, right - width))
            beam = np.array(
                [
                    [left - 1, low + 0.8, z],
                    [right + 1, low + 0.8, z],
                    [right + 1, low + 1.1, z],
                    [left - 1, low + 1.1, z],
                ]
            )
            items.append(Item(z + 0.2, partial(stage.polygon, points=beam, colour=(150, 150, 150), z=z)))
            items += _pole(stage, right + 1, z + 0.1, low + 1.1, 0.16)
            box = (u, u + width, low, low + width * 0.6)
        else:
            u = (
                float(right + rng.uniform(0.8, 4))
                if rng.random() < 0.75
                else float(left - rng.uniform(1.5, 4))
            )
            size = float(rng.uniform(0.6, 2.2))
            low = float(rng.uniform(1.8, 3.2))
            items += _pole(stage, u + size / 2, z + 0.1, low + 0.2, 0.05)
            box = (u, u + size, low, low + size * float(rng.uniform(0.6, 1.2)))
        items.append(
            Item(
                z, partial(_sign, stage=stage, box=box, z=z, colour=colour, seed=int(rng.integers(0, 2**31)))
            )
        )
    return items


def _pole(stage: Stage, u: float, z: float, height: float, half: float) -> list[Item]:
    corners = np.array([[u - half, 0, z], [u + half, 0, z], [u + half, height, z], [u - half, height, z]])
    return [Item(z, partial(stage.polygon, points=corners, colour=(140, 140, 140), z=z))]


def backdrop(image: np.ndarray, rng: np.random.Generator, stage: Stage, urban: bool) -> None:
    """Distant hills, woods and houses behind the road's end."""
    strips = sprites.skylines()
    foot = stage.ground.vanishing + 3
    if rng.random() < 0.4:
        size = float(rng.uniform(25, 90))
        _skyline(image, rng, strips[int(rng.integers(4, 6))], foot, size, 0.72, stage)
    for _ in range(int(rng.integers(1, 3))):
        number = int(rng.integers(2, 4) if urban else rng.integers(0, 2))
        _skyline(
            image, rng, strips[number], foot, float(rng.uniform(14, 75)), float(rng.uniform(0.1, 0.5)), stage
        )


def _skyline(
    image: np.ndarray,
    rng: np.random.Generator,
    sprite: sprites.Sprite,
    foot: float,
    size: float,
    air: float,
    stage: Stage,
) -> None:
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
        (air, stage.light.skyline),
        bool(rng.random() < 0.5),
        widen,
    )


def roadside(rng: np.random.Generator, stage: Stage, layout: Layout, lights: list[np.ndarray]) -> list[Item]:
    """Everything beside the road, on both sides."""
    items: list[Item] = []
    left_end = layout.lines[0].u - layout.left.shoulder
    right_end = layout.lines[-1].u + layout.right.shoulder
    for side, end, sign in ((layout.left, left_end, -1), (layout.right, right_end, 1)):
        items += edge_items(rng, stage, side, end, sign)
        outer = end + sign * side.strip
        if side.beyond:
            if side.strip > 1.5 and rng.random() < 0.5:
                items += plant_row(
                    rng,
                    stage,
                    _kinds(rng),
                    end + sign * side.strip / 2,
                    float(rng.uniform(2.5, 6)),
                    float(rng.uniform(5, 14)),
                    70,
                    14.0,
                )
            outer += sign * (3.6 * side.beyond + 1.5)
        density = float(rng.uniform(0, 1))
        if density > 0.25:
            step = float(rng.uniform(3, 10))
            items += plant_row(
                rng,
                stage,
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
                stage,
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
                stage,
                ["bush"],
                outer + sign * float(rng.uniform(0.8, 3)),
                float(rng.uniform(0.7, 2.2)),
                1.7,
                40,
                7.0,
            )
        if rng.random() < (0.65 if layout.urban else 0.15):
            items += houses(rng, stage, abs(outer) + float(rng.uniform(4, 16)), sign)
        if rng.random() < (0.6 if layout.urban else 0.25):
            items += lamp_row(rng, stage, outer if rng.random() < 0.5 else end + 0.4 * sign, sign, lights)
    return items + signs(rng, stage, left_end, right_end)


def _kinds(rng: np.random.Generator) -> list[str]:
    pool = ["broad", "airy", "tall", "conifer", "broad", "airy", "bare"]
    return [pool[i] for i in rng.choice(7, int(rng.integers(1, 3)), replace=False)]
