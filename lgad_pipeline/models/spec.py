"""A network by name and size, without building it."""

from pydantic import BaseModel, ConfigDict, Field


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
    in_channels: int = Field(default=3, ge=1)
    slots: int = Field(default=4, ge=1)
    image_size: tuple[int, int] = (288, 800)
    width: float = Field(default=1.0, gt=0)
    zero_init_residual: bool = True
