"""RESA (Zheng et al., AAAI 2021, arXiv:2008.13719): three stages of a ResNet, RESA module, BUSD decoder."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.networks.erfnet import FactorizedBlock
from lgad_pipeline.networks.layers import ExistenceHead, LaneNetwork, LaneOutput, check_size, scaled
from lgad_pipeline.networks.resnet import Encoder
from lgad_pipeline.networks.spatial_modules import RecurrentShifts


class Upsampler(nn.Module):
    """Block of the bilateral up-sampling decoder (BUSD): a coarse and a fine branch, added.

    The coarse branch enlarges bilinearly; the fine one by a transposed convolution and two factorized blocks.

    Shape:
        - Input: (B, in_channels, h, w)
        - Output: (B, out_channels, 2h, 2w)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.fine = nn.Sequential(
            nn.ConvTranspose2d(in_channels, out_channels, 3, 2, padding=1, output_padding=1),
            nn.BatchNorm2d(out_channels, eps=1e-3),
            nn.ReLU(inplace=True),
            FactorizedBlock(out_channels),
            FactorizedBlock(out_channels),
        )
        self.coarse = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels, eps=1e-3),
            nn.ReLU(inplace=True),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        coarse = functional.interpolate(
            self.coarse(features), scale_factor=2, mode="bilinear", align_corners=False
        )
        return self.fine(features) + coarse


class ResaNet(LaneNetwork):
    """ResNet stages 1 to 3, a reduction to 128 channels, RESA module and BUSD decoder.

    Shape:
        - Input: (B, in_channels, H, W), H and W multiples of 8
        - Output: LaneOutput, logits (B, slots + 1, H, W) and existence (B, slots)
    """

    attention_layers: ClassVar[tuple[str, ...]] = ("encoder.stage2", "encoder.stage3", "spatial")
    blocks: ClassVar[tuple[int, int, int, int]]

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float = 1.0) -> None:
        super().__init__()
        check_size(image_size)
        self.encoder = Encoder(in_channels, self.blocks, width)
        self.encoder.stage4 = nn.Sequential()
        reduced = scaled(128, width)
        self.reduce = nn.Sequential(
            nn.Conv2d(scaled(256, width), reduced, 1, bias=False),
            nn.BatchNorm2d(reduced),
            nn.ReLU(inplace=True),
        )
        self.spatial = RecurrentShifts(reduced)
        channels = (reduced, scaled(64, width), scaled(32, width), scaled(16, width))
        self.decoder = nn.Sequential(
            Upsampler(channels[0], channels[1]),
            Upsampler(channels[1], channels[2]),
            Upsampler(channels[2], channels[3]),
            nn.Conv2d(channels[3], slots + 1, 1),
        )
        self.type_channels = reduced
        self.existence = ExistenceHead(reduced, slots, (image_size[0] // 8, image_size[1] // 8))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        features = self.spatial(self.reduce(self.encoder(image)))  # (B, 128, H / 8, W / 8)
        return self.output(features, self.decoder(features), self.existence(features))


class ResaNet18(ResaNet):
    """RESA with ResNet-18: 6.62 M parameters at 288 x 800."""

    blocks = (2, 2, 2, 2)


class ResaNet34(ResaNet):
    """RESA with ResNet-34: 12.01 M parameters at 288 x 800."""

    blocks = (3, 4, 6, 3)
