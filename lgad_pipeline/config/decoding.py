"""Settings of decoding, the conversion of probability maps to lanes; needs no torch."""

from typing import Literal

from pydantic import Field

from lgad_pipeline.config.base import BaseConfig


class DecodeConfig(BaseConfig):
    """Settings of decoding, the conversion of probability maps to lanes.

    Attributes:
        method: `official`: CULane's post-processing, with an `existence_threshold` of 0.5; `centroid`:
            positions finer than a column of the map.
        existence_threshold: least existence probability of a slot that holds a lane, exclusive. The default
            is below 0.5, because on frames unlike those of the training networks give too low a probability
            to lanes that their maps show (docs/results.md).
        peak_threshold: least maximum probability of a map row on which a lane has a point, exclusive.
        row_step: distance in y between the points of a lane, frame pixels.
        least_rows: least number of map rows on which a lane has a point.
        smoothing: half-width of the average over deviations from a cubic, map rows.
        outlier_distance: distance from the lane's cubic at which a row of the map is ignored, map columns.
        to_bottom: extend lanes to the lower border of the frame, as annotators do behind the bonnet.
    """

    method: Literal["centroid", "official"] = "centroid"
    existence_threshold: float = Field(default=0.25, ge=0, le=1)
    peak_threshold: float = Field(default=0.3, ge=0, le=1)
    row_step: float = Field(default=10.0, ge=0.5, le=1000)
    least_rows: int = Field(default=4, ge=2, le=8192)
    smoothing: float = Field(default=3.0, ge=1e-3, le=1000)
    outlier_distance: float = Field(default=2.5, ge=0.1, le=1000)
    to_bottom: bool = True
