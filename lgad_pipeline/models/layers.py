"""What every network returns, and the layers that several networks share."""

from typing import NamedTuple

import torch
from torch import nn


class LaneOutput(NamedTuple):
    """What a lane-segmentation network returns.

    Attributes:
        logits: (B, slots + 1, H, W), plane 0 is the background; at the size of the input.
        existence: (B, slots) logits, or None for a network without an existence head.
    """

    logits: torch.Tensor
    existence: torch.Tensor | None = None


class PReLU(nn.PReLU):
    """`nn.PReLU` with one slope, written as an interpolation: several times faster to train on a CPU."""

    def __init__(self) -> None:
        super().__init__(num_parameters=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.lerp(features.relu(), features, self.weight.to(features.dtype))


def scaled(channels: int, width: float) -> int:
    """Channels times `width`, to the nearest multiple of 8, at least 8."""
    return max(8, round(channels * width / 8) * 8)


def start_as_identity(residual: nn.Sequential) -> None:
    """Start the last normalization of a residual branch at 0 (Goyal et al., 2017, arXiv:1706.02677).

    With some twenty blocks in a row a network learns several times faster from there.
    """
    norms = [layer for layer in residual if isinstance(layer, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)


class ExistenceHead(nn.Module):
    """Says which slots hold a lane, from the encoder's features.

    The head of ENet-SAD (Hou et al., ICCV 2019, code release): dilated 3x3 convolution to 32 channels, 1x1 to
    one plane a class, softmax over the classes, 2x2 mean pooling, and two linear layers.

    Shape:
        - Input: (B, C, h, w)
        - Output: (B, slots) logits
    """

    def __init__(self, channels: int, slots: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.planes = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=4, dilation=4, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(32, slots + 1, 1),
        )
        self.pool = nn.AvgPool2d(2)
        cells = (size[0] // 2) * (size[1] // 2)
        self.linear = nn.Sequential(
            nn.Linear((slots + 1) * cells, 128), nn.ReLU(inplace=True), nn.Linear(128, slots)
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        planes = self.pool(self.planes(features).softmax(dim=1))  # (B, slots + 1, h / 2, w / 2)
        return self.linear(planes.flatten(start_dim=1))
