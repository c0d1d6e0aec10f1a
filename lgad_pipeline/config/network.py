"""Specification of a network, and the list of network classes that may be imported; needs no torch."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from lgad_pipeline.config.base import BaseConfig, LaterKeysConfig
from lgad_pipeline.config.lane_types import LaneTypes

Side = Annotated[int, Field(ge=1, le=8192)]
Width = Annotated[float, Field(gt=0, le=32)]
"""Factor on the channels of every layer."""
_allowed: set[str] = set()


class NetworkArchitecture(BaseConfig):
    """Layers of a network: all of its description but the sizes of input and output.

    Attributes:
        name: short name of a network of this package (`enet`) or of a registered one; a name with a prefix
            for a spatial module (`scnn:enet`, `resa:erfnet`), an encoder of timm (`timm:resnet18`) or a
            network of segmentation_models_pytorch (`smp:Unet:resnet18`); or the import path of a class of
            another package, `package.module:Class`.
        width: factor on the channels of every layer.
        zero_init_residual: True: residual branches start at zero (Goyal et al., 2017), which learns several
            times faster; False: PyTorch's default start, with which ENet and ERFNet were published.
    """

    name: str = "enet"
    width: Width = 1.0
    zero_init_residual: bool = True


class NetworkSpec(NetworkArchitecture, LaterKeysConfig):
    """Architecture of a network and the sizes of its input and output.

    Attributes:
        in_channels: number of input planes: 3 for RGB frames; for a teacher the planes of a label map.
        slots: number of lane slots, without the background.
        image_size: (H, W) of the input, pixels.
        lane_types: names of the types of lanes that the network tells apart; empty for none.
    """

    later_keys = ("lane_types",)

    in_channels: int = Field(default=3, ge=1, le=64)
    slots: int = Field(default=4, ge=1, le=64)
    image_size: tuple[Side, Side] = (288, 800)
    lane_types: LaneTypes = ()


class NetworkChoice(NetworkArchitecture):
    """Architecture that a recipe names, and the weights that it starts from.

    Attributes:
        pretrained: file with ImageNet weights of torchvision's resnet18 or resnet34, or of timm's model, for
            students; relative paths are relative to the settings file.
    """

    pretrained: Path | None = None

    @field_validator("name")
    @classmethod
    def _allowed(cls, name: str) -> str:
        allow_networks(name)  # Directories of trained networks may name the class from now on, too.
        return name

    def spec(
        self, image_size: tuple[int, int], slots: int = 4, *, lane_types: tuple[str, ...] = ()
    ) -> NetworkSpec:
        """Return the network of a data set.

        Args:
            image_size: size (H, W) of the input, pixels.
            slots: number of lane slots.
            lane_types: names of the types of lanes that it tells apart; empty for none.
        """
        architecture = {name: getattr(self, name) for name in NetworkArchitecture.model_fields}
        return NetworkSpec(**architecture, slots=slots, image_size=image_size, lane_types=lane_types)


def allow_networks(*names: str) -> None:
    """Allow directories of trained networks to name classes of other packages.

    Loading such a directory imports the module of the class that it names, which runs code. Only modules of
    allowed classes are imported: those given here, those named by a recipe of the settings, and those that
    were built. The list is that of the process, like `torch.serialization.add_safe_globals`.

    Args:
        names: import paths, `package.module:Class`.
    """
    _allowed.update(names)


def is_allowed(name: str) -> bool:
    """Return True if the class may be imported when a directory names it."""
    return name in _allowed


def allowed_networks() -> frozenset[str]:
    """Return the import paths of all classes that directories of trained networks may name."""
    return frozenset(_allowed)
