"""Noise textures of the world, computed once a process and identical in every process."""

from functools import cache

import cv2
import numpy as np

SEED = 20240117


def spectral_noise(
    rng: np.random.Generator, height: int, width: int, slope: float, stretch: float = 1.0
) -> np.ndarray:
    """Compute periodic noise with mean 0 and standard deviation 1.

    Args:
        rng: random generator.
        height: rows of the noise, pixels.
        width: columns of the noise, pixels.
        slope: exponent of the spectrum; the amplitude is proportional to 1 / frequency**slope.
        stretch: factor by which structures are longer along the columns than along the rows.

    Returns:
        float32 (height, width).
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
    """Return four tiles of asphalt and concrete, uint8 (1024, 1024) each; 128 is neutral."""
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
    """Return periodic noise for the wear of paint, float32 (512, 512)."""
    rng = np.random.default_rng([SEED, 2])
    fine = spectral_noise(rng, 512, 512, 0.7)
    coarse = spectral_noise(rng, 512, 512, 1.5, stretch=4)
    return 0.7 * fine + 0.7 * coarse


@cache
def grain() -> np.ndarray:
    """Return sensor noise around 128, mostly equal in B, G and R, uint8 (700, 1900, 3)."""
    rng = np.random.default_rng([SEED, 3])
    common = rng.standard_normal((700, 1900, 1), dtype=np.float32)
    own = cv2.GaussianBlur(rng.standard_normal((700, 1900, 3), dtype=np.float32), (0, 0), 1.2) * 4
    return np.clip(128 + 18 * common + 14 * own, 0, 255).astype(np.uint8)


@cache
def stones() -> np.ndarray:
    """Return fine noise around 128 for the grain of the road in the foreground, uint8 (512, 2048)."""
    rng = np.random.default_rng([SEED, 6])
    noise = rng.standard_normal((512, 2048), dtype=np.float32)
    noise = 0.5 * noise + 2.2 * cv2.GaussianBlur(noise, (5, 3), 1.0)
    return np.clip(128 + 22 * noise / noise.std(), 0, 255).astype(np.uint8)


@cache
def clouds() -> np.ndarray:
    """Return noise for clouds with standard deviation 1, float32 (512, 2048)."""
    rng = np.random.default_rng([SEED, 4])
    noise = spectral_noise(rng, 1024, 1024, 1.65)
    return np.ascontiguousarray(np.tile(noise[::2], (1, 2)))


@cache
def blobs() -> np.ndarray:
    """Return periodic noise with uniform levels for foliage shadows and grass, uint8 (1024, 1024)."""
    rng = np.random.default_rng([SEED, 5])
    noise = spectral_noise(rng, 1024, 1024, 1.25) + 0.35 * spectral_noise(rng, 1024, 1024, 0.6)
    ranks = np.empty(noise.size, np.float32)
    ranks[noise.ravel().argsort()] = np.linspace(0, 255, noise.size)
    return ranks.reshape(noise.shape).astype(np.uint8)
