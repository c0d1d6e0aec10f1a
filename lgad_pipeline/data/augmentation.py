"""Augmentation of whole batches on their device: geometry, light and partial occlusion.

Geometry moves image and label together (bilinear and nearest sampling); light changes only the image.
Occlusion of a part of the image (erasing, shadow, glare) does not change the label, because CULane annotates
occluded lanes, too.

All random amounts are drawn on the CPU for the whole batch before a pixel is changed, so all devices make the
same changes. A CPU then processes a few frames at a time, which fit its cache, and a GPU the whole batch.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.loader import Batch

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601
_CACHED_PIXELS = 1 << 18  # 3 MiB of float32 RGB

# Change of frames in place, float32 (b, 3, H, W) on the scale 0..255; the slice is their part of the batch.
Change = Callable[[torch.Tensor, slice], object]


def batch_generator(seed: int, step: int) -> torch.Generator:
    """Create the random generator, on the CPU, for the augmentation of the batch of one step."""
    low, high = np.random.SeedSequence([seed, step]).generate_state(2)
    return torch.Generator().manual_seed(int(high >> 1) << 32 | int(low))


def augment(batch: Batch, config: AugmentationConfig, generator: torch.Generator) -> Batch:
    """Return an augmented copy of `batch` on the same device, with images in uint8.

    A slot exists in the result if it existed before and has at least `min_lane_pixels` label pixels or
    has lost none.

    Args:
        batch: batch of a `Loader`.
        config: kinds and amounts of the changes.
        generator: random generator on the CPU; the same state gives the same changes on every device.
    """
    draw = _Draw(len(batch.frames), generator, batch.image.device)
    flipped = draw.chosen(config.flip)
    theta = _affine(draw, config, *batch.label.shape[1:])
    changes = list(_light(draw, config, batch.image[0].numel()))
    image = torch.empty_like(batch.image, memory_format=torch.contiguous_format)
    label = torch.empty_like(batch.label)
    mirror = flipped.to(batch.image.device)
    existence = torch.where(mirror[:, None], batch.existence.flip(1), batch.existence)
    for part in _parts(batch.label):
        pixels, slots = batch.image[part], batch.label[part]
        if flipped[part].any():
            pixels = _where(flipped[part], pixels.flip(3), pixels)
            slots = _where(flipped[part], swap_slots(slots.flip(2)), slots)
        if theta is None:
            pixels = pixels.float().contiguous()
        else:
            pixels, moved = _warp(pixels, slots, theta[part])
            before, after = _slot_pixels(slots), _slot_pixels(moved)
            existence[part] *= (after >= config.min_lane_pixels) | (after >= before)
            slots = moved
        for change in changes:
            change(pixels, part)
        if changes:
            pixels.clamp_(0, 255)
        image[part] = pixels.round_()
        label[part] = slots
    return replace(batch, image=image, label=label, existence=existence, flipped=mirror)


def swap_slots(label: torch.Tensor) -> torch.Tensor:
    """Renumber the slots of label maps, uint8: 1 <-> 4 and 2 <-> 3; no pixel moves."""
    # Background 0 stays 0, slots 1..4 become 4..1; arithmetic takes a tenth of the time of comparisons.
    return (5 - label).mul_(label.clamp(max=1))


def _where(chosen: torch.Tensor, changed: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Select `changed` for the chosen frames, bool (b,) on the CPU, and `kept` for the others."""
    if chosen.all():
        return changed
    return torch.where(chosen.to(kept.device).view(-1, *[1] * (kept.dim() - 1)), changed, kept)


