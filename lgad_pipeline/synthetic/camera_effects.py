"""Effects of light and camera on a drawn frame: night light, lamps, glare, exposure, tone, blur and noise."""

import cv2
import numpy as np

from lgad_pipeline.synthetic import textures
from lgad_pipeline.synthetic.camera import FRAME_HEIGHT, FRAME_WIDTH
from lgad_pipeline.synthetic.canvas import Colour
from lgad_pipeline.synthetic.light import Light, glow
from lgad_pipeline.synthetic.road import Ground

SMALL = 10  # light maps are computed at a tenth of the frame's size


def apply_night_light(
    image: np.ndarray, rng: np.random.Generator, light: Light, ground: Ground, lamps: list[np.ndarray]
) -> None:
    """Darken a frame to the parts that ambient light, headlights and street lamps show at night, in place.

    Args:
        image: frame in daylight, uint8 (590, 1640, 3), BGR.
        rng: random generator of the frame.
        light: light of the frame.
        ground: geometry of the ground.
        lamps: positions of street lamps, (u, height, z) in m.
    """
    h, w = FRAME_HEIGHT // SMALL, FRAME_WIDTH // SMALL
    y, x = np.mgrid[0:h, 0:w].astype(np.float32) * SMALL
    level = np.empty((h, w, 3), np.float32)
    level[:] = np.asarray(light.lamps, np.float32) * np.float32(light.ambient)
    # Low beam: bright on the road ahead, with a cut-off slightly above the horizon.
    beam = float(rng.uniform(0.15, 0.75))
    depth = (y - ground.vanishing) / (FRAME_HEIGHT - ground.vanishing)
    reach = float(rng.uniform(0.18, 0.4))
    fall = np.where(
        depth > reach, np.exp(-(((depth - reach) / 0.55) ** 2)), np.clip(depth / reach, 0, 1) ** 0.8
    )
    side = np.exp(-(((x - ground.camera.centre_x) / (260 + 420 * np.clip(depth, 0, 1))) ** 2))
    white = np.array([rng.uniform(0.75, 1.1), 0.97, 1.0], np.float32)
    level += (np.float32(beam) * fall * side)[..., None] * white
    for lamp in lamps:
        if lamp[2] < 90:  # illuminated ground under each lamp
            spot = ground.points(lamp[0], lamp[2])
            size = 5.5 * ground.camera.focal / lamp[2]
            pool = np.exp(-(((x - spot[0]) / size) ** 2) - ((y - spot[1]) / (0.16 * size + 6)) ** 2)
            level += (np.float32(0.35) * pool)[..., None] * np.asarray(light.lamps, np.float32)
    full = cv2.resize(np.clip(level * 128, 0, 255).astype(np.uint8), (FRAME_WIDTH, FRAME_HEIGHT))
    cv2.multiply(image, full, image, scale=1 / 128)


def sample_city_lights(rng: np.random.Generator, urban: bool) -> list[tuple[np.ndarray, Colour, float]]:
    """Draw windows, shop signs and distant lamps along the road.

    Returns:
        Position (u, height, z) in m, relative BGR colour and strength of each light.
    """
    lights = []
    for _ in range(int(rng.integers(5, 60) if urban else rng.integers(0, 12))):
        u = float(rng.choice([-1, 1]) * rng.uniform(9, 45))
        place = np.array([u, float(rng.exponential(4)) + 1.5, float(rng.uniform(25, 220))])
        red, green, blue = rng.uniform(0.3, 1, 3) if rng.random() < 0.4 else (1.0, 0.85, 0.6)
        lights.append((place, (float(blue), float(green), float(red)), float(rng.uniform(0.1, 0.7))))
    return lights


def draw_lamps(
    image: np.ndarray, ground: Ground, lamps: list[tuple[np.ndarray, Colour, float]], wet: bool
) -> None:
    """Draw lamps with halos and, on a wet road, with vertical reflections, in place.

    Args:
        image: frame, uint8 (590, 1640, 3), BGR.
        ground: geometry of the ground.
        lamps: position (u, height, z) in m, relative BGR colour and strength of each lamp.
        wet: true for a wet road.
    """
    for place, colour, strength in lamps:
        if place[2] < 1.5:
            continue
        x, y = ground.points(place[0], place[2], place[1])
        radius = float(np.clip(strength * (9 + 420 / place[2]), 5, 130))
        glow(image, float(x), float(y), radius, colour, 1.2 + strength)
        if wet and place[2] > 8:
            foot = float(ground.points(place[0], place[2])[1])
            glow(image, float(x), 2 * foot - float(y), 0.8 * radius, colour, 0.35 * strength, tall=4.0)


