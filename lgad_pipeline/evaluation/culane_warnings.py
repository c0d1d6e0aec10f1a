"""Warnings about the input of CULane's metric, such as lanes in pixels of another frame size.

The counts are those of the official tool in any case.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.evaluation.frame_lanes import FolderLanes
from lgad_pipeline.evaluation.scaled_lanes import Lanes, scale_warning
from lgad_pipeline.lanes.extents import (
    Extents,
    annotated_warnings,
    copies_warning,
    count_copies,
    extents_of,
    few_smaller_warning,
    size_warnings,
)
from lgad_pipeline.lanes.odd_lanes import odd_lanes, odd_lanes_warnings
from lgad_pipeline.wording import counted


class Evidence(NamedTuple):
    """Properties of the lanes of some frames from which warnings follow.

    Attributes:
        sizes: int32 (frames, 3), as `FrameSizes` gives them.
        annotated: extents of the annotated lanes.
        predicted: extents of the predicted lanes.
        same: bool (frames,): the predicted lanes are the annotated ones, to the last bit.
        doubled: int (2,): annotated and predicted lanes with two equal neighbouring points.
        blank: int (2,): annotated and predicted lanes without points, from blank lines.
        copies: int (2,): annotated and predicted lanes that are equal to another lane of their frame.
        odd: int (2, 4): for annotated and predicted lanes the numbers that `odd_lanes` returns.
    """

    sizes: np.ndarray
    annotated: Extents
    predicted: Extents
    same: np.ndarray
    doubled: np.ndarray
    blank: np.ndarray
    copies: np.ndarray
    odd: np.ndarray

    @classmethod
    def of(cls, sides: Sequence[FolderLanes], sizes: np.ndarray) -> "Evidence":
        """Evidence from the annotated and the predicted lanes of some frames of the given sizes."""
        lanes = [side.lanes for side in sides]
        extents = [extents_of(side.joined, side.counts.tolist(), sizes=sizes[:, :2]) for side in lanes]
        same = (lanes[0].counts == lanes[1].counts) & np.equal(*map(np.nan_to_num, extents)).all(axis=1)
        for frame in np.flatnonzero(same).tolist():
            same[frame] = all(map(np.array_equal, *(side.files[frame] or [] for side in sides)))
        doubled = np.array([side.doubled.sum() for side in lanes])
        blank = np.array([side.blank for side in sides])
        copies = np.array([count_copies(side.files) for side in sides])
        odd = np.array([odd_lanes(side.joined) for side in lanes])
        return cls(sizes, extents[0], extents[1], same, doubled, blank, copies, odd)

    @classmethod
    def joined(cls, parts: Sequence["Evidence"]) -> "Evidence":
        """Join the evidence of all frames."""
        sizes, annotated, predicted, same = (
            np.concatenate([part[field] for part in parts]) for field in range(4)
        )
        counts = (np.sum([part[field] for part in parts], axis=0) for field in range(4, len(cls._fields)))
        return cls(sizes, annotated, predicted, same, *counts)


def culane_warnings(
    annotations: Path,
    predictions: Path,
    *,
    frames: Sequence[str],
    parts: Sequence[Evidence],
    compared: Sequence[tuple[Lanes, Lanes]],
    size: tuple[int, int],
) -> list[str]:
    """Return the warnings about a comparison of two directories, a sentence each.

    Args:
        annotations: directory of the annotated lane files.
        predictions: directory of the predicted lane files.
        frames: paths of the frames relative to the directories.
        parts: evidence of the frames, chunk by chunk.
        compared: annotated and predicted lanes of some frames of one size.
        size: this size (H, W), pixels.
    """
    evidence = Evidence.joined(parts)
    some = (evidence.annotated[:, 0] > 0) | (evidence.predicted[:, 0] > 0)
    warnings = []
    if annotations.resolve() == predictions.resolve():
        warnings.append(
            f"{annotations} is given as annotations and as predictions: every lane matches itself."
        )
    elif some.any() and evidence.same[some].all():
        warnings.append(
            f"The lanes in {predictions} are exactly the annotated ones in the "
            f"{counted(len(some), 'frame')}; give the folder that the predictions were written to."
        )
    for folder, extents in ((annotations, evidence.annotated), (predictions, evidence.predicted)):
        if not extents[:, 0].any():
            warnings.append(f"The files in {folder} hold no lane in the {counted(len(extents), 'frame')}.")
    sizes = evidence.sizes[:, :2]
    warnings += annotated_warnings(evidence.annotated, sizes=sizes, frames=frames)
    warnings += (
        size_warnings("predicted", evidence.predicted, sizes=sizes, reference=evidence.annotated)
        or scale_warning(compared, size)
        or few_smaller_warning("predicted", evidence.predicted, sizes=sizes, frames=frames)
    )
    for kind, count in zip(("annotated", "predicted"), evidence.doubled.tolist(), strict=True):
        if count:
            warnings.append(
                f"{count} {kind} lane{'s have' if count > 1 else ' has'} two equal neighbouring points, and "
                "so no spline: each counts as a lane that matches nothing; remove one of the points."
            )
    for kind, count in zip(("annotated", "predicted"), evidence.blank.tolist(), strict=True):
        if count:
            lanes = f"{count} {kind} lane{'s are blank lines' if count > 1 else ' is a blank line'}"
            warnings.append(
                f"{lanes} without points, and each counts as a lane that matches nothing; take these lines "
                "out."
            )
    for kind, count in zip(("annotated", "predicted"), evidence.copies.tolist(), strict=True):
        warnings += copies_warning(kind, count)
    for kind, counts in zip(("annotated", "predicted"), evidence.odd, strict=True):
        warnings += odd_lanes_warnings(kind, counts)
    return warnings
