"""TuSimple's metric: accuracy, and the shares of false positives and false negatives."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import write_text
from lgad_pipeline.lanes.files import (
    LaneFileError,
    SetAside,
    are_coordinates,
    find_lane_file,
    read_bytes,
    read_lanes,
)

_PIXELS = 20.0  # a point is right within so many px across the lane
_MATCHED = 0.85  # accuracy from which a lane is found
_ABSENT = -100.0
_SLOWEST = 200.0  # ms
_LANES = 4  # annotated lanes that count in full


@dataclass(frozen=True)
class TusimpleScores:
    """Means over the annotated frames.

    Attributes:
        accuracy: share of right points on the annotated lanes.
        fp: share of the predicted lanes that match no annotated one.
        fn: share of the annotated lanes that no predicted one matches.
        set_aside: prediction lines that could not be used; their frames count as without predictions.
        without_prediction: annotated frames without a usable prediction.
    """

    accuracy: float
    fp: float
    fn: float
    set_aside: list[SetAside]
    without_prediction: int


def evaluate_tusimple(annotations: Path, predictions: Path, *, strict: bool = False) -> TusimpleScores:
    """Compare two files of JSON lines as TuSimple's benchmark does.

    Args:
        annotations: a line a frame: `raw_file`, `lanes` (x on each row, negative where absent), `h_samples`.
        predictions: a line a frame: `raw_file`, `lanes`, `run_time` (ms).
        strict: a bad or missing prediction is an error; else it is set aside and its frame counts as one
            without predicted lanes.

    Raises:
        LgadError: a file cannot be read, an annotation is bad, the predictions are of other frames; or
            `strict` and a bad or missing prediction.
    """
    annotated: dict[str, dict[str, Any]] = {}
    for number, entry in _lines(annotations):
        fault = _fault(entry, ("raw_file", "lanes", "h_samples"))
        if not fault and any(len(lane) != len(entry["h_samples"]) for lane in entry["lanes"]):
            fault = "a lane has not one x for each of h_samples; correct it"
        if fault:
            raise LaneFileError(str(SetAside(str(annotations), number, fault)))
        annotated[entry["raw_file"]] = entry
    if not annotated:
        raise LgadError(f"{annotations} annotates no frame; give a file with one JSON object a line.")
    predicted: dict[str, dict[str, Any]] = {}
    set_aside = []
    for number, entry in _lines(predictions):
        fault = _prediction_fault(entry, annotated, predicted)
        if fault:
            set_aside.append(SetAside(str(predictions), number, fault))
        else:
            predicted[entry["raw_file"]] = entry
    if not predicted:
        reason = f" ({set_aside[0]})" if set_aside else ""
        raise LgadError(
            f"{predictions} predicts none of the {len(annotated)} frames of {annotations}{reason}; "
            "give the predictions of the same frames."
        )
    missing = [name for name in annotated if name not in predicted]
    if strict and set_aside:
        raise LaneFileError(str(set_aside[0]))
    if strict and missing:
        raise LgadError(
            f"{predictions} has no prediction for {missing[0]}; add one, with no lanes if need be."
        )
    figures = [
        score_frame(entry["lanes"], *_prediction(predicted.get(name)), entry["h_samples"])
        for name, entry in annotated.items()
    ]
    accuracy, fp, fn = (float(value) for value in np.mean(figures, axis=0))
    return TusimpleScores(accuracy, fp, fn, set_aside, len(missing))


def write_tusimple(annotations: Path, lane_files: Path, output: Path, run_time: float = 0.0) -> int:
    """Write predicted lane files as TuSimple's JSON lines, on each annotated frame's own rows.

    Between a lane's points x is interpolated; above its first and below its last point it is absent (-2).

    Args:
        annotations: the annotated frames, for `raw_file` and `h_samples`; bad lines are left out.
        lane_files: folder with a lane file where each `raw_file` lies; a missing one means no lanes.
        output: the file.
        run_time: milliseconds a frame, as measured by the caller; 0 where it was not.

    Returns:
        The number of frames written.

    Raises:
        LgadError: a file cannot be read or written, or a lane file has a bad line.
    """
    lines = []
    for _, entry in _lines(annotations):
        if _fault(entry, ("raw_file", "lanes", "h_samples")):
            continue
        path = find_lane_file(lane_files, entry["raw_file"])
        lanes = read_lanes(path) if path.is_file() else []
        rows = np.array(entry["h_samples"], np.float64)
        found = [on_rows(lane, rows).round(2).tolist() for lane in lanes]
        lines.append(json.dumps({"raw_file": entry["raw_file"], "lanes": found, "run_time": run_time}) + "\n")
    write_text(output, "".join(lines))
    return len(lines)


def on_rows(lane: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """X of a lane, (N, 2) as (x, y), on rows (R,): float64 (R,), -2 where the lane is absent."""
    if not len(lane):
        return np.full(len(rows), -2.0)
    ordered = lane[np.argsort(lane[:, 1], kind="stable")].astype(np.float64)
    xs = np.interp(rows, ordered[:, 1], ordered[:, 0], left=-2.0, right=-2.0)
    return np.where(xs >= 0, xs, -2.0)


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and JSON object of every line that is not blank; an empty object for a bad one."""
    for number, line in enumerate(read_bytes(path).splitlines(), 1):
        if line.strip():
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):  # brackets can be nested too deeply
                entry = {}
            yield number, entry if isinstance(entry, dict) else {}


