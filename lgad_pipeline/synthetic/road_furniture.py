"""Road furniture: guard rails, walls, fences, kerbs, street lamps, signs and traffic lights."""

from functools import partial

import numpy as np

from lgad_pipeline.synthetic.canvas import Canvas, Colour, Item, brightened, posts_along, strip_along
from lgad_pipeline.synthetic.layout import Side


def edge_items(rng: np.random.Generator, canvas: Canvas, side: Side, u: float, sign: int) -> list[Item]:
    """Create the items of one edge of the carriageway.

    Args:
        rng: random generator of the frame.
        canvas: canvas that the items are drawn on.
        side: cross-section of this side of the road.
        u: position of the edge, m to the right of the ego lane's middle.
        sign: outward direction, -1 for left, 1 for right.
    """
    shine = float(rng.uniform(0.75, 1.15))
    if side.edge == "rail":
        steel: Colour = (165 * shine, 160 * shine, 152 * shine)
        bands = [
            (0.44, 0.80, brightened(steel, 0.62)),
            (0.50, 0.57, brightened(steel, 1.05)),
            (0.60, 0.66, brightened(steel, 0.45)),
            (0.69, 0.79, brightened(steel, 1.15)),
        ]
        posts = posts_along(
            canvas, u + 0.12 * sign, 0.12, 0.6, float(rng.uniform(2, 4)), brightened(steel, 0.6), 60
        )
        return posts + strip_along(canvas, u, bands, 220)
    if side.edge == "wall":
        concrete: Colour = (160 * shine, 162 * shine, 164 * shine)
        top = float(rng.uniform(0.7, 1.1))
        return strip_along(canvas, u, [(0, top, concrete), (0, 0.25, brightened(concrete, 0.78))], 220)
    if side.edge == "fence":
        tone: Colour = (205 * shine, 205 * shine, 200 * shine) if rng.random() < 0.7 else (70, 80, 60)
        bands = [(0.95, 1.02, tone), (0.52, 0.57, tone), (0.12, 0.2, tone), (0.0, 0.1, brightened(tone, 0.5))]
        bars = posts_along(canvas, u, 0.035, 1.0, 0.3, tone, 14) + posts_along(
            canvas, u, 0.1, 1.1, 3.0, tone, 90
        )
        return bars + strip_along(canvas, u, bands, 200)
    if side.edge in ("kerb", "hedge"):
        stone: Colour = (170 * shine, 172 * shine, 172 * shine)
        return strip_along(canvas, u, [(0, float(rng.uniform(0.1, 0.2)), stone)], 150)
    return []


def _draw_lamp_post(
    image: np.ndarray, canvas: Canvas, u: float, z: float, height: float, reach: float, colour: Colour
) -> None:
    """Draw a street lamp: post of `height` m at (u, z) with an arm of `reach` m."""
    w = 0.07 + 0.0006 * z
    canvas.polygon(
        image,
        np.array([[u - w, 0, z], [u + w, 0, z], [u + 0.6 * w, height, z], [u - 0.6 * w, height, z]]),
        colour,
        z,
    )
    arm = np.array(
        [[u, height - 0.3, z], [u + reach, height + 0.1, z], [u + reach, height + 0.22, z], [u, height, z]]
    )
    canvas.polygon(image, arm, colour, z)


def lamp_row(
    rng: np.random.Generator, canvas: Canvas, u: float, sign: int, lights: list[np.ndarray]
) -> list[Item]:
    """Create street lamps along the road, with arms over it.

    Args:
        rng: random generator of the frame.
        canvas: canvas that the items are drawn on.
        u: position of the posts, m to the right of the ego lane's middle.
        sign: outward direction, -1 for left, 1 for right.
        lights: list that the positions of the lamps are appended to, (u, height, z) in m.
    """
    height, step = float(rng.uniform(6, 10)), float(rng.uniform(22, 40))
    reach = -sign * float(rng.uniform(1, 2.5))
    grey = float(rng.uniform(90, 200))
    items = []
    for z in np.arange(rng.uniform(5, 30), 260, step):
        items.append(
            Item(
                float(z),
                partial(
                    _draw_lamp_post,
                    canvas=canvas,
                    u=u,
                    z=float(z),
                    height=height,
                    reach=reach,
                    colour=(grey, grey, grey),
                ),
            )
        )
        lights.append(np.array([u + reach, height, z]))
    return items


