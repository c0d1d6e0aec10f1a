"""Batches of a made-up road, and augmentation with single changes."""

import numpy as np
import torch

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.augmentation import (
    augment,
)
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator

OFF = AugmentationConfig(
    flip=0, rotation=0, scale=0, shift_x=0, shift_y=0, brightness=0, contrast=0, tone=0, saturation=0,
    colour=0, noise=0, blur=0, erasing=0, shadow=0, glare=0,
)  # fmt: skip


SIZE = (48, 120)


def only(**changes) -> AugmentationConfig:
    return OFF.model_copy(update=changes)


def road(count: int = 6) -> Batch:
    """Four straight lanes of 5 px; the red channel shows them white on black."""
    label = np.zeros((count, *SIZE), np.uint8)
    for row in range(10, 48):
        for slot, (top, bottom) in enumerate([(45, 5), (55, 40), (65, 80), (75, 115)], 1):
            x = round(top + (bottom - top) * row / 47)
            label[:, row, max(x - 2, 0) : x + 3] = slot
    image = torch.randint(60, 180, (count, 3, *SIZE), generator=torch.Generator().manual_seed(1)).byte()
    image[:, 0] = torch.from_numpy(label > 0) * 255
    names = [f"{number}.jpg" for number in range(count)]
    return Batch(names, image, torch.from_numpy(label), torch.ones(count, 4))


def run(batch: Batch, config: AugmentationConfig, seed: int = 0) -> Batch:
    return augment(batch, config, batch_generator(seed, 0))
