"""Augmentation of whole batches, on their device: the road seen by another camera, in another light.

Geometry moves image and label together (bilinear and nearest); light changes the image alone. Covering part
of the image (erasing, shadow, glare) leaves the label as it is, because CULane annotates lanes through
occlusion.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from lgad_pipeline.data.config import AugmentationConfig
from lgad_pipeline.data.loader import Batch

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601


def batch_generator(seed: int, step: int) -> torch.Generator:
    """The generator, on the CPU, that `augment` draws the changes of one step from."""
    low, high = np.random.SeedSequence([seed, step]).generate_state(2)
    return torch.Generator().manual_seed(int(high >> 1) << 32 | int(low))


def augment(batch: Batch, config: AugmentationConfig, generator: torch.Generator) -> Batch:
    """A changed copy of `batch`, on the same device, images uint8 as before.

    A slot exists in the result when it did before and kept `min_lane_pixels` of its label, or lost none.

    Args:
        batch: as `Loader` gives it.
        config: what to change and how far.
        generator: on the CPU; the same state gives the same changes on every device.
    """
    flipped, theta = _transforms(batch, config, generator)
    label = flip_slots(batch.label, flipped)
    existence = torch.where(flipped[:, None], batch.existence.flip(1), batch.existence)
    before = _slot_pixels(label)
    grid = _grid(theta, batch.label.shape[1], batch.label.shape[2])
    image = functional.grid_sample(
        batch.image.float().div_(255), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    label = functional.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)[
        :, 0
    ].byte()
    after = _slot_pixels(label)
    existence = existence * ((after >= config.min_lane_pixels) | (after >= before))
    for probability, change in (
        (config.shadow, _shadow),
        (config.glare, _glare),
        (config.erasing, _erasing),
        (config.blur, _blur),
    ):
        _change_some(image, probability, change, generator)
    _change_light(image, config, generator)
    _add_noise(image, config.noise, generator)
    image = image.clamp_(0, 1).mul_(255).round_().byte()
    return replace(batch, image=image, label=label, existence=existence, flipped=flipped)


def flip_slots(label: torch.Tensor, flipped: torch.Tensor) -> torch.Tensor:
    """Renumber the slots of mirrored label maps, 1 <-> 4 and 2 <-> 3; the pixels stay where they are.

    Args:
        label: uint8 (B, H, W).
        flipped: bool (B,), which frames are mirrored.
    """
    # Background 0 stays, slots 1..4 become 4..1.
    mirrored = torch.where(label > 0, 5 - label, label)
    return torch.where(flipped[:, None, None], mirrored, label)


def _slot_pixels(label: torch.Tensor) -> torch.Tensor:
    """Label pixels of every slot, int64 (B, 4)."""
    return torch.stack([torch.count_nonzero(label == slot, dim=(1, 2)) for slot in range(1, 5)], 1)


def _uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=generator) * (high - low) + low


def _transforms(
    batch: Batch, config: AugmentationConfig, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Which frames are mirrored, bool (B,), and the maps from output to input, (B, 2, 3)."""
    size, (height, width) = len(batch.frames), batch.image.shape[-2:]
    flipped = torch.rand(size, generator=generator) < config.flip
    angle = _uniform(generator, -math.radians(config.rotation), math.radians(config.rotation), size)
    scale = 1 + _uniform(generator, -config.scale, config.scale, size)
    # grid_sample counts half widths and half heights, so a shift by a share s is 2 s there.
    shift_x = _uniform(generator, -2 * config.shift_x, 2 * config.shift_x, size)
    shift_y = _uniform(generator, -2 * config.shift_y, 2 * config.shift_y, size)
    cosine, sine, aspect = angle.cos() / scale, angle.sin() / scale, height / width
    mirror = 1 - 2 * flipped.float()
    linear = torch.stack([mirror * cosine, mirror * sine * aspect, -sine / aspect, cosine], 1).view(
        size, 2, 2
    )
    offset = -linear @ torch.stack([shift_x, shift_y], 1)[..., None]
    theta = torch.cat([linear, offset], 2)
    return flipped.to(batch.image.device), theta.to(batch.image.device)


