"""TuSimple's metric: accuracy, and rates of false positives and false negatives."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.tusimple_files import Line, frame_keys, matching_keys, read_objects
from lgad_pipeline.evaluation.tusimple_warnings import (
    MORE_LANES,
    SLOWEST,
    tusimple_warnings,
    zeroed_note,
)
from lgad_pipeline.lanes.lane_files import LaneFileError, Rejected
from lgad_pipeline.wording import counted

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
    annotated, keys, notes = _annotated(annotations)
    predicted: dict[str, dict[str, Any]] = {}
    rejected = []
    lines = read_objects(predictions, ("raw_file", "lanes", "run_time"))
    meant = matching_keys(lines, keys)
    for line in lines:
        key = meant.get(line.name, "")
        fault = line.fault or _prediction_fault(line, key, annotated=annotated, predicted=predicted)
        if fault:
            rejected.append(Rejected(str(predictions), line.number, fault))
        elif line.entry:
            predicted[key] = line.entry
    if not predicted:
        nothing = (
            f"{predictions} holds no prediction of the {counted(len(annotated), 'frame')} in {annotations}"
        )
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
        score_frame(truth["lanes"], guess["lanes"], run_time=guess["run_time"], rows=truth["h_samples"])
        for truth, guess in pairs
    ]
    slow = sum(guess["run_time"] > SLOWEST for _, guess in pairs)
    zeroed = sum(_is_zeroed(truth["lanes"], guess["lanes"], guess["run_time"]) for truth, guess in pairs)
    if annotations.resolve() == predictions.resolve():
        notes.append(f"{annotations} is given as annotations and as predictions: every lane matches itself.")
    notes += [
        *zeroed_note(len(pairs), slow, crowded=zeroed - slow),
        *tusimple_warnings(annotations, annotated, predicted=predicted),
    ]
    accuracy, fp, fn = (float(value) for value in np.mean(figures, axis=0))
    return TusimpleScores(accuracy, fp, fn, rejected, missing, len(pairs), slow, zeroed - slow, notes)


def _annotated(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str], list[str]]:
    """Read the annotated frames by key, the keys by name, and a note if frames are annotated twice."""
    annotated: dict[str, dict[str, Any]] = {}
    again = []
    lines = read_objects(path, ("raw_file", "lanes", "h_samples"))
    keys = frame_keys(lines)
    for line in lines:
        fault = line.fault
        if line.entry and any(len(lane) != len(line.entry["h_samples"]) for lane in line.entry["lanes"]):
            fault = "a lane has not one x for each of h_samples; correct it"
        elif line.entry and line.entry["lanes"] and not line.entry["h_samples"]:
            fault = "`h_samples` has no rows; give the y of the rows"
        if fault:
            raise LaneFileError(str(Rejected(str(path), line.number, fault)))
        key = keys.get(line.name, "")
        if key in annotated:
            again.append((line.number, key))
        if line.entry:
            annotated[key] = line.entry
    if not annotated:
        raise LgadError(f"{path} annotates no frame; give a file with one JSON object on each line.")
    if not again:
        return annotated, keys, []
    repeated = f"{len(again)} line{'s annotate' if len(again) > 1 else ' annotates'}"
    return (
        annotated,
        keys,
        [
            f"{path}: {repeated} a frame again (the first is line {again[0][0]}, {again[0][1]}); the last "
            "annotation of a frame counts, as in the benchmark."
        ],
    )


def _prediction_fault(
    line: Line, key: str, *, annotated: dict[str, dict[str, Any]], predicted: dict[str, dict[str, Any]]
) -> str:
    if not key:
        return (
            f"the frame {line.name!r} is not annotated by this name; predict the annotated frames, with "
            "`raw_file` as in the annotations"
        )
    if key in predicted:
        return f"the frame {key!r} is predicted twice; keep one line"
    rows = len(annotated[key]["h_samples"])
    lengths = [len(lane) for lane in line.entry["lanes"]] if line.entry else []
    if any(length != rows for length in lengths):
        return (
            f"{key}: a lane has {next(n for n in lengths if n != rows)} values, not one x for each of "
            f"the {rows} rows in the annotation's h_samples; predict on those rows"
        )
    return ""


def score_frame(
    annotated: list[list[float]], predicted: list[list[float]], *, run_time: float, rows: list[float]
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
