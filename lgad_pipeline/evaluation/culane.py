"""CULane's metric: true and false positives by IoU, precision, recall and F1 for each list of frames."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.matching import FRAME_SIZE, LANE_WIDTH, Lanes, frame_ious, match, without_spline
from lgad_pipeline.lanes.chunks import map_chunks
from lgad_pipeline.lanes.files import LaneFileError, SetAside, find_lane_file, lane_file, parse_lanes
from lgad_pipeline.lanes.spline import ragged

MEAN_F1_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""The thresholds that mF1 averages F1 over: 0.50:0.05:0.95."""
TOTAL = "total"


@dataclass(frozen=True)
class Counts:
    """True positives, false positives and false negatives of lanes, and what follows from them."""

    tp: int = 0
    fp: int = 0
    fn: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); 0 without predictions."""
        return self.tp / max(self.tp + self.fp, 1)

    @property
    def recall(self) -> float:
        """TP / (TP + FN); 0 without annotations."""
        return self.tp / max(self.tp + self.fn, 1)

    @property
    def f1(self) -> float:
        """2 P R / (P + R), that is 2 TP / (2 TP + FP + FN); 0 without lanes."""
        return 2 * self.tp / max(2 * self.tp + self.fp + self.fn, 1)


@dataclass(frozen=True)
class LaneScores:
    """What an evaluation found.

    Attributes:
        scores: list name -> threshold -> counts; `total` is over the distinct frames of all lists.
        frames: one row per list and frame: list, frame, annotated, predicted (lanes), and for each threshold
            t the columns tp_t, fp_t, fn_t.
        set_aside: bad lines of lane files; each counts as a lane that matches nothing.
        without_annotation, without_prediction: frames without such a file, taken as frames without lanes.
    """

    scores: dict[str, dict[float, Counts]]
    frames: pd.DataFrame
    set_aside: list[SetAside]
    without_annotation: int
    without_prediction: int

    def mean_f1(self, name: str = TOTAL) -> float:
        """F1 averaged over `MEAN_F1_THRESHOLDS`, all of which must have been evaluated."""
        return float(np.mean([self.scores[name][threshold].f1 for threshold in MEAN_F1_THRESHOLDS]))


def evaluate(
    annotations: Path,
    predictions: Path,
    lists: Mapping[str, Sequence[str]],
    *,
    thresholds: Sequence[float] = (0.5,),
    frame_size: tuple[int, int] = FRAME_SIZE,
    lane_width: int = LANE_WIDTH,
    strict: bool = False,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LaneScores:
    """Compare the lane files below two folders, list by list, as CULane's lane_evaluation does.

    Args:
        annotations: folder of the annotated lane files.
        predictions: folder of the predicted ones, laid out alike.
        lists: list name -> frames, relative to the folders.
        thresholds: a match counts when its IoU is greater; IoU is computed once for all of them.
        frame_size: (H, W), pixels.
        lane_width: width at which lanes are compared, frame pixels.
        strict: a bad line in a lane file is an error; else it is set aside, and counts as a lane that
            matches nothing.
        workers: processes; None for one a core. Few frames are evaluated in this process.
        progress: called with (frames done, frames in all).

    Raises:
        LgadError: a folder is missing, or has a lane file for none of the frames; or `strict` and a bad line.
    """
    for folder in (annotations, predictions):
        if not folder.is_dir():
            raise LgadError(f"The folder {folder} does not exist; give the folder that holds the lane files.")
    frames = list(dict.fromkeys(frame for members in lists.values() for frame in members))
    if not frames:
        raise LgadError("The lists name no frame; give at least one list with a frame.")
    run = partial(
        _evaluate_files, annotations, predictions, tuple(thresholds), frame_size, lane_width, strict
    )
    tables, set_aside = [], []
    done = 0
    for table, faults in map_chunks(run, frames, workers):
        tables.append(table)
        set_aside += faults
        done += len(table)
        if progress:
            progress(done, len(frames))
    table = np.concatenate(tables)
    annotated, predicted = table[:, 0], table[:, 1]
    _check_found(annotations, annotated, frames)
    _check_found(predictions, predicted, frames)
    return _summarize(lists, frames, table, tuple(thresholds), set_aside)


def _evaluate_files(
    annotations: Path,
    predictions: Path,
    thresholds: tuple[float, ...],
    frame_size: tuple[int, int],
    lane_width: int,
    strict: bool,
    frames: Sequence[str],
) -> tuple[np.ndarray, list[SetAside]]:
    """A row a frame: annotated lanes, predicted lanes (-1 without a file), TP at each threshold."""
    cv2.setNumThreads(1)
    set_aside: list[SetAside] = []
    faults = None if strict else set_aside
    sides = [
        [_read(find_lane_file(root, frame), faults) for frame in frames]
        for root in (annotations, predictions)
    ]
    for root, side in zip((annotations, predictions), sides, strict=True):
        _note_repeats(root, frames, side, faults)
    pairs = [(annotated or [], predicted or []) for annotated, predicted in zip(*sides, strict=True)]
    table = np.empty((len(frames), 2 + len(thresholds)), np.int32)
    for column, side in enumerate(sides):
        table[:, column] = [-1 if lanes is None else len(lanes) for lanes in side]
    table[:, 2:] = true_positives(pairs, thresholds, frame_size, lane_width)
    return table, set_aside


def _read(path: Path, set_aside: list[SetAside] | None) -> list[np.ndarray] | None:
    try:
        return parse_lanes(path.read_bytes(), path, set_aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LgadError(f"{path} cannot be read ({error.strerror}); correct the path.") from error


def _note_repeats(
    root: Path,
    frames: Sequence[str],
    files: Sequence[list[np.ndarray] | None],
    set_aside: list[SetAside] | None,
) -> None:
    places = [
        (frame, line) for frame, lanes in zip(frames, files, strict=True) for line in range(len(lanes or []))
    ]
    for i in np.flatnonzero(without_spline(ragged([lane for lanes in files for lane in lanes or []]))):
        frame, line = places[i]
        reason = "two neighbouring points are equal, so that there is no spline; remove one of them"
        fault = SetAside(str(find_lane_file(root, frame)), line + 1, reason)
        if set_aside is None:
            raise LaneFileError(str(fault))
        set_aside.append(fault)


def true_positives(
    frames: Sequence[tuple[Lanes, Lanes]],
    thresholds: Sequence[float] = (0.5,),
    frame_size: tuple[int, int] = FRAME_SIZE,
    lane_width: int = LANE_WIDTH,
) -> np.ndarray:
    """Matches with an IoU above each threshold, int (frames, thresholds).

    Args:
        frames: pairs (annotated, predicted) of lanes, float32 (N, 2) each, frame pixels.
        thresholds: IoU; a match is a true positive when its IoU is greater.
        frame_size: (H, W), pixels.
        lane_width: width at which lanes are compared, frame pixels.
    """
    counts = np.zeros((len(frames), len(thresholds)), np.int32)
    for row, ious in zip(counts, frame_ious(frames, frame_size, lane_width), strict=True):
        partner = match(ious)
        matched = ious[np.flatnonzero(partner >= 0), partner[partner >= 0]]
        row[:] = (matched[:, None] > np.array(thresholds)).sum(axis=0)
    return counts


def _check_found(folder: Path, counts: np.ndarray, frames: Sequence[str]) -> None:
    if (counts < 0).all():
        raise LgadError(
            f"{folder} holds a lane file for none of the {len(frames)} frames in the lists (the first would "
            f"be {lane_file(folder, frames[0])}); give the folder that the list's entries are relative to."
        )


def _summarize(
    lists: Mapping[str, Sequence[str]],
    frames: Sequence[str],
    table: np.ndarray,
    thresholds: tuple[float, ...],
    set_aside: list[SetAside],
) -> LaneScores:
    place = {frame: i for i, frame in enumerate(frames)}
    lanes = np.maximum(table[:, :2], 0)
    tp = table[:, 2:]
    fp, fn = lanes[:, 1:] - tp, lanes[:, :1] - tp
    members = {name: np.array([place[frame] for frame in named], np.int64) for name, named in lists.items()}
    rows = np.concatenate(list(members.values()))
    columns: dict[str, object] = {
        "list": pd.Categorical(np.repeat(list(members), [len(index) for index in members.values()])),
        "frame": np.array(frames, object)[rows],
        "annotated": lanes[rows, 0],
        "predicted": lanes[rows, 1],
    }
    for i, threshold in enumerate(thresholds):
        for kind, counts in (("tp", tp), ("fp", fp), ("fn", fn)):
            columns[column(kind, threshold)] = counts[rows, i]
    scores = {
        name: {
            threshold: Counts(*(int(counts[index, i].sum()) for counts in (tp, fp, fn)))
            for i, threshold in enumerate(thresholds)
        }
        for name, index in (*members.items(), (TOTAL, np.arange(len(frames))))
    }
    missing = (table[:, :2] < 0).sum(axis=0)
    return LaneScores(scores, pd.DataFrame(columns), set_aside, int(missing[0]), int(missing[1]))


def column(kind: str, threshold: float) -> str:
    """The name of a column of `LaneScores.frames`: kind tp, fp or fn at a threshold."""
    return f"{kind}_{threshold:g}"