def add_glare(image: np.ndarray, rng: np.random.Generator, light: Light, ground: Ground) -> None:
    """Add the glare of a low sun or of headlights, in place: overexposed core, veil, streaks."""
    x = float(np.clip(ground.camera.centre_x + rng.normal(0, 330), -50, FRAME_WIDTH + 50))
    y = float(ground.vanishing - rng.uniform(-10, 190))
    warm = float(rng.uniform(0, 0.3))
    h, w = FRAME_HEIGHT // SMALL, FRAME_WIDTH // SMALL
    dy, dx = np.mgrid[0:h, 0:w].astype(np.float32) * SMALL
    distance = np.hypot(dx - np.float32(x), 1.2 * (dy - np.float32(y)))
    size = float(rng.uniform(40, 190))
    veil = 300 * np.exp(-((distance / size) ** 2))
    veil += rng.uniform(40, 170) * np.exp(-distance / rng.uniform(250, 700))
    for _ in range(int(rng.integers(0, 7))):  # streaks of a dirty windscreen
        angle = rng.uniform(0, np.pi)
        across = np.abs((dx - x) * np.sin(angle) - (dy - y) * np.cos(angle))
        veil += rng.uniform(15, 70) * np.exp(-((across / rng.uniform(8, 30)) ** 2) - distance / 500)
    # Reflection of the sun on the road.
    if rng.random() < 0.6:
        lane = np.exp(-(((dx - x) / rng.uniform(60, 260)) ** 2)) * (dy > ground.vanishing)
        veil += rng.uniform(30, 150) * lane * np.exp(-(dy - ground.vanishing) / rng.uniform(80, 250))
    veil += rng.uniform(0, 25)
    colour = np.array([1 - warm, 1 - 0.35 * warm, 1.0], np.float32)
    layer = np.clip(veil[..., None] * colour, 0, 255).astype(np.uint8)
    cv2.add(image, cv2.resize(layer, (FRAME_WIDTH, FRAME_HEIGHT)), image)


def apply_camera_response(
    image: np.ndarray, rng: np.random.Generator, light: Light, scenario: str
) -> np.ndarray:
    """Apply exposure, contrast, colour, vignette, blur or sharpening, and noise.

    Args:
        image: frame, uint8 (590, 1640, 3), BGR.
        rng: random generator of the frame.
        light: light of the frame.
        scenario: CULane's test category.

    Returns:
        The finished frame, uint8 (590, 1640, 3), BGR.
    """
    night = light.weather == "night"
    saturation = float(rng.uniform(0.45, 1.75))
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    image = cv2.addWeighted(image, saturation, cv2.merge([grey, grey, grey]), 1 - saturation, 0)
    exposure = _exposure(grey[::8, ::8], rng, night, scenario)
    contrast = float(rng.uniform(0.9, 1.55))
    balance = np.exp(rng.normal(0, 0.03, 3))
    lift = float(rng.uniform(-6, 18) + (rng.uniform(0, 25) if scenario == "dazzle" else 0))
    tone = np.arange(256)[:, None] / 255 * exposure * balance
    tone = np.clip(tone, 0, 1.6) ** float(np.exp(rng.normal(0, 0.14)))
    tone = 0.42 + (tone - 0.42) * contrast
    table = np.clip(255 * tone + lift, 0, 255).astype(np.uint8).reshape(1, 256, 3)
    image = cv2.LUT(image, table)
    if rng.random() < 0.6:
        image = cv2.multiply(image, _vignette(float(rng.uniform(0.1, 0.6))), scale=1 / 255)
    softness = float(rng.uniform(0, 1))
    if softness > 0.45:
        sigma = 0.5 + 1.1 * (softness - 0.45) * (1.8 if night else 1)
        image = cv2.GaussianBlur(image, (5, 5), sigma)
    elif softness < 0.25:
        image = cv2.addWeighted(image, 1.5, cv2.GaussianBlur(image, (5, 5), 1.1), -0.5, 0)
    amount = float(rng.uniform(0.04, 0.35) * (2.2 if night else 1))
    return _noise(image, rng, amount)


def _exposure(grey: np.ndarray, rng: np.random.Generator, night: bool, scenario: str) -> float:
    """Return the gain of an automatic exposure: a target for the mean, a minimum for the brightest parts."""
    mean, bright = max(float(grey.mean()), 4), max(float(np.percentile(grey, 97)), 4)
    target = float(rng.uniform(35, 85) if night else rng.uniform(85, 145))
    gain = (target / mean) ** 0.6
    least = (100 if night else 160) / bright
    if scenario == "dazzle":
        return float(rng.uniform(0.8, 1.1))
    return float(np.clip(max(gain, least), 0.6, 4.0 if night else 2.2))


def _vignette(depth: float) -> np.ndarray:
    """Return the brightness of the lens over the frame, uint8 (590, 1640, 3), 255 in the middle."""
    y, x = np.mgrid[-1 : 1 : FRAME_HEIGHT // SMALL * 1j, -1 : 1 : FRAME_WIDTH // SMALL * 1j]
    fall = 1 - depth * np.clip((x**2 + 0.45 * y**2) / 1.45, 0, 1) ** 1.6
    full = cv2.resize((255 * fall).astype(np.uint8), (FRAME_WIDTH, FRAME_HEIGHT))
    return cv2.merge([full, full, full])


def _noise(image: np.ndarray, rng: np.random.Generator, amount: float) -> np.ndarray:
    """Add sensor noise."""
    grain = textures.grain()
    y, x = (
        int(rng.integers(0, grain.shape[0] - FRAME_HEIGHT)),
        int(rng.integers(0, grain.shape[1] - FRAME_WIDTH)),
    )
    piece = np.ascontiguousarray(grain[y : y + FRAME_HEIGHT, x : x + FRAME_WIDTH])
    return cv2.addWeighted(image, 1.0, piece, amount, -128 * amount)
