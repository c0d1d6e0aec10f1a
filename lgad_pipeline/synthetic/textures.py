"""Noise that everything in the world is textured with. Made once a process, the same in every process."""

from functools import cache

import cv2
import numpy as np

SEED = 20240117


def spectral_noise(
    rng: np.random.Generator, height: int, width: int, slope: float, stretch: float = 1.0
) -> np.ndarray:
    """(height, width) float32 noise that tiles, mean 0, deviation 1, amplitude ~ 1 / frequency**slope.

    `stretch` > 1 draws it out along the columns (streaks that run downward).
    """
    fy = np.fft.fftfreq(height)[:, None] * stretch
    fx = np.fft.rfftfreq(width)[None, :]
    frequency = np.sqrt(fx**2 + fy**2)
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((height, width), dtype=np.float32)) / frequency**slope
    spectrum[0, 0] = 0
    noise = np.fft.irfft2(spectrum, s=(height, width))
    return (noise / noise.std()).astype(np.float32)


#: The road tile: columns are u in [-TILE_HALF, TILE_HALF) m, rows repeat along the road.
TILE_DENSITY = 20  # px per metre
TILE_HALF = 25.6
TILE_SIZE = 1024


@cache
def road_tiles() -> list[np.ndarray]:
    """Several (1024, 1024) uint8 tiles of asphalt and concrete, 128 = neutral."""
    tiles = []
    rng = np.random.default_rng([SEED, 1])
    fine = 7 * spectral_noise(rng, TILE_SIZE, TILE_SIZE, 0.9)
    streaks = 5 * spectral_noise(rng, TILE_SIZE, TILE_SIZE, 1.2, stretch=14)
    coarse = 5 * spectral_noise(rng, TILE_SIZE, TILE_SIZE, 1.6)
    for kind in range(4):
        turn = 256 * kind
        tile = fine + np.roll(streaks, turn, 1) + np.roll(coarse, (turn, 2 * turn), (0, 1))
        if kind in (1, 3):  # repaired patches with straight edges
            for _ in range(9):
                x, y = rng.integers(0, TILE_SIZE, 2)
                w, h = rng.integers(20, 70), rng.integers(40, 300)
                tile[y : y + h, x : x + w] += rng.normal(0, 11)
        if kind >= 2:  # stains and wandering cracks
            tile -= 2 * np.clip(np.roll(coarse, 300 * kind, 0) - 6, 0, 8)
            for _ in range(14):
                steps = (
                    rng.normal([0, 6], [3, 2], (60, 2))
                    if rng.random() < 0.6
                    else rng.normal([6, 0], [2, 2], (40, 2))
                )
                path = np.cumsum(steps, 0) + rng.integers(0, TILE_SIZE, 2)
                cv2.polylines(tile, [path.astype(np.int32)], False, float(-16), 1)
        tiles.append(np.clip(128 + tile, 0, 255).astype(np.uint8))
    return tiles


@cache
def wear_tile() -> np.ndarray:
    """(512, 512) float32 noise of deviation 1 that tiles: where paint has come off."""
    rng = np.random.default_rng([SEED, 2])
    fine = spectral_noise(rng, 512, 512, 0.7)
    coarse = spectral_noise(rng, 512, 512, 1.5, stretch=4)
    return 0.7 * fine + 0.7 * coarse


@cache
def grain() -> np.ndarray:
    """(700, 1900, 3) uint8 sensor noise about 128, deviation 24, mostly alike in the three colours."""
    rng = np.random.default_rng([SEED, 3])
    common = rng.standard_normal((700, 1900, 1), dtype=np.float32)
    own = cv2.GaussianBlur(rng.standard_normal((700, 1900, 3), dtype=np.float32), (0, 0), 1.2) * 4
    return np.clip(128 + 18 * common + 14 * own, 0, 255).astype(np.uint8)


@cache
def stones() -> np.ndarray:
    """(512, 2048) uint8 noise about 128, fine: the grain of the road in the foreground."""
    rng = np.random.default_rng([SEED, 6])
    noise = rng.standard_normal((512, 2048), dtype=np.float32)
    noise = 0.5 * noise + 2.2 * cv2.GaussianBlur(noise, (5, 3), 1.0)
    return np.clip(128 + 22 * noise / noise.std(), 0, 255).astype(np.uint8)


@cache
def clouds() -> np.ndarray:
    """(512, 2048) float32 noise for cloud cover, deviation 1."""
    rng = np.random.default_rng([SEED, 4])
    noise = spectral_noise(rng, 1024, 1024, 1.65)
    return np.ascontiguousarray(np.tile(noise[::2], (1, 2)))


@cache
def blobs() -> np.ndarray:
    """(1024, 1024) uint8 noise that tiles, uniform in level: the shadows of foliage, clumps of grass."""
    rng = np.random.default_rng([SEED, 5])
    noise = spectral_noise(rng, 1024, 1024, 1.25) + 0.35 * spectral_noise(rng, 1024, 1024, 0.6)
    ranks = np.empty(noise.size, np.float32)
    ranks[noise.ravel().argsort()] = np.linspace(0, 255, noise.size)
    return ranks.reshape(noise.shape).astype(np.uint8)
