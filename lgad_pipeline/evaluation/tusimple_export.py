"""Predicted lane files as the JSON lines of TuSimple's benchmark."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.frame_sizes import TUSIMPLE_FRAME
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.scaled_lanes import scale_warning
from lgad_pipeline.evaluation.tusimple_files import frame_keys, read_objects
from lgad_pipeline.lanes.extents import few_smaller_warning, lane_extents, size_warnings
from lgad_pipeline.lanes.lane_files import (
    LaneFileError,
    Rejected,
    are_coordinates,
    find_lane_file,
    read_lanes,
)
from lgad_pipeline.lanes.odd_lanes import odd_lanes, odd_lanes_warnings
from lgad_pipeline.lanes.spline import ragged
from lgad_pipeline.wording import counted


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


def write_tusimple(
    annotations: Path,
    lane_files: Path,
    *,
    output: Path,
    run_time: float = 0.0,
    frame_size: tuple[int, int] | None = None,
    strict: bool = False,
) -> Exported:
    """Convert predicted lane files to TuSimple's JSON lines, on the `h_samples` of each frame.

    x is interpolated linearly between the points of a lane and is -2 (absent) above and below them. A lane
    without a point on the rows is left out, since the benchmark counts every lane.

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
    files = {key: _lane_path(lane_files, name, key) for key, (name, _) in tasks.items()}
    without = tuple(key for key, path in files.items() if not path.is_file())
    if len(without) == len(tasks):
        raise LgadError(
            f"{lane_files} holds no lane file of the {counted(len(tasks), 'frame')} in {annotations} (the "
            f"first would be {next(iter(files.values()))}); give the folder of the predicted lane files."
        )
    lanes = {key: read_lanes(path, rejected) if path.is_file() else [] for key, path in files.items()}
    if strict and rejected:
        raise LaneFileError(str(rejected[0]))
    lines, some, present = [], 0, 0
    for key, (_, entry) in tasks.items():
        rows = np.array(entry["h_samples"], np.float64)
        some += sum(map(len, lanes[key]))
        found = lanes_on_rows(lanes[key], rows)
        present += len(found)
        content = {
            "raw_file": entry["raw_file"],
            "lanes": [xs.round(2).tolist() for xs in found],
            "run_time": run_time,
        }
        lines.append(json.dumps(content) + "\n")
    if some and not present:
        raise LgadError(
            f"No lane in {lane_files} reaches a row of h_samples in {annotations}; write the predictions in "
            "pixels of the frames."
        )
    if absent := sum(map(len, lanes.values())) - present:
        notes.append(
            f"{counted(absent, 'predicted lane')} {'has' if absent == 1 else 'have'} no x of 0 or more on "
            f"the rows of h_samples and {'is' if absent == 1 else 'are'} left out."
        )
    if not some:
        notes.append(f"The files in {lane_files} hold no lane in the {counted(len(tasks), 'frame')}.")
    sizes = FrameSizes.of(list(tasks), (annotations.parent,), stated=frame_size, default=TUSIMPLE_FRAME)
    table = sizes(list(tasks))
    extents = lane_extents(list(lanes.values()), table[:, :2])
    notes += (
        size_warnings("predicted", extents, sizes=table[:, :2])
        or scale_warning(
            [(_annotated_lanes(entry), lanes[key]) for key, (_, entry) in tasks.items()],
            tuple(np.median(table[:, :2], axis=0).astype(int).tolist()),
        )
        or few_smaller_warning("predicted", extents, sizes=table[:, :2], frames=list(tasks))
    )
    notes += odd_lanes_warnings(
        "predicted", odd_lanes(ragged([lane for found in lanes.values() for lane in found]))
    )
    write_text(output, "".join(lines))
    return Exported(len(tasks), without, rejected, notes, sizes.describe(table))


def _tasks(path: Path) -> tuple[dict[str, tuple[str, dict[str, Any]]], list[Rejected], list[str]]:
    """Read name and object of each frame by key, the rejected lines, and a note on repeated frames."""
    tasks: dict[str, tuple[str, dict[str, Any]]] = {}
    rejected = []
    repeated = 0
    lines = read_objects(path, ("raw_file", "h_samples"))
    keys = frame_keys(lines)
    for line in lines:
        if line.entry is None:
            rejected.append(Rejected(str(path), line.number, line.fault))
        elif keys[line.name] in tasks:
            repeated += 1
        else:
            tasks[keys[line.name]] = (line.name, line.entry)
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


def _annotated_lanes(entry: dict[str, Any]) -> list[np.ndarray]:
    """Return the lanes of an object of the annotations, float32 (N, 2) each; none for a frame to predict."""
    rows, lanes = entry["h_samples"], entry.get("lanes")
    if not isinstance(lanes, list) or not all(are_coordinates(xs) and len(xs) == len(rows) for xs in lanes):
        return []
    points = [np.array([xs, rows], np.float32).T for xs in lanes]
    return [lane[lane[:, 0] >= 0] for lane in points]


def _lane_path(folder: Path, name: str, key: str) -> Path:
    """Find the lane file of a frame: at its name, otherwise at its key, which may start with `clips/`."""
    stated = find_lane_file(folder, name)
    return stated if stated.is_file() else find_lane_file(folder, key)


def lanes_on_rows(lanes: Iterable[np.ndarray], rows: np.ndarray) -> list[np.ndarray]:
    """Return the lanes that have a point on the rows, each as x on the rows as `on_rows` gives it."""
    return [xs for lane in lanes if ((xs := on_rows(lane, rows)) >= 0).any()]


def on_rows(lane: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Interpolate the x of a lane, (N, 2) in px, on rows (R,): float64 (R,), -2 where the lane is absent."""
    if not len(lane):
        return np.full(len(rows), -2.0)
    ordered = lane[np.argsort(lane[:, 1], kind="stable")].astype(np.float64)
    xs = np.interp(rows, ordered[:, 1], ordered[:, 0], left=-2.0, right=-2.0)
    return np.where(xs >= 0, xs, -2.0)
