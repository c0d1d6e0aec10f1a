"""TuSimple's metric: accuracy, and rates of false positives and false negatives."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.tusimple_files import Line, frame_key, read_objects
from lgad_pipeline.evaluation.tusimple_warnings import (
    FRAME_SIZE,
    MORE_LANES,
    SLOWEST,
    tusimple_warnings,
    zeroed_note,
)
from lgad_pipeline.lanes.extents import lane_extents, size_warnings
from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import LaneFileError, Rejected, find_lane_file, read_lanes

_PIXELS = 20.0  # largest distance of a correct point, px, perpendicular to the lane
_MATCHED = 0.85  # smallest accuracy of an annotated lane that counts as matched
_ABSENT = -100.0
_LANES = 4  # largest number of annotated lanes in the denominators


@dataclass(frozen=True)
class TusimpleScores:
    """TuSimple's benchmark figures, means over the annotated frames.

    Attributes:
        accuracy: share of correct points on the annotated lanes.
        fp: share of predicted lanes that match no annotated lane.
        fn: share of annotated lanes that no predicted lane matches.
        rejected: prediction lines that cannot be used; their frames count as frames without predictions.
        without_prediction: annotated frames without a usable prediction.
        frames: number of annotated frames.
        slow: number of frames with accuracy 0 because their `run_time` is above the limit of 200 ms.
        crowded: number of other frames with accuracy 0 because more than two lanes too many are predicted.
        notes: warnings about the figures.
    """

    accuracy: float
    fp: float
    fn: float
    rejected: list[Rejected]
    without_prediction: tuple[str, ...]
    frames: int
    slow: int
    crowded: int
    notes: list[str]


@dataclass(frozen=True)
class Exported:
    """Summary of `write_tusimple`.

    Attributes:
        frames: number of frames written.
        without_file: frames without a lane file; they are written without lanes.
        rejected: lines of the annotations and of lane files that cannot be used.
        notes: warnings about the predictions.
        size_note: sentence on the frame sizes that the coordinates are compared with.
    """

    frames: int
    without_file: tuple[str, ...]
    rejected: list[Rejected]
    notes: list[str]
    size_note: str


def evaluate_tusimple(annotations: Path, predictions: Path, *, strict: bool = False) -> TusimpleScores:
    """Score predictions against annotations with the rules of TuSimple's benchmark.

    Args:
        annotations: JSON file, an object per frame: `raw_file`, `lanes` (x on each row in px, negative where
            absent), `h_samples` (y of the rows in px). If a frame is annotated twice, the last annotation
            counts, as in the benchmark.
        predictions: JSON file, an object per frame: `raw_file`, `lanes`, `run_time` (ms).
        strict: raise an error for an invalid or missing prediction. Otherwise it is rejected, and its frame
            counts as a frame without predicted lanes.

    Raises:
        LgadError: A file cannot be read, an annotation is invalid, no annotated frame has a valid prediction,
            or `strict` is set and a prediction is invalid or missing.
    """
    annotated, notes = _annotated(annotations)
    predicted: dict[str, dict[str, Any]] = {}
    rejected = []
    for line in read_objects(predictions, ("raw_file", "lanes", "run_time")):
        fault = line.fault or _prediction_fault(line, annotated, predicted)
        if fault:
            rejected.append(Rejected(str(predictions), line.number, fault))
        elif line.entry:
            predicted[line.key] = line.entry
    if not predicted:
        nothing = f"{predictions} predicts none of the {len(annotated)} frames of {annotations}"
        if rejected:
            raise LgadError(f"{nothing}: {rejected[0]}")
        raise LgadError(f"{nothing}; give the predictions of the same frames.")
    missing = tuple(name for name in annotated if name not in predicted)
    if strict and rejected:
        raise LaneFileError(str(rejected[0]))
    if strict and missing:
        raise LgadError(
            f"{predictions} has no prediction for {missing[0]}; add one, with no lanes if need be."
        )
    none = {"lanes": [], "run_time": 0.0}
    pairs = [(entry, predicted.get(name, none)) for name, entry in annotated.items()]
    figures = [
        score_frame(truth["lanes"], guess["lanes"], guess["run_time"], truth["h_samples"])
        for truth, guess in pairs
    ]
    slow = sum(guess["run_time"] > SLOWEST for _, guess in pairs)
    zeroed = sum(_is_zeroed(truth["lanes"], guess["lanes"], guess["run_time"]) for truth, guess in pairs)
    if annotations.resolve() == predictions.resolve():
        notes.append(f"{annotations} is given as annotations and as predictions: every lane matches itself.")
    notes += [
        *zeroed_note(len(pairs), slow, zeroed - slow),
        *tusimple_warnings(annotations, annotated, predicted),
    ]
    accuracy, fp, fn = (float(value) for value in np.mean(figures, axis=0))
    return TusimpleScores(accuracy, fp, fn, rejected, missing, len(pairs), slow, zeroed - slow, notes)


def _annotated(path: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Read the annotated frames by key, and a note if frames are annotated twice."""
    found: dict[str, dict[str, Any]] = {}
    again = []
    for line in read_objects(path, ("raw_file", "lanes", "h_samples")):
        fault = line.fault
        if line.entry and any(len(lane) != len(line.entry["h_samples"]) for lane in line.entry["lanes"]):
            fault = "a lane has not one x for each of h_samples; correct it"
        if fault:
            raise LaneFileError(str(Rejected(str(path), line.number, fault)))
        if line.key in found:
            again.append(line)
        if line.entry:
            found[line.key] = line.entry
    if not found:
        raise LgadError(f"{path} annotates no frame; give a file with one JSON object on each line.")
    if not again:
        return found, []
    lines = f"{len(again)} line{'s annotate' if len(again) > 1 else ' annotates'}"
    return found, [
        f"{path}: {lines} a frame again (the first is line {again[0].number}, {again[0].key}); the last "
        "annotation of a frame counts, as in the benchmark."
    ]


