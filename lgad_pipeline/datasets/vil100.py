"""Reader of VIL-100 as published: 100 videos of 100 frames, a JSON file of lanes per frame.

The root contains `JPEGImages/VIDEO/NAME.jpg`, `Json/VIDEO/NAME.jpg.json` and `data/db_info.yaml`, which
states the set of each video, `train` or `test`: `sequences: [{name: VIDEO, set: train}, ...]`. A label file
has `{"annotations": {"lane": [{"points": [[x, y], ...], "attribute": 1}, ...]}}`, where `attribute` is the
code of the lane's type. Videos have eight sizes; frames of another size than `frame_size` are rejected.

Every tenth training video is in the validation split. The digits before the first `_` of a test video's name
state its scenarios; the first one with a category of CULane is used. Crossroads have lanes here, in contrast
to CULane, so they are not a category; nor are damaged roads and haze.
"""

import json
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import yaml

from lgad_pipeline.datasets.reader import (
    AnnotationError,
    FrameEntry,
    Note,
    bottom_first,
    frame_path,
    held_out,
    points,
)
from lgad_pipeline.datasets.safe_io import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected

_SPLITS = "data/db_info.yaml"
_LIMIT = 1 << 20  # bytes
_CATEGORIES = {
    "0": "normal",
    "1": "crowd",
    "2": "curve",
    "4": "shadow",
    "5": "arrow",
    "6": "dazzle",
    "8": "night",
}
# Types of lanes by their code, as the data set's description names them.
_TYPES = {
    1: "single white solid",
    2: "single white dotted",
    3: "single yellow solid",
    4: "single yellow dotted",
    5: "double white solid",
    7: "double yellow solid",
    8: "double yellow dotted",
    9: "double white solid dotted",
    10: "double white dotted solid",
    13: "double solid white and yellow",
}


def list_frames(root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """List a frame for every label file of the videos that `data/db_info.yaml` names.

    Args:
        root: root directory of the data set.
        rejected: list to which rejected videos and label files, and notes, are appended.

    Raises:
        LgadError: `data/db_info.yaml` is missing or not in the published form, or names no training video.
    """
    entries: dict[str, list[FrameEntry]] = {"train": [], "test": []}
    for video, split in _videos(root):
        if split not in entries or not video or PurePosixPath(video).name != video:
            rejected.append(Rejected(_SPLITS, None, f"names the video {video!r} of {split!r}; correct it"))
            continue
        entries[split] += _entries_of(root, video, split, rejected)
    if not entries["train"]:
        raise LgadError(
            f"{root} has no label files in Json/<video>/ of a training video; unpack VIL-100 there."
        )
    if not entries["test"]:
        rejected.append(Note(_SPLITS, None, "names no test video with label files; unpack them"))
    return [
        *held_out(entries["train"], lambda entry: PurePosixPath(entry.frame).parent.name),
        *entries["test"],
    ]


def parse_annotation(annotation: bytes) -> list[np.ndarray]:
    """Parse one label file; lanes without a point are left out.

    Args:
        annotation: content of the label file, JSON.

    Returns:
        Lanes, float32 (N, 2) each, (x, y) in frame pixels, bottom first.

    Raises:
        AnnotationError: the content is not a label file, or a point is not near a frame.
    """
    return [bottom_first(points(lane["points"])) for lane in _lanes(annotation)]


def parse_lane_types(annotation: bytes) -> list[str]:
    """Return the type of each lane, such as "single white dotted"; empty without a known `attribute`.

    Args:
        annotation: as for `parse_annotation`.
    """
    codes = [lane.get("attribute") for lane in _lanes(annotation)]
    return [_TYPES.get(code, "") if isinstance(code, int) else "" for code in codes]


def _lanes(annotation: bytes) -> list[dict[str, Any]]:
    """Return the lanes of a label file that have points.

    Raises:
        AnnotationError: the content is not a label file.
    """
    try:
        content: Any = json.loads(annotation)
        return [lane for lane in content["annotations"]["lane"] if len(lane["points"])]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise AnnotationError("is not a label file with `annotations` of `lane`; unpack it again") from error


def _videos(root: Path) -> list[tuple[str, str]]:
    """Read (name, set) of every video."""
    try:
        content = yaml.safe_load(read_inside(root, _SPLITS, limit=_LIMIT))
        return [(str(video["name"]), str(video["set"])) for video in content["sequences"]]
    except FileNotFoundError as error:
        raise LgadError(
            f"{root / _SPLITS} is missing; unpack VIL-100 there or correct `root` of the data set."
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise LgadError(
            f"{root / _SPLITS} has no `sequences` with `name` and `set`; unpack it again."
        ) from error


def _entries_of(root: Path, video: str, split: str, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    scenario = _scenario(video) if split == "test" else None
    entries = []
    for path in sorted((root / "Json" / video).glob("*.json")):
        label = path.relative_to(root).as_posix()
        try:
            frame = frame_path(f"JPEGImages/{video}/{path.name.removesuffix('.json')}")
        except ValueError as error:
            rejected.append(Rejected(label, None, str(error)))
            continue
        entries.append(FrameEntry(frame, split, label, label, None, scenario))
    if not entries:
        rejected.append(Rejected(_SPLITS, None, f"names {video}, which has no label files in Json/{video}"))
    return entries


def _scenario(video: str) -> str | None:
    """Return the first scenario in a video's name that is a category of CULane, else None."""
    digits = video.partition("_")[0]
    return next((_CATEGORIES[digit] for digit in digits if digit in _CATEGORIES), None)
