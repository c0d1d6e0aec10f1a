"""Normalization of images; needs torch alone."""

from functools import lru_cache

import torch

# Mean and standard deviation of red, green and blue in ImageNet, on the scale 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(image: torch.Tensor) -> torch.Tensor:
    """Normalize images, uint8 (B, 3, H, W), RGB, to float32 by ImageNet's mean and deviation."""
    # Tensors of a trace, as of an ONNX export, must not be kept for later calls.
    constants = _imagenet if torch.compiler.is_compiling() else _kept_imagenet
    mean, deviation = constants(image.device)
    return image.to(torch.float32, copy=True).sub_(mean).div_(deviation)


def _imagenet(device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation, (1, 3, 1, 1), scale 0..255."""
    with torch.inference_mode(mode=False):
        mean = torch.tensor(IMAGENET_MEAN, device=device).view(1, 3, 1, 1) * 255
        return mean, torch.tensor(IMAGENET_STD, device=device).view(1, 3, 1, 1) * 255


_kept_imagenet = lru_cache(_imagenet)
"""The same, kept for each device, because copying to a GPU waits for it."""
