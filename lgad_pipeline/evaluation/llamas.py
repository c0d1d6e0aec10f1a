"""LLAMAS' metric: true positives by IoU of drawn lanes, against the four lanes next to the car.

It is the metric of the data set's public evaluator (karstenBehrendt/unsupervised_llamas, `culane_metric`).
The annotated lanes are l1, l0, r0 and r1 with an x for each row below row 300, see `llamas_labels`. A
predicted lane is a spline through its points, sampled at 50 positions. Lanes are drawn 30 px wide and matched
one to one so that the sum of IoUs is greatest; a match with an IoU above 0.5 is a true positive.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from scipy.interpolate import splev, splprep
from scipy.optimize import linear_sum_assignment

from lgad_pipeline.datasets.llamas import HEIGHT, WIDTH
from lgad_pipeline.datasets.safe_io import read_inside, read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.llamas_labels import reference_lanes
from lgad_pipeline.evaluation.llamas_warnings import FrameEvidence, llamas_warnings
from lgad_pipeline.evaluation.scaled_lanes import MOST_FRAMES
from lgad_pipeline.evaluation.types import Counts
from lgad_pipeline.lanes.lane_files import Rejected, parse_lanes
from lgad_pipeline.process_pool import map_chunks
from lgad_pipeline.progress import Progress

FIRST_ROW = 300
"""Rows above are not evaluated."""

_LANE_WIDTH = 30
_THRESHOLD = 0.5
_SAMPLES = 50
_LARGEST_FILE = 16 << 20  # bytes


@dataclass(frozen=True)
class LlamasScores:
    """Result of an evaluation.

    Attributes:
        counts: true positives, false positives and false negatives over all frames.
        frames: number of label files.
        without_prediction: label files without a predicted lane file; they count as without lanes.
        rejected: label files, lane files and lines of lane files that cannot be used; a frame whose lane file
            cannot be used counts as without lanes.
        notes: warnings about the lanes, such as coordinates in pixels of another frame size.
    """

    counts: Counts
    frames: int
    without_prediction: list[str] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate_llamas(
    labels: Path, predictions: Path, *, workers: int | None = None, progress: Progress | None = None
) -> LlamasScores:
    """Compare predicted lane files with LLAMAS' label files.

    The lane file of `labels/RECORDING/NAME.json` is `predictions/RECORDING/NAME.lines.txt`, or that of its
    frame, `predictions/color_images/SPLIT/RECORDING/NAME_color_rect.lines.txt`.

    Args:
        labels: directory of a split's label files, such as labels/valid.
        predictions: directory of the lane files.
        workers: processes; None for one a core.
        progress: called with (frames done, frames in all).

    Raises:
        LgadError: a directory is missing, or has no label file or a lane file for none of them; or no label
            file can be used.
    """
    for folder in (labels, predictions):
        if not folder.is_dir():
            raise LgadError(f"The folder {folder} does not exist; give the folder that holds the files.")
    names = sorted(path.relative_to(labels).as_posix() for path in labels.glob("*/*.json"))
    if not names:
        raise LgadError(f"{labels} holds no label file RECORDING/NAME.json; give labels/valid.")
    results: list[_FrameResult] = []
    for chunk in map_chunks(partial(_compare_files, labels, predictions), names, workers=workers):
        results += chunk
        if progress is not None:
            progress(len(results), len(names))
    bad = [fault for result in results for fault in result.rejected if fault.file == result.name]
    if len(bad) == len(names):
        raise LgadError(f"No label file in {labels} can be used; {bad[0]}")
    missing = [result.name for result in results if not result.has_prediction]
    if len(missing) == len(names):
        raise LgadError(
            f"{predictions} holds a lane file for none of the {len(names)} label files, such as "
            f"{_lane_files(labels, names[0])[0]}; give the folder that does."
        )
    counts = sum((result.counts for result in results), Counts())
    rejected = [fault for result in results for fault in result.rejected]
    usable = [(result.name, result.evidence) for result in results if result.evidence is not None]
    names, evidence = [name for name, _ in usable], [found for _, found in usable]
    compared = [result.name for result in results if result.evidence is not None and result.has_prediction]
    every = -(-len(compared) // MOST_FRAMES) or 1
    some = [_lanes_of(labels, predictions, name) for name in compared[::every]]
    notes = llamas_warnings(labels, predictions, names=names, frames=evidence, counts=counts, lanes=some)
    return LlamasScores(counts, len(results), missing, rejected, notes)


def match_lanes(predicted: Sequence[np.ndarray], annotated: Sequence[np.ndarray]) -> Counts:
    """Count the true positives, false positives and false negatives of one frame.

    Args:
        predicted: points of the predicted lanes, float (N, 2) each as (x, y), frame pixels; lanes of fewer
            than two different points are ignored.
        annotated: points of the annotated lanes, one for each row, float (N, 2) each.
    """
    splines = [_sampled(lane) for lane in map(_without_repeats, predicted) if len(lane) >= 2]
    if not splines or not annotated:
        return Counts(0, len(splines), len(annotated))
    first, second = ([_drawn(lane) for lane in lanes] for lanes in (splines, annotated))
    ious = np.array([[(one & two).sum() / max((one | two).sum(), 1) for two in second] for one in first])
    rows, columns = linear_sum_assignment(1 - ious)
    tp = int((ious[rows, columns] > _THRESHOLD).sum())
    return Counts(tp, len(splines) - tp, len(annotated) - tp)


def annotated_points(lanes: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return the evaluated points of reference lanes, row by row; lanes of fewer than two are left out."""
    rows = np.arange(FIRST_ROW, HEIGHT)
    points = [np.stack([xs[FIRST_ROW:], rows], axis=1) for xs in lanes.values()]
    return [lane for lane in (lane[np.isfinite(lane[:, 0])] for lane in points) if len(lane) > 1]


