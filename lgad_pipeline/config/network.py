"""A network by name and size, without building it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Side = Annotated[int, Field(ge=1, le=8192)]
_allowed: set[str] = set()


class NetworkSpec(BaseModel):
    """A network by name and size.

    Attributes:
        name: a network of this package, or the import path of one's own class, `package.module:Class`.
        in_channels: input planes; 3 for RGB frames. A teacher's depend on what it reads of a label map.
        slots: lane slots, without the background.
        image_size: (H, W) of the input, pixels.
        width: multiplies the channels of every layer.
        zero_init_residual: residual branches start at zero (Goyal et al., 2017); False for PyTorch's
            customary start, as ENet and ERFNet were published.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "enet"
    in_channels: int = Field(default=3, ge=1, le=64)
    slots: int = Field(default=4, ge=1, le=64)
    image_size: tuple[Side, Side] = (288, 800)
    width: float = Field(default=1.0, gt=0, le=32, allow_inf_nan=False)
    zero_init_residual: bool = True


def allow_networks(*names: str) -> None:
    """Let folders of trained networks name these classes of one's own, `package.module:Class`.

    Loading a folder imports the module of a class that it names, which runs code. So it imports none but
    those that the caller named: by a recipe of the settings, by building one, or here. The list holds for
    the process, as that of `torch.serialization.add_safe_globals` does.
    """
    _allowed.update(names)


def is_allowed(name: str) -> bool:
    """Tell if the caller named this class of one's own."""
    return name in _allowed
