"""CULane's layout, as published: uneven lists, and a `.lines.txt` beside each frame."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lgad_pipeline.data.entries import AnnotationError, Entry, Once, SetAside, frame_path
from lgad_pipeline.data.frames import SCENARIOS, SPLITS
from lgad_pipeline.data.reading import numbered_lines
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.files import SetAside as SetAsideLine
from lgad_pipeline.lanes.files import lane_file, parse_lanes

_LISTS = {split: (f"list/{split}_gt.txt", f"list/{split}.txt") for split in SPLITS}
_LINE_LIMIT = 4096  # bytes; the longest path that Linux takes


def entries(root: Path, set_aside: list[SetAside]) -> list[Entry]:
    """Read `list/{train,val,test}_gt.txt`, else the lists without `_gt`, and `list/test_split/`.

    The categories are `test0_*.txt` .. `test8_*.txt`; of several that name a frame, the first counts.

    Raises:
        LgadError: one of the three lists is missing.
    """
    listed = {split: _entries_of(root, _list_of(root, split), split, set_aside) for split in SPLITS}
    scenarios = _scenarios(root, {entry.frame for entry in listed["test"]}, set_aside)
    listed["test"] = [replace(entry, scenario=scenarios.get(entry.frame)) for entry in listed["test"]]
    return [entry for split in SPLITS for entry in listed[split]]


def lanes(annotation: bytes) -> list[np.ndarray]:
    """Lanes of a lane file's content; the first bad line refuses it whole."""
    faults: list[SetAsideLine] = []
    found = parse_lanes(annotation, "", faults)
    if faults:
        raise AnnotationError(faults[0].reason, faults[0].line)
    return found


def _list_of(root: Path, split: str) -> str:
    for name in _LISTS[split]:
        if (root / name).is_file():
            return name
    with_flags, plain = _LISTS[split]
    if any(root.glob("*.tar.gz")):
        raise LgadError(f"{root} holds archives and no list; unpack them with `lgad unpack {root}`.")
    raise LgadError(
        f"{root} has neither {with_flags} nor {plain}; write the {split} list, one frame path a line, "
        "or correct `root` of the data set in lgad.yaml."
    )


def _entries_of(root: Path, name: str, split: str, set_aside: list[SetAside]) -> list[Entry]:
    """The entries of one list, each frame once; what is refused or repeated is set aside."""
    once, found = Once(), []
    for number, line in numbered_lines(root, name, _LINE_LIMIT):
        try:
            frame, existence = _parse(line, flags_expected=name.endswith("_gt.txt"))
            once.note(frame, f"line {number}")
        except ValueError as error:
            set_aside.append((name, number, str(error)))
            continue
        annotation = str(lane_file(Path(), frame))
        found.append(Entry(frame, split, annotation, name, number, existence=existence))
    return found


def _parse(line: bytes, flags_expected: bool) -> tuple[str, tuple[bool, ...] | None]:
    """Frame and existence flags of a list line, `frame` or `frame label_map f f f f`.

    Raises:
        ValueError: the line names no frame inside the root; the text is the reason to report.
    """
    if len(line) > _LINE_LIMIT:
        raise ValueError(f"is longer than {_LINE_LIMIT} bytes; write one frame path a line")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; rename the frame and write the list as UTF-8") from error
    existence = None
    if flags_expected:
        columns = text.rsplit(maxsplit=5)
        if len(columns) != 6 or not set(columns[2:]) <= {"0", "1"}:
            raise ValueError("is not `frame label_map f f f f` with flags 0 or 1; write the line so")
        text = columns[0]
        existence = tuple(flag == "1" for flag in columns[2:])
    return frame_path(text), existence


def _scenarios(root: Path, test_frames: set[str], set_aside: list[SetAside]) -> dict[str, str]:
    """Category of each test frame that has one; of several, the first counts and the others are reported."""
    scenarios: dict[str, str] = {}
    folder = root / "list" / "test_split"
    for number, scenario in enumerate(SCENARIOS):
        for path in sorted(folder.glob(f"test{number}_*.txt")):
            name = f"list/test_split/{path.name}"
            for entry in _entries_of(root, name, "test", set_aside):
                if entry.frame not in test_frames:
                    reason = (
                        f"names {entry.frame}, which the test list has not; add it there or take the line out"
                    )
                    set_aside.append((name, entry.line, reason))
                elif entry.frame in scenarios:
                    reason = (
                        f"puts {entry.frame} into {scenario} as well as {scenarios[entry.frame]}, "
                        "which counts; take one of the two lines out"
                    )
                    set_aside.append((name, entry.line, reason))
                else:
                    scenarios[entry.frame] = scenario
    return scenarios
