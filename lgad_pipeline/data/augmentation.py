"""Augmentation of whole batches on their device: geometry, light and partial occlusion.

Geometry moves image and label together (bilinear and nearest sampling); light changes only the image.
Occlusion of a part of the image (erasing, shadow, glare) does not change the label, because CULane annotates
occluded lanes, too.

All random amounts are drawn on the CPU for the whole batch before a pixel is changed, so all devices make the
same changes. A CPU then processes a few frames at a time, which fit its cache, and only the chosen frames; a
GPU processes the whole batch and selects, so that nothing waits for a value from the device.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch.nn import functional

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.light import light_changes, pixel_centres, where_chosen
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import Amounts, RandomAmounts, RecordedAmounts, Recording
from lgad_pipeline.data.share import WHOLE, Share

_CACHED_PIXELS = 1 << 18  # 3 MiB of float32 RGB


def augment(
    batch: Batch, config: AugmentationConfig, generator: torch.Generator, *, share: Share = WHOLE
) -> Batch:
    """Return an augmented copy of `batch` on the same device, with images in uint8.

    A slot exists in the result if it existed before and has at least `min_lane_pixels` label pixels or
    has lost none.

    Args:
        batch: batch of a `Loader`.
        config: kinds and amounts of the changes.
        generator: random generator on the CPU; the same state gives the same changes on every device.
        share: part of the batch of all processes that `batch` is.
    """
    device = batch.image.device
    if device.type == "cpu":
        return _augment(batch, config, RandomAmounts(len(batch.frames), generator, share=share))
    recording = record_amounts(batch, config, generator, share=share)
    return augment_recorded(batch, config, Recording(*(part.to(device) for part in recording)))


def record_amounts(
    batch: Batch, config: AugmentationConfig, generator: torch.Generator, *, share: Share = WHOLE
) -> Recording:
    """Draw all amounts of `augment` for a batch, without changing it.

    Args:
        batch: batch of a `Loader`, on any device.
        config: kinds and amounts of the changes.
        generator: random generator on the CPU.
        share: part of the batch of all processes that `batch` is.
    """
    draw = RandomAmounts(len(batch.frames), generator, share=share)
    draw.chosen(config.flip)
    _affine(draw, config, *batch.label.shape[1:])
    list(light_changes(draw, config, batch.image[0].numel()))
    return draw.recording()


def augment_recorded(batch: Batch, config: AugmentationConfig, recording: Recording) -> Batch:
    """Return `augment` of a batch by amounts that were recorded; no value is read from the device.

    Args:
        batch: batch on the device of the recording.
        config: kinds and amounts of the changes, as at the recording.
        recording: amounts of the batch.
    """
    return _augment(batch, config, RecordedAmounts(recording))


def _augment(batch: Batch, config: AugmentationConfig, draw: Amounts) -> Batch:
    flipped = draw.chosen(config.flip)
    theta = _affine(draw, config, *batch.label.shape[1:])
    changes = list(light_changes(draw, config, batch.image[0].numel()))
    image = torch.empty_like(batch.image, memory_format=torch.contiguous_format)
    label = torch.empty_like(batch.label)
    existence = torch.where(flipped[:, None], batch.existence.flip(1), batch.existence)
    count = batch.existence.shape[1]
    for part in _parts(batch.label):
        pixels, slots = batch.image[part], batch.label[part]
        if draw.device.type != "cpu" or flipped[part].any():
            pixels = where_chosen(flipped[part], pixels.flip(3), pixels)
            slots = where_chosen(flipped[part], swap_slots(slots.flip(2), count), slots)
        if theta is None:
            pixels = pixels.float().contiguous()
        else:
            pixels, moved = _warp(pixels, slots, theta[part])
            before, after = _slot_pixels(slots, count), _slot_pixels(moved, count)
            existence[part] *= (after >= config.min_lane_pixels) | (after >= before)
            slots = moved
        for change in changes:
            change(pixels, part)
        if changes:
            pixels.clamp_(0, 255)
        image[part] = pixels.round_()
        label[part] = slots
    types = batch.types
    if types is not None:
        types = torch.where(flipped[:, None], types.flip(1), types)
    return replace(
        batch, image=image, label=label, existence=existence, flipped=flipped, affine=theta, types=types
    )


def swap_slots(label: torch.Tensor, slots: int = 4) -> torch.Tensor:
    """Renumber the slots of label maps, uint8, from right to left: 1 <-> 4 and 2 <-> 3; no pixel moves."""
    # Background 0 stays 0, slots 1..4 become 4..1; arithmetic takes a tenth of the time of comparisons.
    return (slots + 1 - label).mul_(label.clamp(max=1))


def _parts(label: torch.Tensor) -> Iterator[slice]:
    """Yield the parts of a batch that are processed at once."""
    count, height, width = label.shape
    step = max(1, _CACHED_PIXELS // (height * width)) if label.device.type == "cpu" else count
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _slot_pixels(label: torch.Tensor, slots: int) -> torch.Tensor:
    """Count the label pixels of every slot, float32 (b, slots): exact below 2^24, fast."""
    mask = torch.empty(label.shape, device=label.device)
    return torch.stack([torch.eq(label, slot, out=mask).sum((1, 2)) for slot in range(1, slots + 1)], 1)


def _affine(draw: Amounts, config: AugmentationConfig, height: int, width: int) -> torch.Tensor | None:
    """Draw the maps from output to input, (B, 2, 3), for `grid_sample`; None if nothing moves."""
    if not (config.rotation or config.scale or config.shift_x or config.shift_y):
        return None
    turn, aspect = math.radians(config.rotation), height / width
    angle = draw.amount(-turn, turn).flatten()
    scale = 1 + draw.amount(-config.scale, config.scale).flatten()
    # The unit of grid_sample is half the width and half the height, so a shift by a share s is 2 s.
    shift_x = draw.amount(-2 * config.shift_x, 2 * config.shift_x).flatten()
    shift_y = draw.amount(-2 * config.shift_y, 2 * config.shift_y).flatten()
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    linear = torch.stack([cosine, sine * aspect, -sine / aspect, cosine], 1).view(-1, 2, 2)
    return torch.cat([linear, -linear @ torch.stack([shift_x, shift_y], 1)[..., None]], 2)


def _warp(image: torch.Tensor, label: torch.Tensor, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Warp image and label by `theta`: float32 (b, 3, H, W), padded with its border, and uint8 (b, H, W)."""
    x, y = pixel_centres(image)
    # Separate planes of x and y take a third of the time of the pairs (x, y) of `affine_grid`.
    grid = theta[:, :, :1] * x + theta[:, :, 2:]  # (b, 2, W)
    grid = (grid[:, :, None] + theta[:, :, 1, None, None] * y).permute(0, 2, 3, 1)
    moved = functional.grid_sample(
        image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    slots = functional.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)
    return moved, slots[:, 0].byte()