class _FrameResult(NamedTuple):
    name: str
    counts: Counts
    has_prediction: bool
    rejected: list[Rejected]
    evidence: FrameEvidence | None = None


def _compare_files(labels: Path, predictions: Path, names: Sequence[str]) -> list[_FrameResult]:
    return [_compare_file(labels, predictions, name) for name in names]


def _compare_file(labels: Path, predictions: Path, name: str) -> _FrameResult:
    try:
        annotated = _annotated_lanes(labels, name)
    except (FileNotFoundError, LgadError) as error:
        return _FrameResult(name, Counts(), True, [Rejected(name, None, str(error).rstrip("."))])
    faults: list[Rejected] = []
    lanes = _predicted_lanes(labels, predictions, name, faults)
    if lanes is None:
        evidence = FrameEvidence.of([], annotated)
        return _FrameResult(name, match_lanes([], annotated), False, [], evidence)
    evidence = FrameEvidence.of(lanes, annotated)
    return _FrameResult(name, match_lanes(lanes, annotated), True, faults, evidence)


def _annotated_lanes(labels: Path, name: str) -> list[np.ndarray]:
    return annotated_points(reference_lanes(read_inside(labels, name, limit=_LARGEST_FILE)))


def _predicted_lanes(
    labels: Path, predictions: Path, name: str, rejected: list[Rejected]
) -> list[np.ndarray] | None:
    """Return the predicted lanes of a label file; None without a lane file."""
    found = next((file for file in _lane_files(labels, name) if (predictions / file).is_file()), None)
    if found is None:
        return None
    try:
        return parse_lanes(read_regular(predictions / found, _LARGEST_FILE), found, rejected=rejected)
    except OSError as error:
        reason = f"cannot be read ({error.strerror}); check the file and its permissions"
    except LgadError as error:
        reason = str(error).rstrip(".")
    rejected.append(Rejected(found, None, f"{reason}; its frame counts as without lanes"))
    return []


def _lanes_of(labels: Path, predictions: Path, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the annotated and the predicted lanes of a label file that could be compared."""
    return _annotated_lanes(labels, name), _predicted_lanes(labels, predictions, name, []) or []


def _lane_files(labels: Path, name: str) -> tuple[str, str]:
    """Return the possible paths of a label file's lane file: by its own name, by that of its frame."""
    stem = name.removesuffix(".json")
    return f"{stem}.lines.txt", f"color_images/{labels.resolve().name}/{stem}_color_rect.lines.txt"


def _without_repeats(lane: np.ndarray) -> np.ndarray:
    """Leave out points that are equal to the point before, or so near that their spline does not exist.

    The parameter of the spline is the length from the first point, as a share of the whole length; it must
    increase from point to point in double precision.
    """
    lane = np.asarray(lane, np.float64)
    if len(lane) < 2:
        return lane
    length = np.cumsum(np.sqrt((np.diff(lane, axis=0) ** 2).sum(axis=1)))
    share = length / length[-1] if length[-1] else length
    kept = lane[np.diff(share, prepend=[-1.0, 0.0]) > 0]
    # Without the points the lengths are rounded in another way, so they are checked again.
    return kept if len(kept) == len(lane) else _without_repeats(kept)


def _sampled(lane: np.ndarray) -> np.ndarray:
    """Return 50 points of the interpolating spline of a lane, at equal distances of its parameter."""
    curve, _ = splprep(lane.T, s=0, k=min(3, len(lane) - 1))
    return np.stack(splev(np.linspace(0, 1, _SAMPLES), curve), axis=1)


def _drawn(lane: np.ndarray) -> np.ndarray:
    """Draw a lane 30 px wide with its points cut to whole pixels, bool (717, 1276)."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    points = lane.astype(np.int32).tolist()
    for start, end in pairwise(points):
        cv2.line(mask, start, end, (1,), _LANE_WIDTH)
    return mask > 0