def _draw_sign(
    image: np.ndarray,
    canvas: Canvas,
    box: tuple[float, float, float, float],
    z: float,
    colour: Colour,
    seed: int,
) -> None:
    """Draw a board (left, right, low, high) in m, with bright strokes as lettering."""
    left, right, low, high = box
    wide, tall = right - left, high - low
    canvas.polygon(
        image, np.array([[left, low, z], [right, low, z], [right, high, z], [left, high, z]]), colour, z
    )
    rng = np.random.default_rng(seed)
    for _ in range(int(6 + 4 * (right - left))):
        a, b = left + rng.uniform(0.1, 0.75) * wide, low + rng.uniform(0.15, 0.7) * tall
        w, h = (0.3, 0.06) if rng.random() < 0.5 else (0.06, 0.25)
        w, h = min(w, 0.15 * wide), min(h, 0.2 * tall)
        canvas.polygon(
            image, np.array([[a, b, z], [a + w, b, z], [a + w, b + h, z], [a, b + h, z]]), (235, 235, 235), z
        )


def signs(rng: np.random.Generator, canvas: Canvas, left: float, right: float) -> list[Item]:
    """Create sign boards at the road or on a gantry over it; `left` and `right` are the road's edges, m."""
    items = []
    for _ in range(int(rng.integers(0, 3))):
        z = float(rng.uniform(18, 140))
        colour: Colour = [(150, 70, 20), (75, 120, 20), (200, 205, 205), (30, 40, 190)][
            int(rng.integers(0, 4))
        ]
        if rng.random() < 0.35:
            low, width = float(rng.uniform(5.2, 6.2)), min(float(rng.uniform(3, 6)), right - left)
            u = left + float(rng.random()) * (right - left - width)
            beam = np.array(
                [
                    [left - 1, low + 0.8, z],
                    [right + 1, low + 0.8, z],
                    [right + 1, low + 1.1, z],
                    [left - 1, low + 1.1, z],
                ]
            )
            items.append(Item(z + 0.2, partial(canvas.polygon, points=beam, colour=(150, 150, 150), z=z)))
            items += _pole(canvas, right + 1, z + 0.1, low + 1.1, 0.16)
            box = (u, u + width, low, low + width * 0.6)
        else:
            u = (
                float(right + rng.uniform(0.8, 4))
                if rng.random() < 0.75
                else float(left - rng.uniform(1.5, 4))
            )
            size = float(rng.uniform(0.6, 2.2))
            low = float(rng.uniform(1.8, 3.2))
            items += _pole(canvas, u + size / 2, z + 0.1, low + 0.2, 0.05)
            box = (u, u + size, low, low + size * float(rng.uniform(0.6, 1.2)))
        items.append(
            Item(
                z,
                partial(
                    _draw_sign, canvas=canvas, box=box, z=z, colour=colour, seed=int(rng.integers(0, 2**31))
                ),
            )
        )
    return items


def _pole(canvas: Canvas, u: float, z: float, height: float, half: float) -> list[Item]:
    """Create a pole of `height` m at (u, z), `half` m to each side."""
    corners = np.array([[u - half, 0, z], [u + half, 0, z], [u + half, height, z], [u - half, height, z]])
    return [Item(z, partial(canvas.polygon, points=corners, colour=(140, 140, 140), z=z))]


def traffic_lights(rng: np.random.Generator, canvas: Canvas, u: float, z: float) -> list[Item]:
    """Create a mast at (u, z) in m with traffic lights on an arm over the road."""
    height, reach = float(rng.uniform(5.5, 6.5)), float(rng.uniform(4, 10))
    grey = float(rng.uniform(110, 200))
    lit: Colour = (60, 60, 235) if rng.random() < 0.5 else (150, 220, 60)
    items = _pole(canvas, u, z + 0.1, height, 0.1)
    arm = np.array(
        [[u - reach, height, z], [u, height - 0.2, z], [u, height + 0.1, z], [u - reach, height + 0.12, z]]
    )
    items.append(Item(z, partial(canvas.polygon, points=arm, colour=(grey, grey, grey), z=z)))
    for x in rng.uniform(u - reach, u - 1, 3):
        low = height - 1.1
        case = np.array([[x, low, z], [x + 0.4, low, z], [x + 0.4, low + 1.2, z], [x, low + 1.2, z]])
        lamp = np.array(
            [
                [x + 0.08, low + 0.1, z],
                [x + 0.32, low + 0.1, z],
                [x + 0.32, low + 0.35, z],
                [x + 0.08, low + 0.35, z],
            ]
        )
        items.append(Item(z - 0.1, partial(canvas.polygon, points=case, colour=(35, 35, 35), z=z)))
        items.append(Item(z - 0.2, partial(canvas.polygon, points=lamp, colour=lit, z=z)))
    return items
