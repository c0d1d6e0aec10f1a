"""Settings of the augmentation; they load without torch."""

from pydantic import Field

from lgad_pipeline.config.base import BaseConfig


class AugmentationConfig(BaseConfig):
    """Limits of the random changes of a frame, whose amounts are drawn uniformly; 0 turns a change off."""

    flip: float = Field(
        default=0.5, ge=0, le=1, description="probability of mirroring left and right, slots renumbered"
    )
    rotation: float = Field(
        default=3.0, ge=0, le=45, description="largest rotation either way, degrees in the image"
    )
    scale: float = Field(
        default=0.1, ge=0, le=0.5, description="largest enlargement or reduction, share of the size"
    )
    shift_x: float = Field(
        default=0.1, ge=0, le=0.5, description="largest shift left or right, share of the width"
    )
    shift_y: float = Field(
        default=0.05, ge=0, le=0.5, description="largest shift up or down, share of the height"
    )
    brightness: float = Field(default=0.3, ge=0, lt=1, description="largest change of the gain, share")
    contrast: float = Field(
        default=0.3, ge=0, lt=1, description="largest change of the contrast around the mean, share"
    )
    tone: float = Field(
        default=0.4, ge=0, le=1, description="largest bend of the tone curve t of x + t x (1 - x)"
    )
    saturation: float = Field(default=0.4, ge=0, le=1, description="largest change of the saturation, share")
    colour: float = Field(
        default=0.08, ge=0, lt=1, description="largest change of a single channel's gain, share"
    )
    noise: float = Field(
        default=8.0, ge=0, description="largest standard deviation of the sensor noise, grey levels of 255"
    )
    blur: float = Field(default=0.15, ge=0, le=1, description="probability of a 3 x 3 blur")
    erasing: float = Field(
        default=0.2, ge=0, le=1, description="probability of a grey rectangle over part of the image"
    )
    shadow: float = Field(
        default=0.3, ge=0, le=1, description="probability of a cast shadow, a darker slanted band"
    )
    glare: float = Field(default=0.1, ge=0, le=1, description="probability of a bright streak")
    min_lane_pixels: int = Field(
        default=8,
        ge=1,
        description="label pixels that a slot must keep in the changed image to count as existing",
    )


class LabelNoiseConfig(BaseConfig):
    """Noise in training labels: missing and shifted lanes. It is a function of seed and frame alone."""

    drop: float = Field(default=0.0, ge=0, le=1, description="probability that a lane is missing")
    shift: float = Field(
        default=0.0, ge=0, le=0.5, description="largest sideways shift of a lane, share of the width"
    )
    shifted: float = Field(default=1.0, ge=0, le=1, description="probability that a lane is shifted")
    seed: int = Field(default=0, ge=0, description="seed of the noise, the same for all networks of a study")
