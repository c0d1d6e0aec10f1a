"""Light of a frame (daylight, night, weather), the sky, and glows of lamps."""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from lgad_pipeline.config.splits import Scenario
from lgad_pipeline.synthetic import textures
from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH

Weather = Literal["clear", "pale", "overcast", "dusk", "night"]


@dataclass(frozen=True)
class Light:
    """Light of a frame; colours are BGR, 0..255.

    Attributes:
        weather: kind of sky.
        zenith: colour of the sky at the top.
        skyline: colour of the sky at the horizon.
        cloud: share of the sky covered by clouds, 0..1.
        haze: distance at which the share of haze is 1 - 1/e, m.
        sun: side of the sun, -1 for left, 1 for right.
        hardness: darkness of cast shadows, 0 (none) to 1 (black).
        ambient: level of ambient light, 0..1; 1 by day.
        lamps: relative BGR colour of street lamps.
    """

    weather: Weather
    zenith: tuple[float, float, float]
    skyline: tuple[float, float, float]
    cloud: float
    haze: float
    sun: int
    hardness: float
    ambient: float
    lamps: tuple[float, float, float]


_SKIES: dict[Weather, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "clear": ((215, 130, 50), (250, 212, 160)),
    "pale": ((232, 218, 200), (248, 245, 240)),
    "overcast": ((176, 168, 160), (225, 222, 218)),
    "dusk": ((150, 115, 95), (175, 190, 220)),
    "night": ((120, 100, 90), (170, 170, 180)),
}


def sample_light(rng: np.random.Generator, scenario: Scenario) -> Light:
    """Draw a light that fits a scenario."""
    if scenario == "night":
        weather: Weather = "night"
    elif scenario == "shadow":
        weather = "clear" if rng.random() < 0.7 else "pale"
    elif scenario == "dazzle":
        weather = rng.choice(["clear", "pale", "dusk"], p=[0.4, 0.4, 0.2])
    else:
        weather = rng.choice(["clear", "pale", "overcast", "dusk"], p=[0.38, 0.30, 0.24, 0.08])
    zenith, skyline = (np.array(c, float) + rng.normal(0, 4, 3) + rng.normal(0, 14) for c in _SKIES[weather])
    hardness = {"clear": 0.62, "pale": 0.35, "overcast": 0.08, "dusk": 0.2, "night": 0.0}[weather]
    warm = rng.uniform(0, 1)
    return Light(
        weather=weather,
        zenith=(zenith[0], zenith[1], zenith[2]),
        skyline=(skyline[0], skyline[1], skyline[2]),
        cloud=float(
            {"clear": rng.uniform(0, 0.4), "overcast": rng.uniform(0.5, 1)}.get(weather, rng.uniform(0, 0.7))
        ),
        haze=float(np.exp(rng.uniform(np.log(120), np.log(900))))
        * (0.6 if weather in ("pale", "overcast") else 1.5),
        sun=int(rng.choice([-1, 1])),
        hardness=float(np.clip(hardness + rng.normal(0, 0.12) + 0.12 * (scenario == "shadow"), 0, 0.78)),
        ambient=float(np.exp(rng.uniform(np.log(0.05), np.log(0.3)))) if weather == "night" else 1.0,
        lamps=(float(1 - 0.65 * warm), float(1 - 0.3 * warm), 1.0),
    )


def draw_sky(image: np.ndarray, rng: np.random.Generator, light: Light, horizon: int) -> None:
    """Fill the rows above the horizon (frame row, pixels) with sky and clouds, in place."""
    rows = max(horizon + 2, 4)
    h, w = rows // 2 + 1, FRAME_WIDTH // 2
    fall = (np.linspace(0, 1, h, dtype=np.float32) ** 1.3)[:, None, None]
    sky = np.asarray(light.zenith, np.float32) * (1 - fall) + np.asarray(light.skyline, np.float32) * fall
    sky = np.broadcast_to(sky, (h, w, 3))
    if light.cloud > 0.05:
        noise = textures.clouds()
        y, x = int(rng.integers(0, 512 - h // 2 - 1)), int(rng.integers(0, 2048 - w))
        cover = cv2.resize(noise[y : y + h // 2 + 1, x : x + w], (w, h))
        cover = np.clip((cover + 2.2 * (light.cloud - 0.55)) * (0.35 + 0.4 * rng.random()), 0, 0.95)[
            ..., None
        ]
        white = np.float32(np.mean(light.skyline) + rng.uniform(-25, 20))
        sky = sky + (white - sky) * cover
    if light.weather == "night":
        sky = sky * np.float32(rng.uniform(0.3, 1))
    full = cv2.resize(np.clip(sky, 0, 255).astype(np.uint8), (FRAME_WIDTH, 2 * h))
    image[:rows] = full[:rows]


def glow(
    image: np.ndarray,
    x: float,
    y: float,
    radius: float,
    colour: tuple[float, float, float],
    peak: float,
    tall: float = 1.0,
) -> None:
    """Add a glow with a saturated core and a faint halo, in place.

    Args:
        image: frame, uint8 (590, 1640, 3), BGR.
        x: column of the centre, pixels.
        y: row of the centre, pixels.
        radius: half width of the glow, pixels.
        colour: relative BGR colour.
        peak: brightness of the core, about 1.
        tall: ratio of height to width.
    """
    x0, x1 = int(max(x - radius, 0)), int(min(x + radius + 1, FRAME_WIDTH))
    y0, y1 = int(max(y - tall * radius, 0)), int(min(y + tall * radius + 1, FRAME_HEIGHT))
    if x1 <= x0 or y1 <= y0:
        return
    dx = (np.arange(x0, x1, dtype=np.float32) - np.float32(x)) / np.float32(radius)
    dy = (np.arange(y0, y1, dtype=np.float32) - np.float32(y)) / np.float32(tall * radius)
    r2 = np.minimum(dx[None, :] ** 2 + dy[:, None] ** 2, 1)
    fade = (1 - r2) ** 2 * (np.float32(0.25) + np.float32(0.06) / (r2 + np.float32(0.02)))
    light = np.clip(fade * np.float32(peak * 255 / 3.25), 0, 255).astype(np.uint8)
    tinted = cv2.multiply(cv2.merge([light, light, light]), np.array([*colour, 0.0]), scale=1.6)
    area = image[y0:y1, x0:x1]
    cv2.add(area, tinted, area)
