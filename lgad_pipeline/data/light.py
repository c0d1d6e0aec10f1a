"""Changes of an image alone: shadow, glare, erasing, blur, colour, tone curve and noise."""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache

import torch
from torch.nn import functional

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.random_amounts import Amounts

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601

# Change of frames in place, float32 (b, 3, H, W) on the scale 0..255; the slice is their part of the batch.
Change = Callable[[torch.Tensor, slice], object]


def light_changes(draw: Amounts, config: AugmentationConfig, values: int) -> Iterator[Change]:
    """Yield the changes of the image alone, in their order; a change that is off is not drawn."""
    for make, probability in (
        (_shadow, config.shadow),
        (_glare, config.glare),
        (_erasing, config.erasing),
        (_blur, config.blur),
    ):
        if probability:
            chosen, change = draw.chosen(probability), make(draw)
            yield (_one_by_one if draw.device.type == "cpu" else _selected)(chosen, change)
    if config.brightness or config.colour or config.contrast or config.saturation:
        yield _colour(draw, config)
    if config.tone:
        yield _tone(draw, config.tone)
    if config.noise:
        yield _noise(draw, config.noise, values)


def _selected(chosen: torch.Tensor, change: Change) -> Change:
    """Apply `change` to a copy of all frames, and select the chosen ones, bool (B,)."""

    def changed(image: torch.Tensor, part: slice) -> None:
        copy = image.clone()
        change(copy, part)
        image.copy_(where_chosen(chosen[part], copy, image))

    return changed


def _one_by_one(chosen: torch.Tensor, change: Change) -> Change:
    """Restrict `change` to the chosen frames, bool (B,), and apply it to one frame at a time."""

    def changed(image: torch.Tensor, part: slice) -> None:
        for index in range(part.start, part.stop):
            if chosen[index]:
                change(image[index - part.start, None], slice(index, index + 1))

    return changed


def _shadow(draw: Amounts) -> Change:
    half_width, softness, strength = draw.amount(0.1, 0.7), draw.amount(0.02, 0.15), draw.amount(0.25, 0.7)
    distance = _line(draw)

    def change(image: torch.Tensor, part: slice) -> None:
        inside = distance(image, part).abs_().neg_().add_(half_width[part]).div_(softness[part])
        image.mul_(inside.clamp_(0, 1).mul_(-strength[part]).add_(1))

    return change


def _glare(draw: Amounts) -> Change:
    width, strength = draw.amount(0.05, 0.4), draw.amount(0.2 * 255, 0.7 * 255)
    distance = _line(draw)

    def change(image: torch.Tensor, part: slice) -> None:
        image.add_(
            distance(image, part).div_(width[part]).square_().neg_().exp_().mul_(strength[part])
        ).clamp_(max=255)

    return change


def _erasing(draw: Amounts) -> Change:
    x, y, grey = draw.amount(-1, 1), draw.amount(-1, 1), draw.amount(0, 255)
    half_width, half_height = draw.amount(0.05, 0.25), draw.amount(0.1, 0.4)

    def change(image: torch.Tensor, part: slice) -> None:
        across, down = pixel_centres(image)
        inside = ((across - x[part]).abs() < half_width[part]) & ((down - y[part]).abs() < half_height[part])
        image.copy_(torch.where(inside, grey[part], image))

    return change


def _blur(draw: Amounts) -> Change:
    def change(image: torch.Tensor, part: slice) -> None:
        # Sums of shifted copies take a fifth of the time of avg_pool2d on the CPU.
        padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")
        rows = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
        torch.add(rows[..., :-2, :], rows[..., 1:-1, :], out=image).add_(rows[..., 2:, :]).div_(9)

    return change


