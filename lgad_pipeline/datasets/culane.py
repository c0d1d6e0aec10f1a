"""Reader of CULane's layout as published: lists in several forms, and a `.lines.txt` next to each frame."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from lgad_pipeline.config.splits import SCENARIOS, SPLITS
from lgad_pipeline.datasets.reader import AnnotationError, FrameEntry, Note, require_image_name
from lgad_pipeline.datasets.safe_io import list_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import Rejected, lane_file_name, parse_lanes
from lgad_pipeline.wording import counted

_LISTS = {split: (f"list/{split}_gt.txt", f"list/{split}.txt") for split in SPLITS}
_ARCHIVES = ("*.tar.gz", "*.tgz", "*.tar", "*.zip")
_PUBLISHED_NAMES = {"dazzle": "hlight", "crossroad": "cross"}  # in the names of the published lists
_FLAGS = 4  # number of existence flags in a line, one per slot


def list_frames(root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """Read `list/{train,val,test}_gt.txt`, else the lists without `_gt`, and `list/test_split/`.

    The categories are `test0_*.txt` .. `test8_*.txt`; if several name a frame, the first is used.

    Args:
        root: root directory of the data set.
        rejected: list to which rejected lines and notes are appended.

    Raises:
        LgadError: one of the three lists is missing.
    """
    listed = {}
    for split in SPLITS:
        name = _list_of(root, split)
        listed[split] = _entries_of(root, name, split, rejected)
        unread = _LISTS[split][1]
        if name != unread and (root / unread).is_file():
            rejected += _note_on_unread(root, name, {entry.frame for entry in listed[split]}, unread)
    scenarios = _scenarios(root, {entry.frame for entry in listed["test"]}, rejected)
    listed["test"] = [replace(entry, scenario=scenarios.get(entry.frame)) for entry in listed["test"]]
    return [entry for split in SPLITS for entry in listed[split]]


def parse_annotation(annotation: bytes) -> list[np.ndarray]:
    """Parse the content of a lane file; one invalid line rejects the whole file.

    Args:
        annotation: content of the lane file.

    Returns:
        Lanes, float32 (N, 2) each, (x, y) in frame pixels.

    Raises:
        AnnotationError: a line is not valid; the first such line is reported.
    """
    faults: list[Rejected] = []
    lanes = parse_lanes(annotation, "", rejected=faults)
    if faults:
        raise AnnotationError(faults[0].reason, faults[0].line)
    return lanes


def _list_of(root: Path, split: str) -> str:
    for name in _LISTS[split]:
        if (root / name).is_file():
            return name
    with_flags, plain = _LISTS[split]
    if any(any(root.glob(pattern)) for pattern in _ARCHIVES):
        raise LgadError(f"{root} holds archives and no list; unpack them with `lgad unpack {root}`.")
    inner = next((path.parents[1] for path in sorted(root.glob("*/list/*.txt"))), None)
    remedy = f"to {inner}" if inner else "of the data set"
    raise LgadError(
        f"{root} has neither {with_flags} nor {plain}; write the {split} list, one frame path a line, "
        f"or correct `root` {remedy}."
    )


def _note_on_unread(root: Path, name: str, frames: set[str], unread: str) -> list[Note]:
    """Return a note if a list is read instead of another one of its split that names other frames."""
    if not frames:
        text = f"names no frame that can be used, and is read instead of {unread}; remove it to read that one"
        return [Note(name, None, text)]
    if _first_words(root, name) == _first_words(root, unread):  # far faster than reading the list
        return []
    others = set(read_frame_list(list_inside(root, unread), root).frames)
    differences = []
    if further := len(others - frames):
        differences.append(f"names {counted(further, 'further frame')}")
    if missing := len(frames - others):
        differences.append(f"lacks {missing} of its frames")
    if not differences:
        return []
    text = (
        f"is read instead of {unread}, which {' and '.join(differences)}; remove the outdated list of the two"
    )
    return [Note(name, None, text)]


def _first_words(root: Path, name: str) -> set[bytes]:
    """Return the first word of each line of a list, which is the frame unless its name has a blank."""
    lines = list_inside(root, name).read_bytes().split(b"\n")
    return {words[0] for line in lines if (words := line.split(maxsplit=1))}


def _entries_of(root: Path, name: str, split: str, rejected: list[Rejected | Note]) -> list[FrameEntry]:
    """Return the entries of one list, each frame once; report rejected and repeated lines."""
    listed = read_frame_list(list_inside(root, name), root)
    faults = [fault._replace(file=name) for fault in listed.rejected]
    entries = []
    for entry in listed.entries:
        try:
            require_image_name(entry.frame)
        except ValueError as error:
            faults.append(Rejected(name, entry.line, str(error)))
            continue
        flags = entry.flags or ()
        existence = tuple(map(bool, flags)) if len(flags) == _FLAGS else None
        annotation = lane_file_name(entry.frame)
        entries.append(FrameEntry(entry.frame, split, annotation, name, entry.line, existence=existence))
    rejected += sorted(faults, key=lambda fault: fault.line or 0)
    if listed.repeats:
        again, first = listed.repeated, listed.repeats[0].line
        text = (
            f"names frames again in {counted(again, 'line')}, the first line {first}; each frame counts once"
        )
        rejected.append(Note(name, None, text))
    if any(entry.flags for entry in listed.entries):
        counts = Counter(len(entry.flags or ()) for entry in listed.entries)
        del counts[_FLAGS]
        for flags, lines in sorted(counts.items()):
            text = f"has {counted(lines, 'line')} with {flags} existence flags instead of {_FLAGS}"
            rejected.append(Note(name, None, f"{text}; they are not used"))
    return entries


def _scenarios(root: Path, test_frames: set[str], rejected: list[Rejected | Note]) -> dict[str, str]:
    """Return frame -> category; if a frame has several, the first is used and the others are reported."""
    scenarios: dict[str, str] = {}
    folder = root / "list" / "test_split"
    unread = {path.name for path in folder.glob("*.txt")}
    for number, scenario in enumerate(SCENARIOS):
        for path in sorted(folder.glob(f"test{number}_*.txt")):
            unread.discard(path.name)
            name = f"list/test_split/{path.name}"
            if path.stem.partition("_")[2] not in (scenario, _PUBLISHED_NAMES.get(scenario)):
                text = f"is read as the category {scenario}, because of its number; correct number or name"
                rejected.append(Note(name, None, text))
            listed = _entries_of(root, name, "test", rejected)
            if not listed:
                rejected.append(Note(name, None, "names no frame; the category has no figures"))
            elsewhere = [entry for entry in listed if entry.frame not in test_frames]
            if elsewhere:
                text = (
                    f"names {counted(len(elsewhere), 'frame')} that the test list has not, the first "
                    f"{elsewhere[0].frame} in line {elsewhere[0].line}; they are left out"
                )
                rejected.append(Note(name, None, text))
            twice = [entry for entry in listed if entry.frame in scenarios]
            if twice:
                text = (
                    f"names {counted(len(twice), 'frame')} of other categories, the first {twice[0].frame} "
                    f"of {scenarios[twice[0].frame]} in line {twice[0].line}; the first category counts"
                )
                rejected.append(Note(name, None, text))
            for entry in listed:
                if entry.frame in test_frames:
                    scenarios.setdefault(entry.frame, scenario)
    if unread:
        names = ", ".join(f"test{number}_{scenario}" for number, scenario in enumerate(SCENARIOS))
        text = (
            f"holds {counted(len(unread), 'list')} of no category, such as {min(unread)}; the categories are"
        )
        rejected.append(Note("list/test_split", None, f"{text} {names}"))
    return scenarios
