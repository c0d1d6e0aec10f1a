"""Lane files and list files in CULane's layout: read with their faults named, written in one step.

A lane file holds one lane a line, `x y x y ...`, in frame pixels. A list file names one frame a line, in its
first column; some entries of the published lists start with `/`, some do not.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.text_encoding import plain_text

MAX_COORDINATE = 1e6
"""Coordinates beyond this many pixels are no lane's."""

_MOST_BYTES = 256 << 20  # of a list; CULane's longest has 8 MB
NO_POINTS = np.zeros((0, 2), np.float32)


class Rejected(NamedTuple):
    """A line that could not be used, and why. `line` counts from 1; 0 stands for the file as a whole."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        place = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{place}: {self.reason}."


class LaneFileError(LgadError):
    """A lane file or a list file that cannot be used as it is."""


def parse_lanes(content: bytes, path: Path | str, rejected: list[Rejected] | None = None) -> list[np.ndarray]:
    """Lanes of a lane file's content, each float32 (N, 2) as (x, y) in frame pixels.

    A blank line is a lane without points, as in the official tools.

    Args:
        content: the bytes of the file.
        path: where they come from, for messages.
        rejected: where rejected lines are noted; such a line becomes a lane without points. None: the first
            bad line is an error.

    Raises:
        LaneFileError: a bad line, and `rejected` is None.
    """
    try:
        lines = plain_text(content).split(b"\n")
    except UnicodeError:
        lines = content.split(b"\n")  # its lines are rejected
    if not lines[-1]:
        lines.pop()
    lanes = []
    for number, line in enumerate(lines, 1):
        try:
            lanes.append(_parse_line(line))
        except ValueError as error:
            fault = Rejected(str(path), number, str(error))
            if rejected is None:
                raise LaneFileError(str(fault)) from None
            rejected.append(fault)
            lanes.append(NO_POINTS)
    return lanes


def _parse_line(line: bytes) -> np.ndarray:
    words = line.split()
    if not words:
        return NO_POINTS
    try:
        values = list(map(float, words))
    except ValueError:
        values = None
    if values is None or b"_" in line:
        word = next(word for word in words if not _is_number(word))
        raise ValueError(
            f"{word.decode(errors='replace')[:40]!r} is not a number; write the lane as x y x y ..."
        )
    if len(values) % 2:
        raise ValueError(
            f"{len(values)} values do not make x y pairs; add the missing one or remove the line"
        )
    if not (max(values) <= MAX_COORDINATE and min(values) >= -MAX_COORDINATE and isfinite(sum(values))):
        word = next(
            word for word, value in zip(words, values, strict=True) if not abs(value) <= MAX_COORDINATE
        )
        raise ValueError(
            f"the coordinate {word.decode()} is not a place near a frame; correct it or remove the line"
        )
    return np.array(values, np.float32).reshape(-1, 2)


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word


def are_coordinates(values: object) -> bool:
    """True for a list of numbers from JSON, each nearer than `MAX_COORDINATE`; NaN is not."""
    return isinstance(values, list) and all(
        isinstance(value, int | float) and abs(value) < MAX_COORDINATE for value in values
    )


def read_lanes(path: Path, rejected: list[Rejected] | None = None) -> list[np.ndarray]:
    """Lanes of the lane file `path`; see `parse_lanes`.

    Raises:
        LaneFileError: the file cannot be read; or it has a bad line, and `rejected` is None.
    """
    return parse_lanes(read_bytes(path), path, rejected)


def read_bytes(path: Path) -> bytes:
    """The bytes of `path`.

    Raises:
        LaneFileError: it cannot be read, or is larger than any list.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise LaneFileError(
                f"{path} has more than {_MOST_BYTES >> 20} MB; give a list of frames or lanes."
            )
        return path.read_bytes()
    except OSError as error:
        raise LaneFileError(f"{path} cannot be read ({error.strerror}); correct the path.") from error


def write_lanes(path: Path, lanes: Sequence[np.ndarray]) -> None:
    """Write lanes, each (N, 2) as (x, y) in frame pixels, one a line with a trailing space as CULane has it.

    Numbers are the shortest that give the same single-precision value when read again.
    """
    write_text(path, lanes_text(lanes), durable=False)


def lanes_text(lanes: Sequence[np.ndarray]) -> str:
    """The content of a lane file; see `write_lanes`."""
    return "".join("".join(f"{value!s} " for value in _shortest(lane)) + "\n" for lane in lanes)


def _shortest(lane: np.ndarray) -> list[str]:
    values = np.asarray(lane, np.float32).ravel()
    return [np.format_float_positional(value, trim="-") for value in values]


def resolve_inside(root: Path, relative: str) -> Path:
    """`root / relative`, with a leading slash of `relative` ignored.

    Raises:
        LaneFileError: `relative` leads out of `root`.
    """
    inside = relative.lstrip("/")
    if not inside or ".." in inside.split("/"):
        raise LaneFileError(f"{relative!r} leads out of {root}; name a file below it.")
    return root / inside


def lane_file(root: Path, frame: str) -> Path:
    """The lane file of `frame` below `root`: its last ending, if it has one, replaced by `.lines.txt`."""
    stem, dot, ending = frame.rpartition(".")
    return resolve_inside(root, f"{stem if dot and '/' not in ending else frame}.lines.txt")


def full_lane_file(root: Path, frame: str) -> Path:
    """The lane file of one of several frames that differ in their ending alone: `a.jpg.lines.txt`."""
    return resolve_inside(root, f"{frame}.lines.txt")


def find_lane_file(root: Path, frame: str) -> Path:
    """The lane file of `frame` that is there: `full_lane_file` if it exists, else `lane_file`."""
    full = full_lane_file(root, frame)
    return full if full.is_file() else lane_file(root, frame)
