"""Parts of the camera's own car in the frame: bonnet, windscreen reflections, stickers, clock."""

import cv2
import numpy as np

from lgad_pipeline.synthetic import textures
from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH


def draw_bonnet(image: np.ndarray, rng: np.random.Generator, horizon: float, ambient: float) -> None:
    """Draw a bonnet that mirrors the scene above the horizon, with the dark cowl below it.

    Args:
        image: frame, uint8 (590, 1640, 3), BGR; changed in place.
        rng: random generator of the frame.
        horizon: frame row of the horizon, pixels.
        ambient: level of ambient light, 0..1.
    """
    crown = float(rng.uniform(395, 460) if rng.random() < 0.5 else rng.uniform(440, 572))
    x = np.arange(FRAME_WIDTH, dtype=np.float32)
    middle = float(rng.uniform(700, 980))
    half = np.where(x < middle, rng.uniform(500, 1000), rng.uniform(500, 1000))
    edge = crown + float(rng.uniform(60, 200)) * np.abs((x - middle) / half) ** float(rng.uniform(2.0, 3.2))
    scuttle = np.minimum(edge + (FRAME_HEIGHT - crown) * float(rng.uniform(0.35, 0.6)), crown + 130)
    scuttle = scuttle + 30 * ((x - middle) / half) ** 2
    top = int(crown)
    rows = np.arange(top, FRAME_HEIGHT, dtype=np.float32)[:, None]
    height = FRAME_HEIGHT - top
    paint = np.array([(30, 38, 20), (25, 25, 25), (60, 58, 56), (150, 150, 148), (35, 25, 60), (70, 45, 25)])
    tint = paint[int(rng.integers(0, len(paint)))] * float(rng.uniform(0.5, 1.2)) * ambient
    # The mirrored scene is compressed and blurred: sky near the middle, trees towards the sides.
    source = image[: max(int(horizon) - 5, 20)]
    small = cv2.flip(cv2.resize(source, (164, 24), interpolation=cv2.INTER_AREA), 0)
    mirror = cv2.resize(small, (FRAME_WIDTH, height), interpolation=cv2.INTER_LINEAR)
    gloss = float(rng.uniform(0.1, 0.5))
    fall = np.clip(1 - (rows - top) / (0.9 * height), 0.15, 1) * np.float32(gloss)
    share = cv2.merge([(255 * np.broadcast_to(fall, (height, FRAME_WIDTH))).astype(np.uint8)] * 3)
    metal = cv2.multiply(mirror, share, scale=1 / 255)
    metal = cv2.add(metal, np.array([*np.clip(tint, 0, 255), 0.0]))
    dark = (np.array([14, 13, 13]) * float(rng.uniform(0.6, 2))).astype(np.uint8)
    below = cv2.inRange(rows - scuttle[None, :], 0, 1e6)
    metal[below > 0] = dark
    soft = 255 * np.clip((rows - edge[None, :]) / 2.5, 0, 1)
    alpha = cv2.merge([soft.astype(np.uint8)] * 3)
    area = image[top:]
    cv2.add(
        cv2.multiply(area, cv2.bitwise_not(alpha), scale=1 / 255),
        cv2.multiply(metal, alpha, scale=1 / 255),
        area,
    )
    ridge = np.stack([x[::8], edge[::8] + 1], 1)
    bright = float(rng.uniform(30, 110)) * ambient
    cv2.polylines(
        image, [np.round(ridge * 16).astype(np.int32)], False, (bright, bright, bright), 2, cv2.LINE_AA, 4
    )


def draw_reflection(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw the pale reflection of the dashboard in the windscreen, over the lower part of the frame."""
    start = int(rng.integers(150, 400))
    noise = textures.clouds()
    h, w = 96, 160
    y, x = int(rng.integers(0, 512 - h)), int(rng.integers(0, 2048 - w))
    veil = cv2.resize(noise[y : y + h, x : x + w], (FRAME_WIDTH, FRAME_HEIGHT - start))
    ramp = np.linspace(0, 1, FRAME_HEIGHT - start, dtype=np.float32)[:, None]
    level = np.clip(veil * 16 + 10, 0, 60) * ramp * np.float32(rng.uniform(0.4, 1.5))
    layer = level.astype(np.uint8)
    cv2.add(image[start:], cv2.merge([layer, layer, layer]), image[start:])


def draw_frame_marks(image: np.ndarray, rng: np.random.Generator) -> None:
    """Draw rounded dark corners, a sticker at the top and the time at the bottom, each in some frames."""
    if rng.random() < 0.25:
        depth = float(rng.uniform(6, 26))
        for sign, edge in ((1, 0), (-1, FRAME_WIDTH)):
            centre = (int(edge - sign * (900 - depth)), int(rng.uniform(200, 330)))
            mask = np.zeros((FRAME_HEIGHT, 60), np.uint8)
            x0 = 0 if sign > 0 else FRAME_WIDTH - 60
            cv2.circle(mask, (centre[0] - x0, centre[1]), 900, 255, -1)
            image[:, x0 : x0 + 60][mask > 0] = 4
    if rng.random() < 0.2:
        x = int(rng.integers(60, 1500))
        colour = [(40, 40, 220), (40, 160, 60), (200, 200, 200)][int(rng.integers(0, 3))]
        cv2.ellipse(
            image,
            (x, -12),
            (int(rng.integers(50, 110)), int(rng.integers(28, 55))),
            10,
            0,
            360,
            colour,
            -1,
            cv2.LINE_AA,
        )
        cv2.ellipse(image, (x, -14), (30, 34), 10, 0, 360, (235, 235, 235), 6, cv2.LINE_AA)
    if rng.random() < 0.25:
        clock = f"{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}"
        x, y = int(rng.integers(20, 1300)), int(rng.integers(575, 600))
        cv2.putText(image, clock, (x, y), cv2.FONT_HERSHEY_DUPLEX, 1.0, (235, 235, 235), 2, cv2.LINE_AA)
