"""Reader of TuSimple's JSON files: an object per frame, as JSON lines, in an array or over several lines."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import LaneFileError, are_coordinates, read_bytes
from lgad_pipeline.lanes.text_encoding import plain_text

_ARRAY = re.compile(r"\s*\[(?=\s*[{\]])")
_SINGLE_QUOTES = re.compile(r"\{\s*'")
_BETWEEN = " \t\r\n,"
_NO_OBJECT = "is not a JSON object; write one object on one line"
_PYTHON = "is Python's notation with single quotes, and no JSON object; write it with json.dumps"
_NEXT_OBJECT = re.compile(r"\n\s*(?=\{)")
_DECODER = json.JSONDecoder()
_REMEDIES = {
    "lanes": "give frames with lanes: a list of frames to predict has none",
    "run_time": "add it, in milliseconds",
    "h_samples": "add it, or correct the order of the two files if this one holds predictions",
}


class Line(NamedTuple):
    """Object of a file.

    Attributes:
        number: number of the line where the object begins, from 1.
        entry: content of the object; None if it cannot be used.
        fault: reason why the object cannot be used, the end of a sentence; empty if it can.
    """

    number: int
    entry: dict[str, Any] | None
    fault: str = ""

    @property
    def name(self) -> str:
        """Path of the frame, the result of `frame_name`; empty if the object cannot be used."""
        return frame_name(self.entry["raw_file"]) if self.entry else ""


def read_objects(path: Path, keys: tuple[str, ...]) -> list[Line]:
    """Read the objects of a file; invalid ones are returned with their fault.

    Args:
        path: file with JSON lines, an array of objects, or objects one after the other, in UTF-8 or UTF-16.
        keys: keys that every object must have, of `raw_file`, `lanes`, `h_samples` and `run_time`.

    Raises:
        LaneFileError: The file cannot be read, or is not a text.
    """
    lines = []
    for number, value in _values(_text(path)):
        if isinstance(value, str):
            lines.append(Line(number, None, value))
            continue
        fault = _fault(value, keys)
        lines.append(Line(number, None if fault else value, fault))
    return lines


def frame_name(raw_file: str) -> str:
    """Normalize the path of a frame: relative, with slashes.

    Accents have the Unicode form NFC, so that files written on macOS and on Linux have the same names.

    Raises:
        ValueError: The path leads out of the root or contains control characters.
    """
    return relative_frame(unicodedata.normalize("NFC", raw_file.replace("\\", "/").removeprefix("file://")))


def short_name(name: str) -> str:
    """Return the part of a frame's name from the last `clips/` on; the name itself if it has none."""
    _, clips, rest = f"/{name}".rpartition("/clips/")
    return f"clips/{rest}" if clips else name


def frame_keys(lines: Sequence[Line]) -> dict[str, str]:
    """Return the key of each frame of a file by its name: the short name, or the name where frames share it.

    Frames share a short name if their directories differ above `clips/`, as those of two drives do.
    """
    names = {line.name for line in lines if line.entry}
    shared = Counter(map(short_name, names))
    return {name: name if shared[short_name(name)] > 1 else short_name(name) for name in names}


def matching_keys(lines: Sequence[Line], keys: dict[str, str]) -> dict[str, str]:
    """Return the key of the annotated frame that each predicted frame means, by the predicted frame's name.

    The directories above `clips/` may differ from the annotated ones. Where frames share a short name, in
    either file, one of both names must end with the other.

    Args:
        lines: predictions.
        keys: result of `frame_keys` for the annotations.

    Returns:
        The keys; predicted frames that mean no annotated frame or several are missing, and so are those that
        mean the same one.
    """
    names = {line.name for line in lines if line.entry}
    sharing = Counter(map(short_name, names))
    annotated: dict[str, list[str]] = {}
    for name in keys:
        annotated.setdefault(short_name(name), []).append(name)
    found = {}
    for name in names - keys.keys():
        candidates = annotated.get(short_name(name), [])
        if len(candidates) > 1 or sharing[short_name(name)] > 1:
            candidates = [other for other in candidates if _one_ends_with_the_other(name, other)]
        if len(candidates) == 1:
            found[name] = keys[candidates[0]]
    exact = {name: keys[name] for name in names & keys.keys()}
    meant = Counter([*found.values(), *exact.values()])
    return exact | {name: key for name, key in found.items() if meant[key] == 1}


def _one_ends_with_the_other(name: str, other: str) -> bool:
    return f"/{name}".endswith(f"/{other}") or f"/{other}".endswith(f"/{name}")


def _text(path: Path) -> str:
    content = read_bytes(path)
    try:
        return plain_text(content).decode()
    except UnicodeError as error:
        raise LaneFileError(f"{path} is not a text in UTF-8 or UTF-16; save it as UTF-8.") from error


def _values(text: str) -> Iterator[tuple[int, Any]]:
    """Yield line number and value of every object; a value that is not an object is a text with the fault."""
    position, number, counted = 0, 1, 0
    if array := _ARRAY.match(text):
        position, text = array.end(), text.rstrip().removesuffix("]")
    while True:
        while position < len(text) and text[position] in _BETWEEN:
            position += 1
        if position >= len(text):
            return
        number, counted = number + text.count("\n", counted, position), position
        try:
            value, end = _DECODER.raw_decode(text, position)
        except (ValueError, RecursionError):  # RecursionError: brackets are nested too deeply
            yield number, _NO_OBJECT if not _SINGLE_QUOTES.match(text, position) else _PYTHON
            following = _NEXT_OBJECT.search(text, position)
            if not following:
                return
            position = following.end()
            continue
        yield number, value if isinstance(value, dict) else _NO_OBJECT
        position = end


def _fault(entry: dict[str, Any], keys: tuple[str, ...]) -> str:
    """Return the fault of an object as the end of a sentence; empty if there is none."""
    name = entry.get("raw_file")
    who = f"{name}: " if isinstance(name, str) else ""
    for key in keys:
        if key not in entry:
            return f"{who}there is no `{key}`; {_REMEDIES.get(key, 'add it')}"
    if not isinstance(name, str):
        return "`raw_file` is not a text; name the frame"
    try:
        frame_name(name)
    except ValueError as error:
        return f"`raw_file` {error}"
    lanes = entry["lanes"] if "lanes" in keys else []
    rows = entry.get("h_samples", [])
    if not isinstance(lanes, list) or not all(map(are_coordinates, (*lanes, rows))):
        return f"{who}`lanes` and `h_samples` must be lists of numbers below a million; correct them"
    if "run_time" in keys and not are_coordinates([entry["run_time"]]):
        return f"{who}`run_time` is not a number; give milliseconds"
    return ""