def _grid(theta: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Where each output pixel comes from, (B, H, W, 2): `affine_grid` in a quarter of its time on the CPU."""
    x = (torch.arange(width, device=theta.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=theta.device) * 2 + 1) / height - 1
    along_x = theta[:, None, :, 0] * x[:, None]  # (B, W, 2)
    along_y = theta[:, None, :, 1] * y[:, None] + theta[:, None, :, 2]  # (B, H, 2)
    return along_x[:, None] + along_y[:, :, None]


Change = Callable[[torch.Tensor, torch.Tensor, torch.Generator], torch.Tensor]


def _change_some(image: torch.Tensor, probability: float, change: Change, generator: torch.Generator) -> None:
    """Replace the frames that the dice choose, in place; `change` gets them and pixel coordinates -1..1."""
    chosen = torch.nonzero(torch.rand(len(image), generator=generator) < probability)[:, 0]
    if len(chosen) == 0:
        return
    height, width = image.shape[-2:]
    y = torch.linspace(-1, 1, height, device=image.device)[:, None].expand(height, width)
    x = torch.linspace(-1, 1, width, device=image.device).expand(height, width)
    chosen = chosen.to(image.device)
    image[chosen] = change(image[chosen], torch.stack([x, y]), generator)


def _distance(xy: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    """Signed distance of every pixel to a random slanted line for each frame, (count, 1, H, W)."""
    angle, x, y = (_uniform(generator, low, high, count) for low, high in ((0, math.pi), (-1, 1), (-0.5, 1)))
    a, b, c = (
        value.to(xy.device).view(-1, 1, 1)
        for value in (angle.cos(), angle.sin(), x * angle.cos() + y * angle.sin())
    )
    return (a * xy[0] + b * xy[1] - c)[:, None]


def _shadow(image: torch.Tensor, xy: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count = len(image)
    half_width, softness, strength = (
        _uniform(generator, low, high, count, 1, 1, 1).to(image.device)
        for low, high in ((0.1, 0.7), (0.02, 0.15), (0.25, 0.7))
    )
    inside = ((half_width - _distance(xy, count, generator).abs()) / softness).clamp_(0, 1)
    return image * (1 - strength * inside)


def _glare(image: torch.Tensor, xy: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count = len(image)
    width, strength = (
        _uniform(generator, low, high, count, 1, 1, 1).to(image.device)
        for low, high in ((0.05, 0.4), (0.2, 0.7))
    )
    return image + strength * torch.exp(-((_distance(xy, count, generator) / width) ** 2))


def _erasing(image: torch.Tensor, xy: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    count = len(image)
    x, y, half_width, half_height, grey = (
        _uniform(generator, low, high, count, 1, 1, 1).to(image.device)
        for low, high in ((-1, 1), (-1, 1), (0.05, 0.25), (0.1, 0.4), (0, 1))
    )
    inside = ((xy[0] - x).abs() < half_width) & ((xy[1] - y).abs() < half_height)
    return torch.where(inside, grey, image)


def _blur(image: torch.Tensor, xy: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    # Sums of shifted copies: a third of the time of avg_pool2d on the CPU.
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
    rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    return (rows[..., :-2, :] + rows[..., 1:-1, :] + rows[..., 2:, :]) / 9


def _change_light(image: torch.Tensor, config: AugmentationConfig, generator: torch.Generator) -> None:
    """Gain, contrast, saturation, colour cast and tone curve of every frame, in place."""
    size, device = len(image), image.device

    def amount(largest: float, *shape: int) -> torch.Tensor:
        return _uniform(generator, -largest, largest, size, *shape).to(device)

    weights = torch.tensor(_LUMA, device=device).view(1, 3, 1, 1)
    grey = (image * weights).sum(1, keepdim=True)
    image.sub_(grey).mul_(1 + amount(config.saturation, 1, 1, 1)).add_(grey)
    gain = (1 + amount(config.brightness, 1, 1, 1)) * (1 + amount(config.colour, 3, 1, 1))
    contrast = 1 + amount(config.contrast, 1, 1, 1)
    mean = grey.mean((2, 3), keepdim=True)
    image.mul_(gain * contrast).add_(gain * mean * (1 - contrast)).clamp_(0, 1)
    tone = amount(config.tone, 1, 1, 1)
    image.mul_(1 + tone - tone * image)


def _add_noise(image: torch.Tensor, largest: float, generator: torch.Generator) -> None:
    """Gaussian noise, in place: one field for the batch, rolled differently for every frame."""
    if largest == 0:
        return
    deviation = _uniform(generator, 0, largest / 255, len(image))
    field = torch.randn(image[0].numel(), generator=generator).to(image.device)
    starts = torch.randint(len(field), (len(image),), generator=generator)
    for frame, start, sigma in zip(image, starts.tolist(), deviation.tolist(), strict=True):
        frame.add_(field.roll(start).view(frame.shape), alpha=sigma)
