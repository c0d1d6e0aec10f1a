"""Specification of a network, and the list of network classes that may be imported; needs no torch."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Side = Annotated[int, Field(ge=1, le=8192)]
Width = Annotated[float, Field(gt=0, le=32, allow_inf_nan=False)]
"""Factor on the channels of every layer."""
_allowed: set[str] = set()


class NetworkSpec(BaseModel):
    """Name and size of a network.

    Attributes:
        name: short name of a network of this package or of a registered one, name with a prefix (such as
            `scnn:erfnet`, `timm:resnet18`), or the import path of a class of another package,
            `package.module:Class`.
        in_channels: number of input planes: 3 for RGB frames; for a teacher the planes of a label map.
        slots: number of lane slots, without the background.
        image_size: (H, W) of the input, pixels.
        width: factor on the channels of every layer.
        zero_init_residual: True: residual branches start at zero (Goyal et al., 2017); False: PyTorch's
            default start, with which ENet and ERFNet were published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "enet"
    in_channels: int = Field(default=3, ge=1, le=64)
    slots: int = Field(default=4, ge=1, le=64)
    image_size: tuple[Side, Side] = (288, 800)
    width: Width = 1.0
    zero_init_residual: bool = True


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
