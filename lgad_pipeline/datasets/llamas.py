"""Reader of LLAMAS (unsupervised labelled lane markers) as published: a JSON file of markers per frame.

The root contains `color_images/` and `labels/`, each with `train/` and `valid/` and one folder per recording.
A marker is a dash or a piece of a solid line, from its near end to its far end. A lane has a point every 10
rows along its markers. Markers near the car's hood are not annotated, so the lane is extended to the bottom
of the frame in the direction of its nearest marker. Lanes of one marker or less than 20 px high are artefacts
of the automatic labelling, so they are left out, as in the data set's scripts.

The test labels are not published, so the published validation frames are the test split, and every tenth
recording of the training frames is the validation split.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.datasets.reader import AnnotationError, FrameEntry, Note, frame_path, held_out, points
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected

HEIGHT, WIDTH = 717, 1276
"""Size of the frames, pixels."""
LEAST_HEIGHT, LEAST_MARKERS = 20, 2
"""Height in pixels and number of markers of the smallest lane; smaller ones are artefacts."""

_STEP = 10  # rows between the points of a lane


def list_frames(root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """List a frame for every label file below `labels/train/` and `labels/valid/`.

    Args:
        root: root directory of the data set.
        rejected: list to which rejected label files and notes are appended.

    Raises:
        LgadError: there is no label file for training.
    """
    train = held_out(_entries_of(root, "train", rejected), lambda entry: Path(entry.frame).parent.name)
    if not train:
        raise LgadError(
            f"{root} has no label files in labels/train/<recording>/; unpack LLAMAS's color_images and "
            "labels there or correct `root` of the data set."
        )
    test = _entries_of(root, "valid", rejected)
    if not test:
        rejected.append(
            Note("labels/valid", None, "has no label files, so there are no test frames; unpack it")
        )
    return [*train, *test]


def parse_annotation(annotation: bytes) -> list[np.ndarray]:
    """Parse one label file.

    Args:
        annotation: content of the label file, JSON.

    Returns:
        Lanes, float32 (N, 2) each, (x, y) in frame pixels, bottom first.

    Raises:
        AnnotationError: the content is not a label file, or a marker is outside the frame's rows.
    """
    try:
        content: Any = json.loads(annotation)
        ends = [
            [
                (marker[end]["x"], marker[end]["y"])
                for marker in lane["markers"]
                for end in ("pixel_start", "pixel_end")
            ]
            for lane in content["lanes"]
        ]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AnnotationError("is not a label file with `lanes` of `markers`; unpack it again") from error
    lanes = [_lane(points(lane).round().astype(int).reshape(-1, 2, 2)) for lane in ends]
    return [lane for lane in lanes if len(lane)]


def _lane(markers: np.ndarray) -> np.ndarray:
    """Compute the points of a lane from its markers.

    Args:
        markers: int (N, 2, 2), (near end, far end) by (x, y), frame pixels.

    Returns:
        float32 (M, 2) as (x, y), frame pixels, bottom first; (0, 2) if the markers are not a lane.
    """
    ys = markers[..., 1]
    if not ((ys >= 0) & (ys < HEIGHT)).all():
        raise AnnotationError("has a marker above or below the frame; unpack it again")
    if len(markers) < LEAST_MARKERS or np.ptp(ys[:, 0]) < LEAST_HEIGHT:
        return np.zeros((0, 2), np.float32)
    near = markers[ys.max(axis=1).argmax()].astype(float)
    near = near[near[:, 1].argsort()]
    total, count = np.zeros(HEIGHT), np.zeros(HEIGHT)
    for marker in markers:
        top, bottom = marker[marker[:, 1].argsort()]
        rows = np.arange(top[1], bottom[1] + 1)
        total[rows] += np.interp(rows, (top[1], bottom[1]), (top[0], bottom[0]))
        count[rows] += 1
    known = np.flatnonzero(count)
    rows = np.arange(known[-1], known[0] - 1, -_STEP)
    lane = np.stack([np.interp(rows, known, total[known] / count[known]), rows], axis=1)
    below = np.arange(HEIGHT - 1, known[-1], -_STEP)
    slope = (near[1, 0] - near[0, 0]) / max(near[1, 1] - near[0, 1], 1)
    extended = np.stack([near[1, 0] + slope * (below - near[1, 1]), below], axis=1)
    inside = (extended[:, 0] >= 0) & (extended[:, 0] < WIDTH)
    return np.concatenate([extended[inside], lane]).astype(np.float32)


def _entries_of(root: Path, published: str, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    split, entries = "train" if published == "train" else "test", []
    for path in sorted((root / "labels" / published).glob("*/*.json")):
        name = path.relative_to(root).as_posix()
        try:
            frame = f"color_images/{published}/{path.parent.name}/{path.stem}_color_rect.png"
            entries.append(FrameEntry(frame_path(frame), split, name, name, None))
        except ValueError as error:
            rejected.append(Rejected(name, None, str(error)))
    return entries