def _prediction_fault(
    line: Line, annotated: dict[str, dict[str, Any]], predicted: dict[str, dict[str, Any]]
) -> str:
    if line.key not in annotated:
        return f"the frame {line.key!r} is not annotated; predict the annotated frames"
    if line.key in predicted:
        return f"the frame {line.key!r} is predicted twice; keep one line"
    rows = len(annotated[line.key]["h_samples"])
    lengths = [len(lane) for lane in line.entry["lanes"]] if line.entry else []
    if any(length != rows for length in lengths):
        return (
            f"{line.key}: a lane has {next(n for n in lengths if n != rows)} values, not one x for each of "
            f"the {rows} rows in the annotation's h_samples; predict on those rows"
        )
    return ""


def write_tusimple(
    annotations: Path,
    lane_files: Path,
    output: Path,
    run_time: float = 0.0,
    *,
    frame_size: tuple[int, int] | None = None,
    strict: bool = False,
) -> Exported:
    """Convert predicted lane files to TuSimple's JSON lines, on the `h_samples` of each frame.

    x is interpolated linearly between the points of a lane and is -2 (absent) above and below them.

    Args:
        annotations: JSON file, an object per frame with `raw_file` and `h_samples`, such as test_label.json;
            `lanes` are not needed, so the benchmark's list of tasks is accepted.
        lane_files: directory with a lane file at the path of each `raw_file`; a missing file means no lanes.
        output: JSON lines file to write.
        run_time: run time per frame in milliseconds, measured by the caller; 0 if it was not measured.
        frame_size: height and width (H, W) in px that the coordinates are compared with; None for the size of
            the images next to the annotations, or TuSimple's size without images.
        strict: raise an error for an invalid line; otherwise it is rejected.

    Raises:
        LgadError: A file cannot be read or written; no frame is named, no frame has a lane file, or no lane
            reaches a row; an image does not have `frame_size`; or `strict` is set and a line is invalid.
    """
    if output.resolve() == annotations.resolve():
        raise LgadError(f"{output} holds the annotations and would be replaced; choose another output.")
    if not lane_files.is_dir():
        raise LgadError(
            f"The folder {lane_files} does not exist; give the folder of the predicted lane files."
        )
    tasks, rejected, notes = _tasks(annotations)
    files = {key: _lane_path(lane_files, entry["raw_file"]) for key, entry in tasks.items()}
    without = tuple(key for key, path in files.items() if not path.is_file())
    if len(without) == len(tasks):
        raise LgadError(
            f"{lane_files} holds a lane file for none of the {len(tasks)} frames of {annotations} (the first "
            f"would be {next(iter(files.values()))}); give the folder that the predictions were written to."
        )
    lanes = {key: read_lanes(path, rejected) if path.is_file() else [] for key, path in files.items()}
    if strict and rejected:
        raise LaneFileError(str(rejected[0]))
    lines, some, present = [], 0, 0
    for key, entry in tasks.items():
        rows = np.array(entry["h_samples"], np.float64)
        found = [on_rows(lane, rows).round(2) for lane in lanes[key]]
        some += sum(map(len, lanes[key]))
        present += sum(int((xs >= 0).sum()) for xs in found)
        content = {
            "raw_file": entry["raw_file"],
            "lanes": [xs.tolist() for xs in found],
            "run_time": run_time,
        }
        lines.append(json.dumps(content) + "\n")
    if some and not present:
        raise LgadError(
            f"No lane in {lane_files} reaches a row of h_samples in {annotations}; write the predictions in "
            "pixels of the frames."
        )
    if not some:
        notes.append(f"The files in {lane_files} hold no lane for any of the {len(tasks)} frames.")
    sizes = FrameSizes.of(list(tasks), (annotations.parent,), frame_size, FRAME_SIZE)
    table = sizes(list(tasks))
    extents = lane_extents(list(lanes.values()), table[:, :2])
    notes += size_warnings("predicted", extents, table[:, :2])
    write_text(output, "".join(lines))
    return Exported(len(tasks), without, rejected, notes, sizes.describe(table))


