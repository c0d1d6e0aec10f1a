"""ENet for lane segmentation (Paszke et al., 2016, arXiv:1606.02147), with an existence head."""

from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.networks.layers import (
    HalvingPool,
    LaneNet,
    PReLU,
    add_residual,
    concatenated,
    start_as_identity,
)


class InitialBlock(nn.Module):
    """Strided 3x3 convolution and max pooling of the input, concatenated.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: (B, out_channels, H / 2, W / 2)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels - in_channels, 3, 2, padding=1, bias=False)
        self.pool = HalvingPool()
        self.norm = nn.BatchNorm2d(out_channels)
        self.activation = PReLU()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = concatenated(self.convolution(image), self.pool(image))
        return self.activation(self.norm(features))


class Bottleneck(nn.Module):
    """Residual block on a quarter of the channels that starts as the identity.

    Shape:
        - Input, output: (B, channels, H, W)

    Args:
        channels: number of channels of input and output.
        dropout: probability that a channel of the residual is dropped.
        dilation: dilation of the 3x3 convolution.
        asymmetric: use a 5x1 and a 1x5 convolution instead of the 3x3.
        relu: use ReLU, as in the decoder, instead of PReLU, as in the encoder.
    """

    def __init__(
        self,
        channels: int,
        dropout: float = 0.1,
        dilation: int = 1,
        asymmetric: bool = False,
        relu: bool = False,
    ) -> None:
        super().__init__()
        inner = channels // 4
        if asymmetric:
            middle = [
                nn.Conv2d(inner, inner, (5, 1), padding=(2, 0), bias=False),
                nn.Conv2d(inner, inner, (1, 5), padding=(0, 2), bias=False),
            ]
        else:
            middle = [nn.Conv2d(inner, inner, 3, padding=dilation, dilation=dilation, bias=False)]
        self.residual = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            _activation(relu),
            *middle,
            nn.BatchNorm2d(inner),
            _activation(relu),
            nn.Conv2d(inner, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.Dropout2d(dropout),
        )
        start_as_identity(self.residual)
        self.activation = _activation(relu)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.activation(add_residual(features, self.residual(features)))


class Downsampling(nn.Module):
    """Residual block that halves the size and returns the indices of its max pooling for the decoder.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: (B, out_channels, H / 2, W / 2) and the indices, int64 (B, in_channels, H / 2, W / 2)
    """

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        inner = in_channels // 4
        self.extra_channels = out_channels - in_channels
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, inner, 2, 2, bias=False),
            nn.BatchNorm2d(inner),
            PReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            PReLU(),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Dropout2d(dropout),
        )
        start_as_identity(self.residual)
        self.activation = PReLU()

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled, indices = functional.max_pool2d(features, 2, return_indices=True)
        shortcut = functional.pad(pooled, (0, 0, 0, 0, 0, self.extra_channels))
        return self.activation(add_residual(shortcut, self.residual(features))), indices


class Upsampling(nn.Module):
    """Residual block that doubles the size by unpooling with the indices of the encoder.

    Shape:
        - Input: (B, in_channels, h, w) and the indices, int64 (B, out_channels, h, w)
        - Output: (B, out_channels, 2h, 2w)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        inner = in_channels // 4
        self.shortcut = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.residual = nn.Sequential(
            nn.Conv2d(in_channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(inner, inner, 2, 2, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(inplace=True),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.Dropout2d(0.1),
        )
        start_as_identity(self.residual)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        height, width = features.shape[2:]
        # The operator itself: `functional.max_unpool2d` also imports SymPy, which takes half a second.
        shortcut = torch.ops.aten.max_unpool2d(self.shortcut(features), indices, [2 * height, 2 * width])
        # Unpooling on a GPU returns contiguous planes, which every later convolution would copy.
        shortcut = shortcut.contiguous(memory_format=torch.channels_last)
        return self.activation(add_residual(shortcut, self.residual(features)))


class Encoder(nn.Module):
    """Initial block and stages 1 to 3.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: (B, 128 x width, H / 8, W / 8), and the pooling indices of stages 1 and 2
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.initial = InitialBlock(in_channels, first)
        self.down1 = Downsampling(first, second, dropout=0.01)
        self.stage1 = nn.Sequential(*[Bottleneck(second, dropout=0.01) for _ in range(4)])
        self.down2 = Downsampling(second, third, dropout=0.1)
        self.stage2 = _context(third)
        self.stage3 = _context(third)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        features, indices1 = self.down1(self.initial(image))  # (B, 64, H / 4, W / 4)
        features, indices2 = self.down2(self.stage1(features))  # (B, 128, H / 8, W / 8)
        return self.stage3(self.stage2(features)), indices1, indices2


class Decoder(nn.Module):
    """Stages 4 and 5 and the full-size logits.

    Shape:
        - Input: output of the encoder
        - Output: (B, classes, H, W)
    """

    def __init__(self, classes: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.up4 = Upsampling(third, second)
        self.stage4 = nn.Sequential(*[Bottleneck(second, relu=True) for _ in range(2)])
        self.up5 = Upsampling(second, first)
        self.stage5 = Bottleneck(first, relu=True)
        self.logits = nn.ConvTranspose2d(first, classes, 3, 2, padding=1, output_padding=1, bias=False)

    def forward(self, features: torch.Tensor, indices1: torch.Tensor, indices2: torch.Tensor) -> torch.Tensor:
        features = self.stage4(self.up4(features, indices2))  # (B, 64, H / 4, W / 4)
        features = self.stage5(self.up5(features, indices1))  # (B, 16, H / 2, W / 2)
        return self.logits(features)


class ENet(LaneNet):
    """ENet with an existence head: 0.96 M parameters at 288 x 800."""

    # Layers of the encoder, because the maps of the decoder show the grid of the unpooling.
    attention_layers: ClassVar[tuple[str, ...]] = ("encoder.stage2", "encoder.stage3")
    encoder_class = Encoder
    decoder_class = Decoder


def _activation(relu: bool) -> nn.Module:
    return nn.ReLU(inplace=True) if relu else PReLU()


def _context(channels: int) -> nn.Sequential:
    """Build eight bottlenecks, some dilated or asymmetric: stage 2 or stage 3 of the paper."""
    return nn.Sequential(
        Bottleneck(channels),
        Bottleneck(channels, dilation=2),
        Bottleneck(channels, asymmetric=True),
        Bottleneck(channels, dilation=4),
        Bottleneck(channels),
        Bottleneck(channels, dilation=8),
        Bottleneck(channels, asymmetric=True),
        Bottleneck(channels, dilation=16),
    )