def _parts(label: torch.Tensor) -> Iterator[slice]:
    """Yield the parts of a batch that are processed at once."""
    count, height, width = label.shape
    step = count if label.is_cuda else max(1, _CACHED_PIXELS // (height * width))
    for first in range(0, count, step):
        yield slice(first, min(first + step, count))


def _slot_pixels(label: torch.Tensor) -> torch.Tensor:
    """Count the label pixels of every slot, float32 (b, 4): exact below 2^24, faster than count_nonzero."""
    mask = torch.empty(label.shape, device=label.device)
    return torch.stack([torch.eq(label, slot, out=mask).sum((1, 2)) for slot in range(1, 5)], 1)


class _Draw:
    """Uniformly distributed random amounts for every frame of a batch."""

    def __init__(self, size: int, generator: torch.Generator, device: torch.device) -> None:
        self.size, self.generator, self.device = size, generator, device

    def chosen(self, probability: float) -> torch.Tensor:
        """Draw the frames to change, bool (B,), on the CPU, so that no test of them waits for a GPU."""
        return torch.rand(self.size, generator=self.generator) < probability

    def amount(self, low: float, high: float, channels: int = 1) -> torch.Tensor:
        """Draw a number for each frame and channel, float32 (B, channels, 1, 1), on the batch's device."""
        drawn = torch.rand(self.size, channels, 1, 1, generator=self.generator)
        return (drawn * (high - low) + low).to(self.device)

    def line(self) -> Callable[[torch.Tensor, slice], torch.Tensor]:
        """Draw a line for each frame; return the function of the signed distances to it, (b, 1, H, W).

        The unit of the distances is half the width and half the height of the image.
        """
        angle, x, y = self.amount(0, math.pi), self.amount(-1, 1), self.amount(-0.5, 1)
        a, b = angle.cos(), angle.sin()
        c = a * x + b * y

        def distance(image: torch.Tensor, part: slice) -> torch.Tensor:
            across, down = _coordinates(image)
            return a[part] * across + (b[part] * down - c[part])

        return distance


def _coordinates(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coordinates of the pixel centres, -1 and 1 at the edges: x (W,) and y (H, 1)."""
    height, width = image.shape[-2:]
    x = (torch.arange(width, device=image.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=image.device) * 2 + 1) / height - 1
    return x, y[:, None]


def _affine(draw: _Draw, config: AugmentationConfig, height: int, width: int) -> torch.Tensor | None:
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
    x, y = _coordinates(image)
    # Separate planes of x and y take a third of the time of the pairs (x, y) of `affine_grid`.
    grid = theta[:, :, :1] * x + theta[:, :, 2:]  # (b, 2, W)
    grid = (grid[:, :, None] + theta[:, :, 1, None, None] * y).permute(0, 2, 3, 1)
    moved = functional.grid_sample(
        image.float(), grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    slots = functional.grid_sample(label[:, None].float(), grid, mode="nearest", align_corners=False)
    return moved, slots[:, 0].byte()


def _light(draw: _Draw, config: AugmentationConfig, values: int) -> Iterator[Change]:
    """Yield the changes of the image alone, in their order; a change that is off is not drawn."""
    for make, probability in (
        (_shadow, config.shadow),
        (_glare, config.glare),
        (_erasing, config.erasing),
        (_blur, config.blur),
    ):
        if probability:
            yield _one_by_one(draw.chosen(probability), make(draw))
    if config.brightness or config.colour or config.contrast or config.saturation:
        yield _colour(draw, config)
    if config.tone:
        yield _tone(draw, config.tone)
    if config.noise:
        yield _noise(draw, config.noise, values)


def _one_by_one(chosen: torch.Tensor, change: Change) -> Change:
    """Restrict `change` to the chosen frames, bool (B,), and apply it to one frame at a time."""

    def changed(image: torch.Tensor, part: slice) -> None:
        for index in range(part.start, part.stop):
            if chosen[index]:
                change(image[index - part.start, None], slice(index, index + 1))

    return changed


def _shadow(draw: _Draw) -> Change:
    half_width, softness, strength = draw.amount(0.1, 0.7), draw.amount(0.02, 0.15), draw.amount(0.25, 0.7)
    distance = draw.line()

    def change(image: torch.Tensor, part: slice) -> None:
        inside = distance(image, part).abs_().neg_().add_(half_width[part]).div_(softness[part])
        image.mul_(inside.clamp_(0, 1).mul_(-strength[part]).add_(1))

    return change


def _glare(draw: _Draw) -> Change:
    width, strength = draw.amount(0.05, 0.4), draw.amount(0.2 * 255, 0.7 * 255)
    distance = draw.line()

    def change(image: torch.Tensor, part: slice) -> None:
        image.add_(
            distance(image, part).div_(width[part]).square_().neg_().exp_().mul_(strength[part])
        ).clamp_(max=255)

    return change


def _erasing(draw: _Draw) -> Change:
    x, y, grey = draw.amount(-1, 1), draw.amount(-1, 1), draw.amount(0, 255)
    half_width, half_height = draw.amount(0.05, 0.25), draw.amount(0.1, 0.4)

    def change(image: torch.Tensor, part: slice) -> None:
        across, down = _coordinates(image)
        inside = ((across - x[part]).abs() < half_width[part]) & ((down - y[part]).abs() < half_height[part])
        image.copy_(torch.where(inside, grey[part], image))

    return change


def _blur(draw: _Draw) -> Change:
    def change(image: torch.Tensor, part: slice) -> None:
        # Sums of shifted copies take a fifth of the time of avg_pool2d on the CPU.
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
        torch.add(rows[..., :-2, :], rows[..., 1:-1, :], out=image).add_(rows[..., 2:, :]).div_(9)

    return change


def _colour(draw: _Draw, config: AugmentationConfig) -> Change:
    """Combine saturation, gain and contrast into one linear map of red, green and blue for each frame."""
    saturation = 1 + draw.amount(-config.saturation, config.saturation)[:, 0]  # (B, 1, 1)
    gain = 1 + draw.amount(-config.brightness, config.brightness)
    gain = gain * (1 + draw.amount(-config.colour, config.colour, channels=3))  # (B, 3, 1, 1)
    contrast = 1 + draw.amount(-config.contrast, config.contrast)
    luma = torch.tensor([_LUMA], device=draw.device)  # (1, 3)
    mixing = saturation * torch.eye(3, device=draw.device) + (1 - saturation) * luma  # (B, 3, 3)
    mixing = gain[..., 0] * contrast[..., 0] * mixing
    offset = gain * (1 - contrast)

    def change(image: torch.Tensor, part: slice) -> None:
        # The mean of a sixteenth of the pixels is sufficient and takes less time.
        mean = (image[..., ::4, ::4].mean((2, 3)) @ luma.T)[..., None, None]
        mixed = torch.bmm(mixing[part], image.flatten(2)).view(image.shape)
        torch.add(mixed, offset[part] * mean, out=image).clamp_(0, 255)

    return change


def _tone(draw: _Draw, largest: float) -> Change:
    """Apply the curve x + t x (1 - x) to x on the scale 0..1, with a random t for each frame."""
    tone = draw.amount(-largest, largest)

    def change(image: torch.Tensor, part: slice) -> None:
        image.mul_(torch.addcmul(1 + tone[part], image, -tone[part] / 255))

    return change


def _noise(draw: _Draw, largest: float, values: int) -> Change:
    """Add Gaussian noise: one random field for the batch, rolled by a random amount for every frame."""
    deviation = draw.amount(0, largest).flatten().tolist()
    field = torch.randn(values, generator=draw.generator).to(draw.device)
    field = torch.cat([field, field])  # twice, so that a view of it is the rolled field
    starts = torch.randint(values, (draw.size,), generator=draw.generator).tolist()

    def change(image: torch.Tensor, part: slice) -> None:
        start = starts[part.start]
        image.add_(field[start : start + values].view(image.shape), alpha=deviation[part.start])

    return _one_by_one(torch.ones(draw.size, dtype=torch.bool), change)
