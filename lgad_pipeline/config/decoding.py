"""How lanes are read from probability maps: settings alone, loaded without torch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class DecodeConfig(BaseModel):
    """How lanes are read from probability maps.

    Attributes:
        method: `official` as CULane's post-processing; `centroid`, finer than a column of the map.
        existence_threshold: a slot counts when its existence probability is greater.
        peak_threshold: a row counts when its greatest probability is greater.
        row_step: distance of the lane's points in y, frame pixels.
        least_rows: map rows that a lane must be seen on.
        smoothing: half-width in map rows over which deviations from a cubic are averaged.
        to_bottom: carry lanes on to the frame's border below, as annotators do behind the bonnet.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["centroid", "official"] = "centroid"
    existence_threshold: float = Field(default=0.5, ge=0, le=1)
    peak_threshold: float = Field(default=0.3, ge=0, le=1)
    row_step: float = Field(default=10.0, ge=0.5, le=1000, allow_inf_nan=False)
    least_rows: int = Field(default=4, ge=2, le=8192)
    smoothing: float = Field(default=3.0, ge=1e-3, le=1000, allow_inf_nan=False)
    to_bottom: bool = True
