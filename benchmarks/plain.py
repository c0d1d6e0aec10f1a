"""The plain loader that benchmarks/loader.py compares with: original JPEGs, one frame at a time, on the CPU.

It goes the way of the public lane repositories (SCNN, ENet-SAD, RESA, CLRNet): a torch DataLoader whose
workers read frame and label PNG with cv2, move both at frame size, resize them to training size, change the
light with cv2 and numpy, and normalize. With `floats` it takes RESA's way (and ENet-SAD's in PyTorch): float
images from the start, cubic resizing, normalization in float64. Without, it is spared that.
"""

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.normalization import IMAGENET_MEAN, IMAGENET_STD

_MEAN, _STD = np.array(IMAGENET_MEAN, np.float32), np.array(IMAGENET_STD, np.float32)


class Plain(Dataset):
    """Frames and labels of a data set, changed as its `config` says, in the ways of `augment`."""

    def __init__(
        self, root: Path, frames: list[str], labels: Path, size: tuple[int, int], floats: bool = False
    ) -> None:
        """Set up.

        Args:
            root: the data set's folder.
            frames: images below it.
            labels: folder of label maps of frame size, 0.png, 1.png ...
            size: (H, W) of training, pixels.
            floats: images are float32 before they are changed; then only their geometry can be.
        """
        self.root, self.frames, self.labels, self.size, self.floats = root, frames, labels, size, floats
        self.config = AugmentationConfig()

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng()
        image = cv2.imread(str(self.root / self.frames[index]), cv2.IMREAD_COLOR)
        label = cv2.imread(str(self.labels / f"{index}.png"), cv2.IMREAD_UNCHANGED)
        assert image is not None and label is not None
        width_height = self.size[::-1]
        if self.floats:
            image, label = self._move(image.astype(np.float32), label, rng)
            image = cv2.resize(image, width_height, interpolation=cv2.INTER_CUBIC)
            label = cv2.resize(label, width_height, interpolation=cv2.INTER_NEAREST)
            doubles = (image[..., ::-1] - 255 * np.array(IMAGENET_MEAN)) / (255 * np.array(IMAGENET_STD))
            return torch.from_numpy(doubles).permute(2, 0, 1).contiguous().float(), torch.from_numpy(label)
        image, label = self._move(image, label, rng)
        image = cv2.resize(image, width_height, interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(label, width_height, interpolation=cv2.INTER_NEAREST)
        image = self._light(image, rng)
        scaled = (image[..., ::-1] / np.float32(255) - _MEAN) / _STD
        return torch.from_numpy(scaled.transpose(2, 0, 1).copy()), torch.from_numpy(label)

    def _move(
        self, image: np.ndarray, label: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        config, (height, width) = self.config, image.shape[:2]
        if rng.random() < config.flip:
            image = cv2.flip(image, 1)
            label = cv2.LUT(cv2.flip(label, 1), np.array([0, 4, 3, 2, 1] + [0] * 251, np.uint8))
        angle = rng.uniform(-config.rotation, config.rotation)
        scale = 1 + rng.uniform(-config.scale, config.scale)
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, scale)
        turn[0, 2] += rng.uniform(-config.shift_x, config.shift_x) * width
        turn[1, 2] += rng.uniform(-config.shift_y, config.shift_y) * height
        image = cv2.warpAffine(image, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
        label = cv2.warpAffine(label, turn, (width, height), flags=cv2.INTER_NEAREST)
        return image, label

    def _light(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        config, (height, width) = self.config, image.shape[:2]
        y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]

        def distance() -> np.ndarray:
            angle = rng.uniform(0, math.pi)
            a, b = math.cos(angle), math.sin(angle)
            return np.float32(a) * (x - rng.uniform(-1, 1)) + np.float32(b) * (y - rng.uniform(-0.5, 1))

        if rng.random() < config.shadow:
            inside = np.clip((rng.uniform(0.1, 0.7) - np.abs(distance())) / rng.uniform(0.02, 0.15), 0, 1)
            image = (image * (1 - rng.uniform(0.25, 0.7) * inside.astype(np.float32))[..., None]).astype(
                np.uint8
            )
        if rng.random() < config.glare:
            streak = np.exp(-((distance() / rng.uniform(0.05, 0.4)) ** 2)).astype(np.float32)
            image = np.clip(image + 255 * rng.uniform(0.2, 0.7) * streak[..., None], 0, 255).astype(np.uint8)
        if rng.random() < config.erasing:
            left, top = rng.integers(0, width), rng.integers(0, height)
            right = left + int(width * rng.uniform(0.05, 0.25))
            bottom = top + int(height * rng.uniform(0.1, 0.4))
            image = image.copy()
            image[top:bottom, left:right] = rng.integers(0, 256)
        if rng.random() < config.blur:
            image = cv2.blur(image, (3, 3))
        if config.saturation:
            hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            share = 1 + rng.uniform(-config.saturation, config.saturation)
            hsv[..., 1] = cv2.convertScaleAbs(hsv[..., 1], alpha=share)
            image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
        if config.brightness or config.contrast or config.tone or config.colour:
            image = cv2.LUT(image, self._curves(float(image.mean()), rng))
        if config.noise:
            noise = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(0, config.noise))
            image = np.clip(image + noise, 0, 255).astype(np.uint8)
        return image

    def _curves(self, mean: float, rng: np.random.Generator) -> np.ndarray:
        """Gain, contrast, colour cast and tone as one table, uint8 (256, 1, 3)."""
        config = self.config
        gain = (1 + rng.uniform(-config.brightness, config.brightness)) * (
            1 + rng.uniform(-config.colour, config.colour, 3)
        )
        contrast = 1 + rng.uniform(-config.contrast, config.contrast)
        level = np.clip(((np.arange(256)[:, None] - mean) * contrast + mean) * gain / 255, 0, 1)
        bent = level + rng.uniform(-config.tone, config.tone) * level * (1 - level)
        return np.round(bent * 255).astype(np.uint8)[:, None]