def _tasks(path: Path) -> tuple[dict[str, dict[str, Any]], list[Rejected], list[str]]:
    """Read the frames to write by key, each once, the rejected lines, and a note on repeated frames."""
    tasks: dict[str, dict[str, Any]] = {}
    rejected = []
    repeated = 0
    for line in read_objects(path, ("raw_file", "h_samples")):
        if line.entry is None:
            rejected.append(Rejected(str(path), line.number, line.fault))
        elif line.key in tasks:
            repeated += 1
        else:
            tasks[line.key] = line.entry
    if not tasks:
        if rejected:
            raise LgadError(f"{path} names no frame: {rejected[0]}")
        raise LgadError(f"{path} names no frame; give objects with `raw_file` and `h_samples`, one a line.")
    notes = (
        [f"{path} names frames again in {repeated} line{'s' * (repeated > 1)}; each is written once."]
        if repeated
        else []
    )
    return tasks, rejected, notes


def _lane_path(folder: Path, raw_file: str) -> Path:
    """Find the lane file of a frame: at the stated path, otherwise at the path that starts with `clips/`."""
    stated, key = (
        find_lane_file(folder, relative_frame(raw_file)),
        find_lane_file(folder, frame_key(raw_file)),
    )
    return stated if stated.is_file() else key


def on_rows(lane: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Interpolate the x of a lane, (N, 2) in px, on rows (R,): float64 (R,), -2 where the lane is absent."""
    if not len(lane):
        return np.full(len(rows), -2.0)
    ordered = lane[np.argsort(lane[:, 1], kind="stable")].astype(np.float64)
    xs = np.interp(rows, ordered[:, 1], ordered[:, 0], left=-2.0, right=-2.0)
    return np.where(xs >= 0, xs, -2.0)


def score_frame(
    annotated: list[list[float]], predicted: list[list[float]], run_time: float, rows: list[float]
) -> tuple[float, float, float]:
    """Compute accuracy, false positive rate and false negative rate of one frame.

    Args:
        annotated: x of each annotated lane on the rows in px, negative where absent.
        predicted: x of each predicted lane on the rows in px, negative where absent.
        run_time: run time of the prediction in milliseconds.
        rows: y of the rows in px.
    """
    if _is_zeroed(annotated, predicted, run_time):
        return 0.0, 0.0, 1.0
    truth, guess = (
        np.array(lanes, np.float64).reshape(len(lanes), len(rows)) for lanes in (annotated, predicted)
    )
    near = np.array([_PIXELS / np.cos(_angle(lane, np.array(rows, np.float64))) for lane in truth])
    truth, guess = (np.where(lanes >= 0, lanes, _ABSENT) for lanes in (truth, guess))
    right = np.abs(guess[None] - truth[:, None]) < near[:, None, None]  # (annotated, predicted, rows)
    best = (right.sum(axis=2) / max(len(rows), 1)).max(axis=1, initial=0.0)
    matched = int((best >= _MATCHED).sum())
    missed, total = len(truth) - matched, float(best.sum())
    if len(truth) > _LANES:
        missed, total = max(missed - 1, 0), total - float(best.min())
    counted = max(min(_LANES, len(truth)), 1)
    return total / counted, (len(guess) - matched) / max(len(guess), 1), missed / counted


def _is_zeroed(annotated: list[list[float]], predicted: list[list[float]], run_time: float) -> bool:
    """Return True for a frame that the benchmark counts as accuracy 0 and FN 1, whatever its lanes are."""
    return run_time > SLOWEST or len(predicted) > len(annotated) + MORE_LANES


def _angle(lane: np.ndarray, rows: np.ndarray) -> float:
    """Compute the angle from the vertical of the least-squares line x(y) through the points of a lane."""
    present = lane >= 0
    if present.sum() < 2:
        return 0.0
    away = rows[present] - rows[present].mean()
    spread = float(away @ away)
    return float(np.arctan(away @ (lane[present] - lane[present].mean()) / spread)) if spread else 0.0
