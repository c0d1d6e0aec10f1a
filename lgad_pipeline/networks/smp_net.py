"""Networks of segmentation_models_pytorch: `smp:ARCHITECTURE:ENCODER`; needs that package."""

import re
from functools import lru_cache
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import ExistenceFromPlanes, LaneOutput, check_size

_STANDARD_ENCODER = "resnet18"
# A name with a colon or a slash would make the package download from a hub.
_NAME = re.compile(r"[A-Za-z0-9_.-]+")


class SmpNet(nn.Module):
    """Network of segmentation_models_pytorch with an existence head on its logits.

    Shape:
        - Input: (B, in_channels, H, W); most architectures need multiples of 32
        - Output: LaneOutput, logits (B, slots + 1, H, W) and existence (B, slots)
    """

    attention_layers: ClassVar[tuple[str, ...]] = ("model.decoder",)
    architecture: ClassVar[str]
    encoder_name: ClassVar[str]

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float = 1.0) -> None:
        super().__init__()
        check_size(image_size)
        name = f"smp:{self.architecture}:{self.encoder_name}"
        if width != 1:
            raise LgadError(f"width {width:g} does not fit {name}, whose channels are fixed; leave it out.")
        try:
            self.model = _smp().create_model(
                self.architecture,
                encoder_name=self.encoder_name,
                encoder_weights=None,
                in_channels=in_channels,
                classes=slots + 1,
            )
            multiple = self._multiple()
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise LgadError(
                f"{name} cannot be built ({reason}); choose an architecture and an encoder of "
                "segmentation_models_pytorch."
            ) from error
        if image_size[0] % multiple or image_size[1] % multiple:
            raise LgadError(
                f"image_size {list(image_size)} does not fit {name}; give a height and a width that are "
                f"multiples of {multiple}."
            )
        self.existence = ExistenceFromPlanes(slots, (image_size[0] // 8, image_size[1] // 8))

    def _multiple(self) -> int:
        """Return the number that height and width must be multiples of."""
        if not getattr(self.model, "requires_divisible_input_shape", True):
            return 8
        return int(self.model.encoder.output_stride)

    def forward(self, image: torch.Tensor) -> LaneOutput:
        logits = self.model(image)
        return LaneOutput(logits, self.existence(functional.avg_pool2d(logits, 8)))


@lru_cache
def smp_network(name: str) -> type[SmpNet]:
    """Return the class of a network.

    Args:
        name: `ARCHITECTURE:ENCODER`, such as `Unet:resnet18`; without an encoder it is resnet18.

    Raises:
        LgadError: the package is not installed, or the name has another form.
    """
    _smp()
    architecture, _, encoder = name.partition(":")
    encoder = encoder or _STANDARD_ENCODER
    if not (_NAME.fullmatch(architecture) and _NAME.fullmatch(encoder)):
        raise LgadError(f"smp:{name} is not a name of a network; give smp:ARCHITECTURE:ENCODER.")
    members = {
        "architecture": architecture,
        "encoder_name": encoder,
        "__doc__": f"{architecture} with {encoder} of segmentation_models_pytorch.",
    }
    return type(f"Smp_{architecture}_{encoder}", (SmpNet,), members)


def _smp() -> Any:
    try:
        import segmentation_models_pytorch  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise LgadError(
            f"segmentation_models_pytorch cannot be imported ({error}); install it: pip install "
            "'lgad-pipeline[networks]'."
        ) from error
    return segmentation_models_pytorch
