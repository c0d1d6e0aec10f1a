"""ERFNet for lane segmentation (Romera et al., T-ITS 2018), with an existence head."""

from typing import ClassVar

import torch
from torch import nn

from lgad_pipeline.networks.layers import (
    HalvingPool,
    LaneNet,
    add_residual,
    concatenated,
    start_as_identity,
)


class Downsampler(nn.Module):
    """Strided 3x3 convolution and max pooling of the input, concatenated.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: (B, out_channels, H / 2, W / 2)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(in_channels, out_channels - in_channels, 3, 2, padding=1)
        self.pool = HalvingPool()
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = concatenated(self.convolution(features), self.pool(features))
        return self.activation(self.norm(features))


class FactorizedBlock(nn.Module):
    """Residual block of two 3x3 convolutions, each as a 3x1 and a 1x3 ("non-bottleneck-1D").

    Shape:
        - Input, output: (B, channels, H, W)
    """

    def __init__(self, channels: int, dropout: float = 0.0, dilation: int = 1) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(channels, channels, (3, 1), padding=(1, 0)),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, (1, 3), padding=(0, 1)),
            nn.BatchNorm2d(channels, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, (3, 1), padding=(dilation, 0), dilation=(dilation, 1)),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, (1, 3), padding=(0, dilation), dilation=(1, dilation)),
            nn.BatchNorm2d(channels, eps=1e-3),
            nn.Dropout2d(dropout),
        )
        start_as_identity(self.residual)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.activation(add_residual(features, self.residual(features)))


class Upsampler(nn.Sequential):
    """Strided 3x3 transposed convolution.

    Shape:
        - Input: (B, in_channels, h, w)
        - Output: (B, out_channels, 2h, 2w)
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(in_channels, out_channels, 3, 2, padding=1, output_padding=1),
            nn.BatchNorm2d(out_channels, eps=1e-3),
            nn.ReLU(inplace=True),
        )


class Encoder(nn.Module):
    """Three downsamplings; stage 1 at a quarter of the size, stages 2 and 3 at an eighth.

    Shape:
        - Input: (B, in_channels, H, W)
        - Output: features (B, 128 x width, H / 8, W / 8), in a tuple of one value
    """

    def __init__(self, in_channels: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.initial = Downsampler(in_channels, first)
        self.down1 = Downsampler(first, second)
        self.stage1 = nn.Sequential(*[FactorizedBlock(second, dropout=0.03) for _ in range(5)])
        self.down2 = Downsampler(second, third)
        self.stage2 = _context(third)
        self.stage3 = _context(third)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor]:
        features = self.stage1(self.down1(self.initial(image)))  # (B, 64, H / 4, W / 4)
        return (self.stage3(self.stage2(self.down2(features))),)  # (B, 128, H / 8, W / 8)


class Decoder(nn.Module):
    """Stages 4 and 5 and the full-size logits.

    Shape:
        - Input: (B, 128 x width, h, w)
        - Output: (B, classes, 8h, 8w)
    """

    def __init__(self, classes: int, channels: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = channels
        self.up4 = Upsampler(third, second)
        self.stage4 = nn.Sequential(*[FactorizedBlock(second) for _ in range(2)])
        self.up5 = Upsampler(second, first)
        self.stage5 = nn.Sequential(*[FactorizedBlock(first) for _ in range(2)])
        self.logits = nn.ConvTranspose2d(first, classes, 2, 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        features = self.stage4(self.up4(features))  # (B, 64, H / 4, W / 4)
        return self.logits(self.stage5(self.up5(features)))  # (B, classes, H, W)


class ERFNet(LaneNet):
    """ERFNet with an existence head: 2.68 M parameters at 288 x 800."""

    attention_layers: ClassVar[tuple[str, ...]] = ("encoder.stage2", "encoder.stage3")
    encoder_class = Encoder
    decoder_class = Decoder


def _context(channels: int) -> nn.Sequential:
    """Build four blocks of growing dilation: half of the paper's layers 9 to 16."""
    return nn.Sequential(*[FactorizedBlock(channels, 0.3, dilation) for dilation in (2, 4, 8, 16)])
