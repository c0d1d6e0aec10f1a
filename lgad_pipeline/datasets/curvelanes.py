"""Reader of CurveLanes as published: a JSON file of lanes per frame, and a list in each split's folder.

The root contains `train/` and `valid/`, each with `images/`, `labels/` and a list (`train.txt`, `valid.txt`)
of paths such as `images/NAME.jpg`. The labels of `images/NAME.jpg` are `labels/NAME.lines.json`:
`{"Lines": [[{"x": "812.3", "y": "1439.0"}, ...], ...]}`. Frames have several sizes, most of them 2560 x 1440
px; frames of another size than `frame_size` are rejected.

The test labels are not published, so the published validation frames are the test split, and every tenth
training frame is in the validation split; the frames are single pictures of different roads.
"""

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lgad_pipeline.datasets.reader import (
    AnnotationError,
    FrameEntry,
    Note,
    bottom_first,
    frame_path,
    held_out,
    points,
)
from lgad_pipeline.datasets.safe_io import list_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.wording import counted


def list_frames(root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """List the frames of `train/train.txt` and `valid/valid.txt`.

    Args:
        root: root directory of the data set.
        rejected: list to which rejected lines and notes are appended.

    Raises:
        LgadError: the list of the training frames is missing.
    """
    if not (root / "train/train.txt").is_file():
        raise LgadError(
            f"{root / 'train/train.txt'} is missing; unpack CurveLanes there or correct `root` of the data "
            "set."
        )
    train = held_out(_entries_of(root, "train", rejected), lambda entry: entry.frame)
    if not (root / "valid/valid.txt").is_file():
        rejected.append(Note("valid/valid.txt", None, "is missing, so there are no test frames; unpack it"))
        return train
    return [*train, *_entries_of(root, "valid", rejected)]


def parse_annotation(annotation: bytes) -> list[np.ndarray]:
    """Parse one label file; lanes without a point are left out.

    Args:
        annotation: content of the label file, JSON.

    Returns:
        Lanes, float32 (N, 2) each, (x, y) in frame pixels, bottom first.

    Raises:
        AnnotationError: the content is not a label file, or a point is not near a frame.
    """
    try:
        content: Any = json.loads(annotation)
        lines = [[(point["x"], point["y"]) for point in line] for line in content["Lines"]]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AnnotationError("is not a label file with `Lines` of points; unpack it again") from error
    return [bottom_first(lane) for lane in map(points, lines) if len(lane)]


def _entries_of(root: Path, published: str, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """Return the entries of a published split; its list has paths below the folder of the split."""
    name = f"{published}/{published}.txt"
    listed = read_frame_list(list_inside(root, name), root / published)
    rejected += [fault._replace(file=name) for fault in listed.rejected]
    if listed.repeats:
        text = f"names frames again in {counted(listed.repeated, 'line')}; each frame counts once"
        rejected.append(Note(name, listed.repeats[0].line, text))
    split, entries = "train" if published == "train" else "test", []
    for entry in listed.entries:
        try:
            frame = frame_path(f"{published}/{entry.frame.removeprefix(f'{published}/')}")
        except ValueError as error:
            rejected.append(Rejected(name, entry.line, str(error)))
            continue
        label = f"{published}/labels/{PurePosixPath(frame).stem}.lines.json"
        entries.append(FrameEntry(frame, split, label, name, entry.line))
    return _with_own_label(entries, rejected)


def _with_own_label(entries: list[FrameEntry], rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """Return the entries whose label file no other entry has; the others, of equal names, are rejected."""
    frames_of = Counter(entry.annotation for entry in entries)
    if len(frames_of) == len(entries):
        return entries
    for entry in entries:
        if frames_of[entry.annotation] > 1:
            reason = (
                f"names {entry.frame}, which has the label file {entry.annotation} together with another "
                "frame of its name; give each frame a name of its own"
            )
            rejected.append(Rejected(entry.file, entry.line, reason))
    return [entry for entry in entries if frames_of[entry.annotation] == 1]
