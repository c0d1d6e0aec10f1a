"""What every network returns, and the layers that several networks share."""

from typing import NamedTuple

import torch
from torch import nn

from lgad_pipeline.errors import LgadError


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


def check_size(image_size: tuple[int, int]) -> None:
    """Refuse an image size (H, W) that cannot be halved three times."""
    if image_size[0] % 8 or image_size[1] % 8:
        raise LgadError(
            f"image_size {list(image_size)} does not suit the network, which halves it three times; "
            "give a height and a width that are multiples of 8."
        )


def start_as_identity(residual: nn.Sequential) -> None:
    """Start the last normalization of a residual branch at 0 (Goyal et al., 2017, arXiv:1706.02677).

    With some twenty blocks in a row a network learns several times faster from there.
    """
    norms = [layer for layer in residual if isinstance(layer, nn.BatchNorm2d)]
    nn.init.zeros_(norms[-1].weight)


class ExistenceFromPlanes(nn.Module):
    """Says which slots hold a lane, from one plane a class: softmax, 2x2 mean pooling, two linear layers.

    The simpler head of SCNN (Pan et al., AAAI 2018).

    Shape:
        - Input: (B, slots + 1, h, w) logits
        - Output: (B, slots) logits
    """

    def __init__(self, slots: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(2)
        cells = (size[0] // 2) * (size[1] // 2)
        self.linear = nn.Sequential(
            nn.Linear((slots + 1) * cells, 128), nn.ReLU(inplace=True), nn.Linear(128, slots)
        )

    def forward(self, planes: torch.Tensor) -> torch.Tensor:
        return self.linear(self.pool(planes.softmax(dim=1)).flatten(start_dim=1))


class ExistenceHead(nn.Sequential):
    """Says which slots hold a lane, from the encoder's features.

    The head of ENet-SAD (Hou et al., ICCV 2019, code release): dilated 3x3 convolution to 32 channels, 1x1 to
    one plane a class, then `ExistenceFromPlanes`.

    Shape:
        - Input: (B, C, h, w)
        - Output: (B, slots) logits
    """

    def __init__(self, channels: int, slots: int, size: tuple[int, int]) -> None:
        super().__init__(
            nn.Conv2d(channels, 32, 3, padding=4, dilation=4, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(32, slots + 1, 1),
            ExistenceFromPlanes(slots, size),
        )
