"""CULane's metric: true positives by IoU, precision, recall and F1 of each list of frames."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.config.frame_sizes import CULANE_FRAME
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane_warnings import Evidence, culane_warnings
from lgad_pipeline.evaluation.frame_lanes import FolderLanes
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.lane_matching import LANE_WIDTH, Matches, match_lanes
from lgad_pipeline.evaluation.scaled_lanes import MOST_FRAMES
from lgad_pipeline.evaluation.types import TOTAL, Counts, column
from lgad_pipeline.lanes.lane_files import Rejected, lane_file
from lgad_pipeline.lanes.shared_files import shared_file_warnings
from lgad_pipeline.process_pool import map_chunks
from lgad_pipeline.progress import Progress
from lgad_pipeline.wording import counted

MEAN_F1_THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))
"""IoU thresholds over which mF1 averages F1: 0.50:0.05:0.95."""


@dataclass(frozen=True)
class LaneScores:
    """Counts of an evaluation, by list and by frame.

    Attributes:
        scores: list name -> threshold -> counts; `total` is over the distinct frames of all lists.
        frames: one row per list and frame: list, frame, annotated, predicted (lanes), and for each threshold
            t the columns tp_t, fp_t, fn_t.
        matches: one row per matched pair of lanes, at any IoU: frame, annotated, predicted (index of the lane
            in its file), iou.
        rejected: bad lines of lane files; each counts as a lane that matches nothing.
        without_annotation: frames without an annotated lane file; they count as without lanes.
        without_prediction: frames without a predicted lane file; they count as without lanes.
        notes: warnings, such as lanes in pixels of another frame size.
        size_note: sentence on the frame sizes used and their source.
        sizes: number of frames by size, such as {"1640x590": 300}.
    """

    scores: dict[str, dict[float, Counts]]
    frames: pd.DataFrame
    matches: pd.DataFrame
    rejected: list[Rejected]
    without_annotation: tuple[str, ...]
    without_prediction: tuple[str, ...]
    notes: list[str] = field(default_factory=list)
    size_note: str = ""
    sizes: dict[str, int] = field(default_factory=dict)

    def mean_f1(self, name: str = TOTAL) -> float:
        """Average F1 over `MEAN_F1_THRESHOLDS`, which must have been evaluated."""
        return float(np.mean([self.scores[name][threshold].f1 for threshold in MEAN_F1_THRESHOLDS]))


def evaluate_culane(
    annotations: Path,
    predictions: Path,
    *,
    lists: Mapping[str, Sequence[str]],
    thresholds: Sequence[float] = (0.5,),
    frame_size: tuple[int, int] | None = None,
    lane_width: int = LANE_WIDTH,
    image_roots: Sequence[Path] = (),
    strict: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> LaneScores:
    """Compare the lane files below two directories, list by list, as CULane's lane_evaluation does.

    Every frame is compared in its own size, which is read from the header of its image if there is one.

    Args:
        annotations: directory of the annotated lane files and, if available, of the images.
        predictions: directory of the predicted lane files, with the same layout.
        lists: list name -> frames, relative to the directories.
        thresholds: a match counts when its IoU is greater; IoU is computed once for all of them.
        frame_size: (H, W) of the frames without an image, px; None: that of the first image, else CULane's.
        lane_width: width at which lanes are compared, frame pixels.
        image_roots: further directories that may hold the images of the frames.
        strict: a bad line in a lane file is an error; else it is rejected, and counts as a lane that
            matches nothing.
        workers: processes; None for one a core. Few frames are evaluated in this process.
        progress: called with (frames done, frames in all).

    Raises:
        LgadError: a folder is missing, or has a lane file for none of the frames; a list of some of the
            frames is called `total`; an image is not of the size given; or `strict` and a bad line.
    """
    for folder in (annotations, predictions):
        if not folder.is_dir():
            raise LgadError(f"The folder {folder} does not exist; give the folder that holds the lane files.")
    frames = list(dict.fromkeys(frame for members in lists.values() for frame in members))
    if not frames:
        raise LgadError("The lists name no frame; give at least one list with a frame.")
    if len(set(lists.get(TOTAL, frames))) < len(frames):
        raise LgadError(f"A list is called {TOTAL}, as the row over all lists is; rename this list.")
    sizes = FrameSizes.of(frames, (annotations, *image_roots), stated=frame_size, default=CULANE_FRAME)
    run = partial(_evaluate_files, annotations, predictions, tuple(thresholds), sizes, lane_width, strict)
    tables, matches, evidence, rejected = [], [], [], []
    done = 0
    for table, pairs, part, faults in map_chunks(run, frames, workers=workers):
        tables.append(table)
        matches.append(pairs._replace(frame=pairs.frame + done))
        evidence.append(part)
        rejected += faults
        done += len(table)
        if progress:
            progress(done, len(frames))
    table = np.concatenate(tables)
    annotated, predicted = table[:, 0], table[:, 1]
    _check_found(annotations, annotated, frames)
    _check_found(predictions, predicted, frames)
    measured = np.concatenate([part.sizes for part in evidence])
    size, some = _of_one_size(frames, measured[:, :2])
    sides = [FolderLanes.read(root, some, rejected=[]).files for root in (annotations, predictions)]
    compared = [(truth or (), guess or ()) for truth, guess in zip(*sides, strict=True)]
    return replace(
        _summarize(lists, frames, table, tuple(thresholds), _table_of(matches, frames), rejected),
        notes=[
            *culane_warnings(
                annotations, predictions, frames=frames, parts=evidence, compared=compared, size=size
            ),
            *shared_file_warnings(annotations, frames),
            *shared_file_warnings(predictions, frames),
        ],
        size_note=sizes.describe(measured),
        sizes=sizes.table(measured),
    )


def _evaluate_files(
    annotations: Path,
    predictions: Path,
    thresholds: tuple[float, ...],
    frame_sizes: FrameSizes,
    lane_width: int,
    strict: bool,
    frames: Sequence[str],
) -> tuple[np.ndarray, Matches, Evidence, list[Rejected]]:
    """Return a row per frame: annotated lanes, predicted lanes (-1 without a file), TP at each threshold.

    The matches, evidence for warnings, and bad lines follow.
    """
    cv2.setNumThreads(1)
    rejected: list[Rejected] = []
    sizes = frame_sizes(frames)
    sides = [
        FolderLanes.read(root, frames, rejected=None if strict else rejected)
        for root in (annotations, predictions)
    ]
    table = np.empty((len(frames), 2 + len(thresholds)), np.int32)
    table[:, 0], table[:, 1] = (side.counts for side in sides)
    parts = []
    for height, width in np.unique(sizes[:, :2], axis=0).tolist():
        chosen = (sizes[:, :2] == (height, width)).all(axis=1)
        of_size = match_lanes(
            *(side.lanes.chosen(chosen) for side in sides),
            frame_size=(height, width),
            lane_width=lane_width,
        )
        parts.append(of_size._replace(frame=np.flatnonzero(chosen)[of_size.frame]))
    matches = Matches(*map(np.concatenate, zip(*parts, strict=True)))
    table[:, 2:] = matches.true_positives(len(frames), thresholds)
    return table, matches, Evidence.of(sides, sizes), rejected


def _of_one_size(frames: Sequence[str], sizes: np.ndarray) -> tuple[tuple[int, int], list[str]]:
    """Return the most frequent size (H, W) and some frames of it; sizes are int (frames, 2), pixels."""
    found, counts = np.unique(sizes, axis=0, return_counts=True)
    height, width = found[counts.argmax()].tolist()
    of_size = np.flatnonzero((sizes == (height, width)).all(axis=1)).tolist()
    return (height, width), [frames[index] for index in of_size[:: -(-len(of_size) // MOST_FRAMES)]]


def _table_of(matches: Sequence[Matches], frames: Sequence[str]) -> pd.DataFrame:
    """Return the table of `LaneScores.matches`."""
    index, annotated, predicted, iou = map(np.concatenate, zip(*matches, strict=True))
    names = np.array(frames, object)[index]
    return pd.DataFrame({"frame": names, "annotated": annotated, "predicted": predicted, "iou": iou})


def _check_found(folder: Path, counts: np.ndarray, frames: Sequence[str]) -> None:
    if (counts < 0).all():
        raise LgadError(
            f"{folder} holds no lane file of the {counted(len(frames), 'frame')} in the lists (the first "
            f"would be {lane_file(folder, frames[0])}); give the folder that the entries are relative to."
        )


def _summarize(
    lists: Mapping[str, Sequence[str]],
    frames: Sequence[str],
    table: np.ndarray,
    thresholds: tuple[float, ...],
    matches: pd.DataFrame,
    rejected: list[Rejected],
) -> LaneScores:
    row_of = {frame: i for i, frame in enumerate(frames)}
    lanes = np.maximum(table[:, :2], 0)
    tp = table[:, 2:]
    fp, fn = lanes[:, 1:] - tp, lanes[:, :1] - tp
    members = {name: np.array([row_of[frame] for frame in named], np.int64) for name, named in lists.items()}
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
    without = [
        tuple(frame for frame, lanes in zip(frames, side, strict=True) if lanes < 0)
        for side in table[:, :2].T.tolist()
    ]
    return LaneScores(scores, pd.DataFrame(columns), matches, rejected, without[0], without[1])
