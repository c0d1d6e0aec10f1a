"""Warnings about the input of LLAMAS' metric, such as lanes in pixels of another frame size."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.datasets.llamas import HEIGHT, WIDTH
from lgad_pipeline.evaluation.scaled_lanes import Lanes, scale_warning
from lgad_pipeline.evaluation.types import Counts
from lgad_pipeline.lanes.extents import (
    Extents,
    copies_warning,
    count_copies,
    few_smaller_warning,
    lane_extents,
    size_warnings,
)
from lgad_pipeline.lanes.odd_lanes import odd_lanes, odd_lanes_warnings
from lgad_pipeline.lanes.spline import ragged
from lgad_pipeline.wording import counted, size_text

_SIZE = np.array([[HEIGHT, WIDTH]])


class FrameEvidence(NamedTuple):
    """Properties of the lanes of one frame from which warnings follow.

    Attributes:
        annotated: extent of the annotated lanes, (1, 7).
        predicted: extent of the predicted lanes, (1, 7).
        copies: number of predicted lanes that are equal to another one.
        odd: int64 (4,), the numbers that `odd_lanes` returns for the predicted lanes.
    """

    annotated: Extents
    predicted: Extents
    copies: int
    odd: np.ndarray

    @classmethod
    def of(cls, predicted: Sequence[np.ndarray], annotated: Sequence[np.ndarray]) -> "FrameEvidence":
        """Evidence from the lanes of a frame, float (N, 2) each as (x, y), frame pixels."""
        return cls(
            lane_extents([annotated], _SIZE),
            lane_extents([predicted], _SIZE),
            count_copies([predicted]),
            odd_lanes(ragged(predicted)),
        )


def llamas_warnings(
    labels: Path,
    predictions: Path,
    *,
    names: Sequence[str],
    frames: Sequence[FrameEvidence],
    counts: Counts,
    lanes: Sequence[tuple[Lanes, Lanes]],
) -> list[str]:
    """Return the warnings about a comparison, a sentence each.

    Args:
        labels: directory of the label files.
        predictions: directory of the predicted lane files.
        names: names of the label files that can be used.
        frames: evidence of their frames.
        counts: counts over these frames.
        lanes: annotated and predicted lanes of some of these frames.
    """
    annotated, predicted = (np.concatenate([frame[side] for frame in frames]) for side in (0, 1))
    warnings = []
    for folder, extents, what in (
        (labels, annotated, "lane next to the car"),
        (predictions, predicted, "lane"),
    ):
        if not extents[:, 0].any():
            warnings.append(f"The files in {folder} hold no {what} in the {counted(len(extents), 'frame')}.")
    sizes = np.repeat(_SIZE, len(frames), axis=0)
    of_size = (
        size_warnings("predicted", predicted, sizes=sizes, reference=annotated)
        or scale_warning(lanes, (HEIGHT, WIDTH))
        or few_smaller_warning("predicted", predicted, sizes=sizes, frames=names)
    )
    if not of_size and counts.fp and counts.fn and not counts.tp:
        of_size = [
            f"No predicted lane matches an annotated one; give lanes of these frames, in pixels of "
            f"{size_text(_SIZE)}."
        ]
    copies = copies_warning("predicted", sum(frame.copies for frame in frames))
    odd = odd_lanes_warnings("predicted", np.sum([frame.odd for frame in frames], axis=0))
    return [*warnings, *of_size, *copies, *odd]
