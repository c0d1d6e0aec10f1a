"""Reader of BDD100K's lane markings as published: a JSON list of frames with polylines for each split.

The root is the folder `bdd100k`, with `images/100k/` and `labels/lane/polygons/`. A painted line is annotated
along both of its edges; the lane is the centre line between them. Crosswalks, road curbs and markings across
the road are not lanes, and neither are the boxes and drivable areas that the labels of 2018 also contain. The
labels of 2018 state the kind of a marking in `laneType`, later labels in the category.

The test labels are not published, so the published validation frames are the test split, and every tenth
drive of the training frames is the validation split.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.datasets.lane_markings import centre_lines, polyline
from lgad_pipeline.datasets.reader import (
    AnnotationError,
    FrameEntry,
    Note,
    Repeats,
    frame_path,
    held_out,
)
from lgad_pipeline.datasets.safe_io import json_objects
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.lanes.lane_types import lane_type

_TRAIN, _TEST = "train", "val"  # names of the splits in the published files
_LIST = "labels/lane/polygons/lane_{}.json"
_LANES = {f"{count} {colour}" for count in ("single", "double") for colour in ("white", "yellow", "other")}
_STYLES = ("solid", "dashed")
_ALONG, _ACROSS = "parallel", ("perpendicular", "vertical")  # directions, the last one in the labels of 2018
_NO_LANES = ("crosswalk", "road curb")
_OTHER_LABELS = ("area/", "drivable area", "drivable")  # labels of 2018; their polygons look like lane labels
_OBJECT_LIMIT = 1 << 20  # characters; a published frame's object has at most about 20,000
_MOST_EDGES = 100
_WIDEST = 40.0  # pixels; width of a double line in front of the car


def list_frames(root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """Read `lane_train.json` and `lane_val.json`; a missing `lane_val.json` is reported in a note.

    Args:
        root: root directory of the data set, the folder `bdd100k`.
        rejected: list to which rejected frames and notes are appended.

    Raises:
        LgadError: `lane_train.json` is missing, or one of the files is not a JSON list of objects.
    """
    if not (root / _LIST.format(_TRAIN)).is_file():
        raise LgadError(
            f"{root} has no {_LIST.format(_TRAIN)}; unpack BDD100K's images and lane labels there or "
            "correct `root` of the data set."
        )
    # A frame has the name of its video, which starts with the name of the drive, so drives are the groups.
    train = held_out(_entries_of(root, _TRAIN, rejected), lambda entry: Path(entry.frame).name.split("-")[0])
    if not (root / _LIST.format(_TEST)).is_file():
        rejected.append(
            Note(_LIST.format(_TEST), None, "is missing, so there are no test frames; put it there")
        )
        return train
    return [*train, *_entries_of(root, _TEST, rejected)]


def parse_annotation(annotation: bytes) -> list[np.ndarray]:
    """Compute lanes from one frame's markings: float32 (N, 2) each, (x, y) in frame pixels, bottom first.

    Args:
        annotation: JSON list of (kind, style, types, vertices) of each marking, as `list_frames` writes it.

    Raises:
        AnnotationError: there are too many markings, or a polyline is not valid.
    """
    marks = json.loads(annotation)
    if len(marks) > _MOST_EDGES:
        raise AnnotationError(f"has more than {_MOST_EDGES} markings; correct it")
    return [line for line, _ in _lines(marks)]


def parse_lane_types(annotation: bytes) -> list[str]:
    """Return style, kind and colour of each lane, such as "dashed single white"; of two edges, of the first.

    Args:
        annotation: as for `parse_annotation`.
    """
    marks = json.loads(annotation)
    return [lane_type([marks[edge][1], marks[edge][0]]) for _, edge in _lines(marks)]


def _lines(marks: list) -> list[tuple[np.ndarray, int]]:
    """Return the lanes of the markings, and for each the index of its marking, or of the first of both."""
    return centre_lines([(kind, polyline(line, types)) for kind, _, types, line in marks], _WIDEST)


def _entries_of(root: Path, published: str, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    name, split = _LIST.format(published), "train" if published == _TRAIN else "test"
    seen: set[str] = set()
    repeats, entries = Repeats(), []
    for number, content in json_objects(root, name, limit=_OBJECT_LIMIT):
        called = content.get("name")
        try:
            frame = frame_path(f"images/100k/{published}/{called}")
            annotation = json.dumps(_marks(content)).encode()
        except ValueError as error:
            rejected.append(Rejected(name, number, f"{called}: {error}"))
            continue
        if frame in seen:
            repeats.add(name, number, frame)
            continue
        seen.add(frame)
        entries.append(FrameEntry(frame, split, annotation, name, number))
    rejected += repeats.notes("the first annotation of a frame counts")
    return entries


def _marks(content: dict[str, Any]) -> list[tuple[str, str, Any, Any]]:
    """Return kind, style, types and vertices of the markings along the road, a tenth of the published text.

    Raises:
        ValueError: a label differs in structure from the published ones; the message is the reason to report.
    """
    marks = []
    try:
        for label in content.get("labels") or []:
            kind = _kind(label)
            if kind is None or not _is_along(label):
                continue
            if not label["poly2d"]:
                raise KeyError("poly2d")
            marks += [(kind, _style(label), *_line(line)) for line in _lines_of(label["poly2d"])]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError("has a lane label without category, direction or poly2d; correct it") from error
    return marks


def _kind(label: dict[str, Any]) -> str | None:
    """Return the kind of painted line of a label; None if the label is not a lane marking.

    Raises:
        ValueError: the category is unknown.
    """
    category, attributes = str(label["category"]), label.get("attributes") or {}
    if category.startswith(_OTHER_LABELS) or (label.get("box2d") and not label.get("poly2d")):
        return None
    kind = str(attributes.get("laneType", "")) if category == "lane" else category.removeprefix("lane/")
    if kind in _NO_LANES:
        return None
    if kind not in _LANES:
        raise ValueError(f"has a marking of the unknown kind {ascii(kind or category)[:60]}; correct it")
    return kind


def _is_along(label: dict[str, Any]) -> bool:
    """Return True for a marking along the road, False for one across it.

    Raises:
        ValueError: the direction is unknown.
    """
    attributes = label["attributes"]
    direction = attributes["laneDirection"] if "laneDirection" in attributes else attributes["direction"]
    if direction != _ALONG and direction not in _ACROSS:
        raise ValueError(f"has a marking of the unknown direction {ascii(direction)[:60]}; correct it")
    return direction == _ALONG


def _style(label: dict[str, Any]) -> str:
    """Return `solid` or `dashed`; empty where the label states no style."""
    style = label["attributes"].get("laneStyle", label["attributes"].get("style", ""))
    return style if style in _STYLES else ""


def _lines_of(poly2d: list) -> list:
    """Return the polylines of a label, which are a list of objects, or one list of vertices (x, y, type)."""
    return poly2d if isinstance(poly2d[0], dict) else [poly2d]


def _line(line: Any) -> tuple[Any, Any]:
    """Return types and vertices of a polyline."""
    if isinstance(line, dict):
        return line["types"], line["vertices"]
    return "".join(str(vertex[2]) for vertex in line), [vertex[:2] for vertex in line]
