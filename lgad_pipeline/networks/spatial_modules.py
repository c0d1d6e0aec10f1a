"""Spatial modules of lane networks, which pass messages across the whole feature map.

SCNN: Pan et al., AAAI 2018, arXiv:1712.06080. RESA: Zheng et al., AAAI 2021, arXiv:2008.13719. Both are
initialized as in the published code of SCNN, uniformly within sqrt(2 / (channels * 9 * 5)), because larger
weights make the messages grow from slice to slice.
"""

import math

import torch
from torch import nn
from torch.nn import functional

_KERNEL = 9
_DIRECTIONS = ((2, False), (2, True), (3, False), (3, True))
"""Down, up, right, left: dimension of the slices, and True if they are visited from the end."""


class SliceConvolutions(nn.Module):
    """SCNN: each row receives a message from the row before it, downwards, upwards, and so do the columns.

    A slice gets ReLU(convolution(previous slice)) added, with a kernel of 9 along the slice; the sum is the
    previous slice of the next one.

    Shape:
        - Input, output: (B, channels, h, w)
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(_along(dimension, channels, True) for dimension, _ in _DIRECTIONS)
        _initialize(self, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for (dimension, backwards), convolution in zip(_DIRECTIONS, self.convolutions, strict=True):
            slices = list(features.split(1, dim=dimension))
            if backwards:
                slices.reverse()
            for number in range(1, len(slices)):
                slices[number] = slices[number] + functional.relu(convolution(slices[number - 1]))
            if backwards:
                slices.reverse()
            features = torch.cat(slices, dim=dimension)
        return features


class RecurrentShifts(nn.Module):
    """RESA: all slices receive messages at once, from slices at a distance of 1/32, 1/16 ... 1/2 of the map.

    In each direction and iteration the map gets alpha ReLU(convolution(map shifted around its border)) added.

    Shape:
        - Input, output: (B, channels, h, w)

    Args:
        channels: number of channels.
        iterations: number of iterations in each direction; each has a convolution of its own.
        alpha: factor of the messages.
    """

    def __init__(self, channels: int, iterations: int = 5, alpha: float = 2.0) -> None:
        super().__init__()
        self.iterations, self.alpha = iterations, alpha
        self.convolutions = nn.ModuleList(
            nn.ModuleList(_along(dimension, channels, False) for _ in range(iterations))
            for dimension, _ in _DIRECTIONS
        )
        _initialize(self, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        for (dimension, backwards), convolutions in zip(_DIRECTIONS, self.convolutions, strict=True):
            length = features.shape[dimension]
            for iteration, convolution in enumerate(convolutions):  # type: ignore[arg-type]
                shift = length // 2 ** (self.iterations - iteration)
                shifted = features.roll(shift if backwards else -shift, dims=dimension)
                features = features + self.alpha * functional.relu(convolution(shifted))
        return features


def _along(dimension: int, channels: int, bias: bool) -> nn.Conv2d:
    """Return a convolution along the slices of a dimension: rows are slices of dimension 2."""
    size = (1, _KERNEL) if dimension == 2 else (_KERNEL, 1)
    return nn.Conv2d(channels, channels, size, padding=(size[0] // 2, size[1] // 2), bias=bias)


def _initialize(module: nn.Module, channels: int) -> None:
    bound = math.sqrt(2.0 / (channels * _KERNEL * 5))
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.uniform_(layer.weight, -bound, bound)
