"""Networks with a spatial module between encoder and decoder: `scnn:BACKBONE` and `resa:BACKBONE`."""

from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.networks.layers import LaneNet, LaneNetwork, LaneOutput, scaled
from lgad_pipeline.networks.resa_net import ResaNet18, ResaNet34
from lgad_pipeline.networks.resnet import ResNet, ResNet18, ResNet34
from lgad_pipeline.networks.spatial_modules import RecurrentShifts, SliceConvolutions
from lgad_pipeline.networks.timm_net import TimmNet

_MODULES = {"scnn": SliceConvolutions, "resa": RecurrentShifts}
_PUBLISHED: dict[tuple[str, type], type[nn.Module]] = {
    ("resa", ResNet18): ResaNet18,
    ("resa", ResNet34): ResaNet34,
}
"""Pairs of module and backbone that were published with a decoder of their own."""


@lru_cache
def spatial_network(kind: str, backbone: type[nn.Module]) -> type[nn.Module]:
    """Return the class of a backbone with a spatial module on its features at an eighth of the size.

    Args:
        kind: `scnn` or `resa`.
        backbone: class of the backbone: a `LaneNet` (ENet, ERFNet), `ResNet` or `TimmNet`.
    """
    if (kind, backbone) in _PUBLISHED:
        return _PUBLISHED[kind, backbone]
    if issubclass(backbone, LaneNet):
        wrapper: type[nn.Module] = _SpatialLaneNet
    elif issubclass(backbone, ResNet):
        wrapper = _SpatialResNet
    else:
        assert issubclass(backbone, TimmNet), backbone
        wrapper = _SpatialTimmNet
    members: dict[str, Any] = {
        "__doc__": f"{backbone.__name__} with the spatial module of {kind.upper()}.",
        "module": _MODULES[kind],
        "attention_layers": (*backbone.attention_layers, "spatial"),  # type: ignore[attr-defined]
    }
    wrapped = type(f"{kind.upper()}{backbone.__name__}", (wrapper, backbone), members)
    return cast(type[nn.Module], wrapped)


class _Spatial(LaneNetwork):
    """Backbone with a spatial module; mixed into the class of a backbone."""

    module: type[nn.Module]
    # Modules of the backbones.
    spatial: nn.Module
    encoder: nn.Module
    decoder: nn.Module
    existence: nn.Module

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float = 1.0) -> None:
        super().__init__(in_channels=in_channels, slots=slots, image_size=image_size, width=width)  # type: ignore[call-arg]
        self.spatial = self.module(scaled(128, width))


class _SpatialLaneNet(_Spatial):
    def forward(self, image: torch.Tensor) -> LaneOutput:
        features, *extra = self.encoder(image)
        features = self.spatial(features)  # (B, 128, H / 8, W / 8)
        return self.output(features, self.decoder(features, *extra), self.existence(features))


class _SpatialResNet(_Spatial):
    def forward(self, image: torch.Tensor) -> LaneOutput:
        layers = cast(nn.Sequential, self.planes)
        convolution, norm, activation, dropout, logits = layers
        encoded = self.encoder(image)
        features = self.spatial(activation(norm(convolution(encoded))))  # (B, 128, H / 8, W / 8)
        planes = logits(dropout(features))
        full = functional.interpolate(planes, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return self.output(encoded, full, self.existence(planes))


class _SpatialTimmNet(_Spatial):
    def features(self, image: torch.Tensor) -> torch.Tensor:
        return self.spatial(super().features(image))  # type: ignore[misc]