def _fault(entry: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    if not entry:
        return "the line is no JSON object; write one with " + ", ".join(f"`{key}`" for key in keys)
    for key in keys:
        if key not in entry:
            return f"there is no `{key}`; add it"
    if not isinstance(entry["raw_file"], str):
        return "`raw_file` is not a text; name the frame"
    rows = entry["lanes"] if isinstance(entry["lanes"], list) else [None]
    if not all(are_coordinates(row) for row in (*rows, entry.get("h_samples", []))):
        return "`lanes` and `h_samples` must be lists of numbers below a million; correct them"
    return None


def _prediction_fault(
    entry: dict[str, Any], annotated: dict[str, dict[str, Any]], predicted: dict[str, dict[str, Any]]
) -> str | None:
    fault = _fault(entry, ("raw_file", "lanes", "run_time"))
    if fault:
        return fault
    if not are_coordinates([entry["run_time"]]):
        return "`run_time` is not a number; give milliseconds"
    name = entry["raw_file"]
    if name not in annotated:
        return f"the frame {name!r} is not annotated; predict the annotated frames"
    if name in predicted:
        return f"the frame {name!r} is predicted twice; keep one line"
    if any(len(lane) != len(annotated[name]["h_samples"]) for lane in entry["lanes"]):
        return "a lane has not one x for each of the frame's h_samples; predict on those rows"
    return None


def _prediction(entry: dict[str, Any] | None) -> tuple[list[list[float]], float]:
    return (entry["lanes"], entry["run_time"]) if entry else ([], 0.0)


def score_frame(
    annotated: list[list[float]], predicted: list[list[float]], run_time: float, rows: list[float]
) -> tuple[float, float, float]:
    """Accuracy, FP share and FN share of one frame.

    Args:
        annotated: x of each annotated lane on the rows, px; negative where absent.
        predicted: likewise.
        run_time: milliseconds that the prediction took.
        rows: y of the rows, px.
    """
    if run_time > _SLOWEST or len(predicted) > len(annotated) + 2:
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


def _angle(lane: np.ndarray, rows: np.ndarray) -> float:
    """Angle from the vertical of the least-squares line x(y) through the lane's present points."""
    present = lane >= 0
    if present.sum() < 2:
        return 0.0
    away = rows[present] - rows[present].mean()
    spread = float(away @ away)
    return float(np.arctan(away @ (lane[present] - lane[present].mean()) / spread)) if spread else 0.0
