"""Sprites of plants, facades and skylines, drawn once a process and identical in every process."""

from functools import cache

import cv2
import numpy as np

from lgad_pipeline.synthetic.textures import SEED, spectral_noise

SIZE = 384

Bark = tuple[float, float, float, float]


class Sprite:
    """Picture with transparency at several resolutions.

    Attributes:
        levels: pictures, uint8 (h, w, 4) each: BGR multiplied by alpha, then alpha; each half as large as the
            last.
        aspect: ratio of width to height.
    """

    def __init__(self, picture: np.ndarray) -> None:
        self.levels = [picture]
        while min(self.levels[-1].shape[:2]) > 6:
            h, w = self.levels[-1].shape[:2]
            size = (max(w // 2, 1), max(h // 2, 1))
            self.levels.append(cv2.resize(self.levels[-1], size, interpolation=cv2.INTER_AREA))
        self.aspect = picture.shape[1] / picture.shape[0]

    def level(self, height: float) -> np.ndarray:
        """Return the smallest level with at least `height` rows, or the largest level."""
        for picture in reversed(self.levels):
            if picture.shape[0] >= height:
                return picture
        return self.levels[0]


def _clump(rng: np.random.Generator, picture: np.ndarray, centre: tuple[float, float], radius: float) -> None:
    """Draw a clump of leaves, lit from the upper right, into a uint8 BGRA picture, in place."""
    count = int(40 + radius**1.6)
    angle = rng.uniform(0, 2 * np.pi, count)
    distance = np.minimum(radius * np.abs(rng.normal(0.25, 0.55, count)), 2.2 * radius)
    x = np.round(centre[0] + distance * np.cos(angle)).astype(int)
    y = np.round(centre[1] + 0.8 * distance * np.sin(angle)).astype(int)
    side = (0.6 * np.cos(angle) - np.sin(angle)) * np.minimum(distance / radius, 1)
    lit = 0.45 + rng.normal(0, 0.06) + 0.3 * side + rng.normal(0, 0.15, count)
    lit = np.clip(lit, 0.07, 1.15)
    warm = rng.uniform(0.7, 1.0, (2, count))
    tones = np.stack([72 * lit * warm[0], 165 * lit, 145 * lit * warm[1], np.full(count, 255.0)], 1)
    axes = rng.integers(1, 4, (2, count))
    turn = rng.uniform(0, 180, count)
    for i in np.argsort(lit + rng.normal(0, 0.12, count)):
        box = ((int(x[i]), int(y[i])), (2.0 * int(axes[0, i]), 2.0 * int(axes[1, i])), float(turn[i]))
        cv2.ellipse(picture, box, tones[i].tolist(), -1)


def _branches(rng: np.random.Generator, picture: np.ndarray, count: int, bark: Bark, spread: float) -> None:
    """Draw `count` branches into a uint8 BGRA picture, in place."""
    mid = SIZE / 2
    for _ in range(count):
        start = (int(mid + rng.normal(0, 3)), int(rng.uniform(0.4, 0.7) * SIZE))
        end = (int(mid + rng.normal(0, spread)), int(rng.uniform(0.06, 0.42) * SIZE))
        cv2.line(picture, start, end, bark, int(rng.integers(1, 4)), cv2.LINE_AA)


def _plant(rng: np.random.Generator, kind: str) -> np.ndarray:
    """Draw a plant, uint8 (384, 384, 4), BGRA."""
    picture = np.zeros((SIZE, SIZE, 4), np.uint8)
    mid = SIZE / 2
    grey = float(rng.uniform(35, 85))
    bark: Bark = (grey * 0.9, grey, grey * 1.05, 255)
    if kind != "bush":
        foot = (int(mid), SIZE)
        cv2.line(picture, foot, (int(mid + rng.normal(0, 8)), SIZE // 3), bark, int(rng.integers(5, 10)))
        if rng.random() < 0.4:  # white paint on the trunk, as on street trees
            cv2.line(picture, foot, (int(mid), int(0.9 * SIZE)), (190, 200, 200, 255), 10)
    if kind == "broad":
        _branches(rng, picture, 5, bark, 60)
        for _ in range(30):
            angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
            centre = (mid + 125 * reach * np.cos(angle), SIZE * (0.34 + 0.26 * reach * np.sin(angle)))
            _clump(rng, picture, centre, float(rng.uniform(18, 42)))
    elif kind == "airy":
        _branches(rng, picture, 14, bark, 75)
        for _ in range(26):
            centre = (mid + rng.normal(0, 70), SIZE * float(np.clip(rng.normal(0.33, 0.14), 0.06, 0.62)))
            _clump(rng, picture, centre, float(rng.uniform(9, 26)))
    elif kind == "bare":
        for _ in range(3):
            _branches(rng, picture, 22, bark, 60)
    elif kind == "tall":
        for _ in range(44):
            height = rng.uniform(0.06, 0.88)
            width = 42 * np.sin(np.pi * np.clip(0.12 + 0.8 * height, 0, 1)) + 6
            _clump(rng, picture, (mid + rng.normal(0, 0.6) * width, SIZE * height), float(rng.uniform(9, 24)))
    elif kind == "conifer":
        for i in range(44):
            spread = 10 + 95 * i / 44
            centre = (mid + rng.uniform(-1, 1) * spread, SIZE * (0.06 + 0.86 * i / 44))
            _clump(rng, picture, centre, float(rng.uniform(9, 21)))
        picture[..., :3] = (picture[..., :3] * np.array([0.8, 0.68, 0.55])).astype(np.uint8)
    else:
        for _ in range(34):
            centre = (mid + rng.uniform(-1, 1) * 150, SIZE * float(rng.uniform(0.3, 0.95)))
            _clump(rng, picture, centre, float(rng.uniform(14, 36)))
    return picture


@cache
def plants(kind: str) -> list[Sprite]:
    """Return the sprites of one kind of plant: broad, airy, bare, tall, conifer or bush."""
    kinds = ["broad", "airy", "bare", "tall", "conifer", "bush"]
    rng = np.random.default_rng([SEED, 10, kinds.index(kind)])
    return [Sprite(_plant(rng, kind)) for _ in range(2 if kind == "bare" else 4)]


@cache
def facades() -> list[Sprite]:
    """Return sprites of building facades, 256 x 256 px and opaque."""
    sprites = []
    for number in range(6):
        rng = np.random.default_rng([SEED, 11, number])
        wall = rng.uniform(120, 215) * np.clip(np.array([0.93, 0.98, 1.03]) + rng.normal(0, 0.05, 3), 0, 1.15)
        picture = np.empty((256, 256, 4), np.uint8)
        picture[..., :3] = np.clip(wall + 5 * spectral_noise(rng, 256, 256, 1)[..., None], 0, 255)
        picture[..., 3] = 255
        columns, rows = int(rng.integers(5, 12)), int(rng.integers(4, 10))
        for i in range(columns):
            for j in range(rows):
                x, y = int((i + 0.2) * 256 / columns), int((j + 0.25) * 240 / rows)
                w, h = int(0.6 * 256 / columns), int(0.55 * 240 / rows)
                glass = rng.uniform(35, 110)
                picture[y : y + h, x : x + w, :3] = np.array([1.1, 1.0, 0.9]) * glass
        picture[240:, :, :3] = (picture[240:, :, :3] * 0.55).astype(np.uint8)
        sprites.append(Sprite(picture))
    return sprites


@cache
def skylines() -> list[Sprite]:
    """Return strips (128 x 2048 px) of distant trees, bushes, buildings and hills."""
    strips = []
    for number in range(6):
        rng = np.random.default_rng([SEED, 12, number])
        strip = np.zeros((128, 2048, 4), np.uint8)
        if number >= 4:  # hills
            ridge = spectral_noise(rng, 1, 2048, 1.7)[0]
            top = 70 - 22 * ridge
            rows = np.arange(128)[:, None]
            alpha = (255 * np.clip(rows - top, 0, 1)).astype(np.uint8)
            strip[..., :3] = (np.array([105, 112, 95]) * (alpha[..., None] / 255.0)).astype(np.uint8)
            strip[..., 3] = alpha
        else:
            for _ in range(26 if number >= 2 else 6):
                x, w, h = int(rng.integers(0, 2000)), int(rng.integers(14, 60)), int(rng.integers(20, 120))
                grey = rng.uniform(120, 190)
                cv2.rectangle(strip, (x, 128 - h), (x + w, 128), (grey * 1.05, grey, grey * 0.95, 255), -1)
            kinds = ["broad", "bush", "tall", "conifer", "airy"]
            for _ in range(170):
                sprite = plants(kinds[int(rng.integers(0, 5))])[int(rng.integers(0, 4))]
                height = float(rng.uniform(25, 95) if number < 2 else rng.uniform(15, 50))
                gain = rng.uniform(0.55, 1.0)
                x = float(rng.uniform(0, 2048))
                paste(strip, sprite, x, 130.0, height, (gain, gain, gain))
        strips.append(Sprite(strip))
    return strips


def paste(
    image: np.ndarray,
    sprite: Sprite,
    x: float,
    bottom: float,
    height: float,
    gain: tuple[float, float, float] = (1, 1, 1),
    haze: tuple[float, tuple[float, float, float]] = (0.0, (0, 0, 0)),
    flip: bool = False,
    widen: float = 1.0,
) -> None:
    """Paste a sprite upright, in place.

    Args:
        image: picture, uint8 (H, W, 3 or 4).
        sprite: sprite to paste.
        x: column of the middle of its lower edge, pixels.
        bottom: row of its lower edge, pixels.
        height: height in the picture, pixels.
        gain: factors of B, G and R.
        haze: share of haze (0..1) and its BGR colour.
        flip: true to mirror the sprite.
        widen: factor of its width.
    """
    picture = sprite.level(height)
    h, w = picture.shape[:2]
    sy = height / h
    sx = sy * widen * (h / w) * sprite.aspect
    left, top = x - 0.5 * w * sx, bottom - height
    x0, x1 = max(int(np.floor(left)), 0), min(int(np.ceil(left + w * sx)), image.shape[1])
    y0, y1 = max(int(np.floor(top)), 0), min(int(np.ceil(bottom)), image.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    if flip:
        matrix = np.array([[-sx, 0, left + (w - 1) * sx - x0], [0, sy, top - y0]])
    else:
        matrix = np.array([[sx, 0, left - x0], [0, sy, top - y0]])
    piece = cv2.warpAffine(picture, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    blend(image[y0:y1, x0:x1], piece, gain, haze)


def blend(
    area: np.ndarray,
    piece: np.ndarray,
    gain: tuple[float, float, float],
    haze: tuple[float, tuple[float, float, float]],
) -> None:
    """Blend a picture with transparency over an area, in place.

    Args:
        area: area of a picture, uint8 (h, w, 3 or 4).
        piece: picture, uint8 (h, w, 4), BGR multiplied by alpha.
        gain: factors of B, G and R.
        haze: share of haze (0..1) and its BGR colour.
    """
    alpha = piece[..., 3]
    share, colour = haze
    tint = [g * (1 - share) for g in gain]
    top = cv2.multiply(piece, np.array([*tint, 1.0]))
    if share > 0.02:
        fog = cv2.multiply(
            cv2.merge([alpha, alpha, alpha, alpha]), np.array([*(c * share / 255 for c in colour), 0])
        )
        top = cv2.add(top, fog)
    rest = cv2.bitwise_not(alpha)
    if area.shape[2] == 3:
        cv2.multiply(area, cv2.merge([rest, rest, rest]), area, scale=1 / 255)
        cv2.add(area, top[..., :3], area)
    else:
        cv2.multiply(area, cv2.merge([rest, rest, rest, rest]), area, scale=1 / 255)
        cv2.add(area, top, area)
