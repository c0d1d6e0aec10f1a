"""Encoders of timm (pytorch-image-models) as lane networks: `timm:NAME`; needs the package timm."""

import re
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import ExistenceFromPlanes, LaneNetwork, LaneOutput, check_size

_CHANNELS = 128
# A name with a colon or a slash would make timm read a folder or download from a hub.
_NAME = re.compile(r"[A-Za-z0-9_.]+")


class TimmNet(LaneNetwork):
    """Encoder of timm, its features at 1/8, 1/16 and 1/32 of the size added, one plane per class, enlarged.

    The features are reduced to 128 channels by 1x1 convolutions and enlarged to 1/8, as in a feature pyramid
    (Lin et al., CVPR 2017).

    Shape:
        - Input: (B, in_channels, H, W), H and W multiples of 8
        - Output: LaneOutput, logits (B, slots + 1, H, W) and existence (B, slots)
    """

    attention_layers: ClassVar[tuple[str, ...]] = ("lateral.0", "lateral.1", "lateral.2")
    encoder_name: ClassVar[str]

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float = 1.0) -> None:
        super().__init__()
        check_size(image_size)
        if width != 1:
            raise LgadError(
                f"width {width:g} does not fit timm:{self.encoder_name}, whose channels are fixed; leave it "
                "out."
            )
        _check_input_size(self.encoder_name, in_channels, image_size)
        self.encoder = _create(self.encoder_name, in_channels)
        reductions = self.encoder.feature_info.reduction()
        channels = self.encoder.feature_info.channels()
        self.levels = [level for level, reduction in enumerate(reductions) if reduction in (8, 16, 32)]
        if not self.levels or reductions[self.levels[0]] != 8:
            raise LgadError(
                f"timm:{self.encoder_name} has no features at an eighth of the size; choose another encoder, "
                "such as timm:resnet18."
            )
        self.lateral = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels[level], _CHANNELS, 1, bias=False),
                nn.BatchNorm2d(_CHANNELS),
                nn.ReLU(inplace=True),
            )
            for level in self.levels
        )
        self.planes = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(_CHANNELS, slots + 1, 1))
        self.type_channels = _CHANNELS
        self.existence = ExistenceFromPlanes(slots, (image_size[0] // 8, image_size[1] // 8))

    def features(self, image: torch.Tensor) -> torch.Tensor:
        """Return the features (B, 128, H / 8, W / 8)."""
        stages = self.encoder(image)
        first, *others = (
            layer(stages[level]) for layer, level in zip(self.lateral, self.levels, strict=True)
        )
        size = (image.shape[-2] // 8, image.shape[-1] // 8)
        for other in others:
            first = first + functional.interpolate(other, size=size, mode="bilinear", align_corners=False)
        return first

    def forward(self, image: torch.Tensor) -> LaneOutput:
        features = self.features(image)
        planes = self.planes(features)  # (B, slots + 1, H / 8, W / 8)
        logits = functional.interpolate(planes, size=image.shape[-2:], mode="bilinear", align_corners=False)
        return self.output(features, logits, self.existence(planes))

    def load_imagenet(self, path: Path) -> None:
        """Load the weights of the encoder from a file of timm, `.safetensors` or `.pth`.

        Raises:
            LgadError: the file does not exist, or it does not fit the encoder.
        """
        first = next(self.encoder.parameters())
        try:
            loaded = _create(self.encoder_name, first.shape[1], path)
        except Exception as error:  # timm raises errors of many kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise LgadError(
                f"{path} cannot be loaded into timm:{self.encoder_name} ({reason}); give timm's file for "
                "this encoder."
            ) from error
        self.encoder.load_state_dict(loaded.state_dict())


@lru_cache
def timm_network(name: str) -> type[TimmNet]:
    """Return the class of an encoder.

    Args:
        name: name of a model of timm, such as `efficientnet_lite0`.

    Raises:
        LgadError: timm is not installed, or has no model of that name.
    """
    timm = _timm()
    if not _NAME.fullmatch(name) or not timm.is_model(name):
        near = timm.list_models(f"*{re.sub('[^A-Za-z0-9_]', '', name)[:12]}*")[:5]
        raise LgadError(
            f"timm has no model {name!r}; choose a name of timm.list_models()"
            + (f", such as {', '.join(near)}." if near else ".")
        )
    return type(f"Timm_{name}", (TimmNet,), {"encoder_name": name, "__doc__": f"{name} of timm."})


def _timm() -> Any:
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LgadError(
            f"timm cannot be imported ({error}); install it: pip install 'lgad-pipeline[networks]'."
        ) from error
    return timm


def _check_input_size(name: str, in_channels: int, image_size: tuple[int, int]) -> None:
    """Refuse an encoder, such as a Swin transformer, that does not take images of this size."""
    config = _timm().get_pretrained_cfg(name)
    if config is None or not config.fixed_input_size or tuple(config.input_size[1:]) == tuple(image_size):
        return
    try:  # of some models the size holds for their classifier alone
        with torch.device("meta"), torch.no_grad():
            _create(name, in_channels)(torch.empty(1, in_channels, *image_size))
    except (AssertionError, RuntimeError) as error:
        height, width = config.input_size[1:]
        raise LgadError(
            f"timm:{name} takes no images of {image_size[0]} x {image_size[1]} px, its own are "
            f"{height} x {width}; choose another encoder, such as timm:resnet18."
        ) from error


def _create(name: str, in_channels: int, path: Path | None = None) -> Any:
    """Build an encoder that returns the features of its stages, with random weights or those of a file."""
    weights: dict[str, Any] = {"pretrained": False}
    if path is not None:
        weights = {"pretrained": True, "pretrained_cfg_overlay": {"file": str(path)}}
    try:
        return _timm().create_model(name, features_only=True, in_chans=in_channels, **weights)
    except (RuntimeError, AttributeError, ValueError, TypeError) as error:
        if path is not None:
            raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise LgadError(
            f"timm:{name} cannot be built as an encoder ({reason}); choose another encoder."
        ) from error