def _colour(draw: Amounts, config: AugmentationConfig) -> Change:
    """Combine saturation, gain and contrast into one linear map of red, green and blue for each frame."""
    saturation = 1 + draw.amount(-config.saturation, config.saturation)[:, 0]  # (B, 1, 1)
    gain = 1 + draw.amount(-config.brightness, config.brightness)
    gain = gain * (1 + draw.amount(-config.colour, config.colour, channels=3))  # (B, 3, 1, 1)
    contrast = 1 + draw.amount(-config.contrast, config.contrast)
    luma = _luma(draw.device)
    mixing = saturation * torch.eye(3, device=draw.device) + (1 - saturation) * luma  # (B, 3, 3)
    mixing = gain[..., 0] * contrast[..., 0] * mixing
    offset = gain * (1 - contrast)

    def change(image: torch.Tensor, part: slice) -> None:
        # The mean of a sixteenth of the pixels is sufficient and takes less time.
        mean = (image[..., ::4, ::4].mean((2, 3)) @ luma.T)[..., None, None]
        mixed = torch.bmm(mixing[part], image.flatten(2)).view(image.shape)
        torch.add(mixed, offset[part] * mean, out=image).clamp_(0, 255)

    return change


def _tone(draw: Amounts, largest: float) -> Change:
    """Apply the curve x + t x (1 - x) to x on the scale 0..1, with a random t for each frame."""
    tone = draw.amount(-largest, largest)

    def change(image: torch.Tensor, part: slice) -> None:
        image.mul_(torch.addcmul(1 + tone[part], image, -tone[part] / 255))

    return change


def _noise(draw: Amounts, largest: float, values: int) -> Change:
    """Add Gaussian noise: one random field for the batch, rolled by a random amount for every frame."""
    deviation = draw.amount(0, largest)
    field = draw.normal(values)
    field = torch.cat([field, field])  # twice, so that a view of it is the rolled field
    starts = draw.index(values)
    if draw.device.type != "cpu":
        return _noise_of_batch(deviation, field, starts)
    deviations, firsts = deviation.flatten().tolist(), starts.tolist()

    def change(image: torch.Tensor, part: slice) -> None:
        start = firsts[part.start]
        image.add_(field[start : start + values].view(image.shape), alpha=deviations[part.start])

    return _one_by_one(torch.ones(draw.size, dtype=torch.bool), change)


def _noise_of_batch(deviation: torch.Tensor, field: torch.Tensor, starts: torch.Tensor) -> Change:
    def change(image: torch.Tensor, part: slice) -> None:
        places = starts[part, None] + torch.arange(image[0].numel(), device=image.device)
        image.add_(field[places].view(image.shape) * deviation[part])

    return change


@lru_cache
def _luma(device: torch.device) -> torch.Tensor:
    """Return the weights of red, green and blue, (1, 3); kept, because copying them waits for a GPU."""
    return torch.tensor([_LUMA], device=device)


def _line(draw: Amounts) -> Callable[[torch.Tensor, slice], torch.Tensor]:
    """Draw a line for each frame; return the function of the signed distances to it, (b, 1, H, W).

    The unit of the distances is half the width and half the height of the image.
    """
    angle, x, y = draw.amount(0, math.pi), draw.amount(-1, 1), draw.amount(-0.5, 1)
    a, b = angle.cos(), angle.sin()
    c = a * x + b * y

    def distance(image: torch.Tensor, part: slice) -> torch.Tensor:
        across, down = pixel_centres(image)
        return a[part] * across + (b[part] * down - c[part])

    return distance


def pixel_centres(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the coordinates of the pixel centres, -1 and 1 at the edges: x (W,) and y (H, 1)."""
    height, width = image.shape[-2:]
    x = (torch.arange(width, device=image.device) * 2 + 1) / width - 1
    y = (torch.arange(height, device=image.device) * 2 + 1) / height - 1
    return x, y[:, None]


def where_chosen(chosen: torch.Tensor, changed: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
    """Select `changed` for the chosen frames, bool (b,), and `kept` for the others."""
    if chosen.device.type == "cpu" and chosen.all():
        return changed
    return torch.where(chosen.view(-1, *[1] * (kept.dim() - 1)), changed, kept)
