"""Reader of TuSimple's lane challenge as published: JSON lines that contain the frame's path and its lanes.

The label files are in the root with `clips/`, or in `train_set/` and `test_set/` with a `clips/` each;
`test_label.json` may also be in the root next to these two. `label_data_0531.json` is the customary
validation set; the other `label_data_*.json` are for training. `raw_file` is the path of the frame relative
to the folder that contains its `clips/`. If a frame has several annotations, the last one is used.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.datasets.reader import AnnotationError, FrameEntry, Note, Repeats, frame_path
from lgad_pipeline.datasets.safe_io import json_objects, list_inside, numbered_lines, open_text
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import is_file
from lgad_pipeline.lanes.frame_list import absolute_roots
from lgad_pipeline.lanes.lane_files import Rejected, are_coordinates

_VALIDATION, _TEST = "label_data_0531.json", "test_label.json"
_FOLDERS = ("", "train_set", "test_set")
_NO_LINES = re.compile(r"\[|\{\s*[\r\n]")  # start of a list, or of an object over several lines
_LINE_LIMIT = 1 << 20  # bytes; the longest published line has 2,000


def list_frames(root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """Read the label files; a missing test or validation file is reported, and the others are read.

    Args:
        root: root directory of the data set.
        rejected: list to which rejected lines and notes are appended.

    Raises:
        LgadError: there is no `label_data_*.json`.
    """
    files: dict[str, list[Path]] = {split: [] for split in SPLITS}
    for folder in _FOLDERS:
        for path in sorted((root / folder).glob("label_data_*.json")):
            files["val" if path.name == _VALIDATION else "train"].append(path)
        if not files["test"] and (root / folder / _TEST).is_file():
            files["test"].append(root / folder / _TEST)
    if not files["train"]:
        below = [
            path.parents[folder.count("/")]
            for folder in ("", "train_set/")
            for path in sorted(root.glob(f"*/{folder}label_data_*.json"))
        ]
        remedy = f"correct `root` to {below[0]}" if below else "put TuSimple's files there"
        raise LgadError(f"{root} has no label_data_*.json, nor has its train_set/; {remedy}.")
    for split, name in (("val", _VALIDATION), ("test", _TEST)):
        if not files[split]:
            rejected.append(Note(name, None, f"is missing, so there are no {split} frames; put it there"))
    return [entry for split in SPLITS for entry in _entries_of(root, files[split], split, rejected)]


def parse_annotation(annotation: bytes) -> list[np.ndarray]:
    """Parse one JSON line; lanes without a point are left out.

    Args:
        annotation: JSON object with `lanes` and `h_samples`.

    Returns:
        Lanes, float32 (N, 2) each, (x, y) in frame pixels, bottom first, at the rows where they are present.

    Raises:
        AnnotationError: the line is not such an object, or its lists are not valid.
    """
    content = _parse(annotation)
    rows, xs_of_lanes = content.get("h_samples"), content.get("lanes")
    if not isinstance(rows, list) or not isinstance(xs_of_lanes, list):
        raise AnnotationError("lacks one of the lists `lanes` and `h_samples`; correct it")
    if not all(map(are_coordinates, (rows, *xs_of_lanes))):
        raise AnnotationError("`lanes` and `h_samples` are not lists of finite numbers; correct them")
    if any(len(xs) != len(rows) for xs in xs_of_lanes):
        raise AnnotationError("a lane does not have one x for each of `h_samples`; correct it")
    order = np.argsort(-np.array(rows, np.float32), kind="stable")
    points = [np.array([xs, rows], np.float32).T[order] for xs in xs_of_lanes]
    return [lane for lane in (lane[lane[:, 0] >= 0] for lane in points) if len(lane)]


def _entries_of(
    root: Path, paths: list[Path], split: str, rejected: list[Rejected | Note]
) -> list[FrameEntry]:
    entries: dict[str, FrameEntry] = {}
    repeats = Repeats()
    for path in paths:
        name = path.relative_to(root).as_posix()
        folder = path.parent.relative_to(root)
        if split == "test" and not (path.parent / "clips").is_dir() and (root / "test_set/clips").is_dir():
            folder = Path("test_set")
        roots = absolute_roots(root / folder)
        for number, line in _lines(root, name):
            try:
                frame = _frame(line, root, folder, roots)
            except (ValueError, AnnotationError) as error:
                rejected.append(Rejected(name, number, str(error)))
                continue
            # The benchmark's script uses the last annotation of a frame, so it is used here, too.
            if entries.pop(frame, None):
                repeats.add(name, number, frame)
            entries[frame] = FrameEntry(frame, split, line, name, number)
    rejected += repeats.notes("the last annotation of a frame counts, as in the benchmark")
    return list(entries.values())


def _lines(root: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """Iterate over line number and text of each frame's JSON object, one a line, in a list or over lines."""
    with open_text(list_inside(root, name), errors="replace") as stream:
        start = stream.read(64).lstrip()
    if not _NO_LINES.match(start):
        yield from numbered_lines(root, name, limit=_LINE_LIMIT)
        return
    for number, content in json_objects(root, name, limit=_LINE_LIMIT, unlisted=True):
        yield number, json.dumps(content).encode()


def _frame(line: bytes, root: Path, folder: Path, roots: tuple[str, ...]) -> str:
    """Return the path of the frame that a JSON object names, relative to the root.

    A path below one of `roots`, absolute folders that end in `/`, becomes relative to that root. A path with
    other folders before `clips/`, such as that of another machine, means the frame in `clips/`.
    """
    if len(line) > _LINE_LIMIT:
        raise ValueError(f"is longer than {_LINE_LIMIT} bytes; write one frame a line")
    raw_file = _parse(line).get("raw_file")
    if not isinstance(raw_file, str):
        raise ValueError("has no text in `raw_file`; name the frame")
    raw_file = raw_file.replace("\\", "/")
    for absolute in roots:
        raw_file = raw_file.removeprefix(absolute)
    above, clips, below = f"/{raw_file}".rpartition("/clips/")
    if above and (raw_file.startswith("/") or not is_file(root / folder / raw_file)):
        raw_file = f"{clips}{below}"
    return frame_path(f"{folder.as_posix()}/{raw_file}")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise AnnotationError(
            "is not a JSON object; write one a frame, on one line, with `raw_file`, `lanes`, `h_samples`"
        )
    return content
