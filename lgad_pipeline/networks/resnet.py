"""Dilated ResNet-18 and ResNet-34 (He et al., CVPR 2016) with the segmentation head of SCNN's baselines."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.networks.layers import (
    ExistenceFromPlanes,
    LaneNetwork,
    LaneOutput,
    add_residual,
    check_size,
    scaled,
    start_as_identity,
)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: (B, channels, H / stride, W / stride)
    """

    def __init__(self, in_channels: int, channels: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(channels),
        )
        start_as_identity(self.residual)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.activation(add_residual(self.shortcut(features), self.residual(features)))


class Encoder(nn.Module):
    """ResNet whose last two stages have dilation 2 and 4 instead of stride 2.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: (B, 512 x width, H / 8, W / 8)
    """

    def __init__(self, in_channels: int, blocks: tuple[int, int, int, int], width: float) -> None:
        super().__init__()
        first, second, third, fourth = (scaled(channels, width) for channels in (64, 128, 256, 512))
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, first, 7, 2, padding=3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.stage1 = _stage(first, first, blocks[0])
        self.stage2 = _stage(first, second, blocks[1], stride=2)
        self.stage3 = _stage(second, third, blocks[2], dilation=2)
        self.stage4 = _stage(third, fourth, blocks[3], dilation=4)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.stage2(self.stage1(self.stem(image)))  # (B, 128, H / 8, W / 8)
        return self.stage4(self.stage3(features))  # (B, 512, H / 8, W / 8)


class ResNet(LaneNetwork):
    """Dilated ResNet, a reduction to 128 channels, one plane per class, enlarged to the size of the image.

    Shape:
        - Input: (B, in_channels, H, W), H and W multiples of 8
        - Output: LaneOutput, logits (B, slots + 1, H, W) and existence (B, slots)
    """

    attention_layers: ClassVar[tuple[str, ...]] = ("encoder.stage2", "encoder.stage3", "encoder.stage4")
    blocks: ClassVar[tuple[int, int, int, int]]

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float = 1.0) -> None:
        super().__init__()
        check_size(image_size)
        self.encoder = Encoder(in_channels, self.blocks, width)
        self.type_channels = scaled(512, width)
        reduced = scaled(128, width)
        self.planes = nn.Sequential(
            nn.Conv2d(self.type_channels, reduced, 1, bias=False),
            nn.BatchNorm2d(reduced),
            nn.ReLU(inplace=True),
            nn.Dropout2d(0.1),
            nn.Conv2d(reduced, slots + 1, 1),
        )
        self.existence = ExistenceFromPlanes(slots, (image_size[0] // 8, image_size[1] // 8))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        features = self.encoder(image)
        planes = self.planes(features)  # (B, slots + 1, H / 8, W / 8)
        logits = functional.interpolate(planes, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return self.output(features, logits, self.existence(planes))


class ResNet18(ResNet):
    """ResNet-18: 11.8 M parameters at 288 x 800."""

    blocks = (2, 2, 2, 2)


class ResNet34(ResNet):
    """ResNet-34: 21.9 M parameters at 288 x 800."""

    blocks = (3, 4, 6, 3)


def _stage(in_channels: int, channels: int, blocks: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    first = BasicBlock(in_channels, channels, stride, dilation)
    return nn.Sequential(
        first, *[BasicBlock(channels, channels, dilation=dilation) for _ in range(blocks - 1)]
    )
