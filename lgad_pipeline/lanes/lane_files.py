"""Lane files in CULane's layout: reading with an error for each bad line, atomic writing, and their paths.

A lane file holds one lane a line, `x y x y ...`, in frame pixels.
"""

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.lanes.file_names import is_file, resolve_inside, stored_name
from lgad_pipeline.lanes.text_encoding import plain_text

MAX_COORDINATE = 1e6
"""Greatest absolute value of a valid coordinate, pixels."""

_MAX_BYTES = 256 << 20  # size limit of a file; CULane's longest list has 8 MB
NO_POINTS = np.zeros((0, 2), np.float32)
"""A lane without points."""


class Rejected(NamedTuple):
    """A line, a file or a frame that cannot be used.

    Attributes:
        file: path of the file at fault; of a data set's file, below the root of the data set.
        line: line of that file, counted from 1; None for the file as a whole.
        reason: what is wrong, and the remedy.
    """

    file: str
    line: int | None
    reason: str

    def __str__(self) -> str:
        location = f"{self.file}, line {self.line}" if self.line else self.file
        return f"{location}: {self.reason}."


class LaneFileError(LgadError):
    """A lane file or a list file that cannot be read or is invalid."""


def parse_lanes(
    content: bytes, path: Path | str, *, rejected: list[Rejected] | None = None
) -> list[np.ndarray]:
    """Parse the lanes of a lane file's content.

    A blank line is a lane without points, as in the official tools.

    Args:
        content: bytes of the file.
        path: path of the file, for messages.
        rejected: list that rejected lines are appended to; such a line becomes a lane without points. If
            None, the first bad line is an error.

    Returns:
        Lanes, float32 (N, 2) each as (x, y), frame pixels.

    Raises:
        LaneFileError: a line is bad, and `rejected` is None.
    """
    try:
        lines = plain_text(content).split(b"\n")
    except UnicodeError:
        lines = content.split(b"\n")  # invalid UTF-16, so each line is rejected below
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
    """Parse one lane, float32 (N, 2).

    Raises:
        ValueError: the line is bad; the message is the reason to report.
    """
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
            f"{word.decode(errors='replace')[:40]!r} is not a number; write pairs x y with decimal points"
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
            f"the coordinate {word.decode()} is not near any frame; correct it or remove the line"
        )
    return np.array(values, np.float32).reshape(-1, 2)


def _is_number(word: bytes) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return b"_" not in word


def are_coordinates(values: object) -> bool:
    """Return true if a JSON value is a list of coordinates: finite numbers below `MAX_COORDINATE`.

    Args:
        values: parsed JSON value.
    """
    return isinstance(values, list) and all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MAX_COORDINATE
        for value in values
    )


def read_lanes(path: Path, rejected: list[Rejected] | None = None) -> list[np.ndarray]:
    """Read the lanes of a lane file; see `parse_lanes`.

    Args:
        path: lane file.
        rejected: list that rejected lines are appended to; if None, a bad line is an error.

    Raises:
        LaneFileError: the file cannot be read; or a line is bad, and `rejected` is None.
    """
    return parse_lanes(read_bytes(path), path, rejected=rejected)


def read_frame_lanes(
    root: Path, frame: str, *, rejected: list[Rejected] | None = None, required: bool = False
) -> list[np.ndarray] | None:
    """Read the lanes of a frame from the file that `find_lane_file` names.

    Args:
        root: folder of the lane files.
        frame: path of the frame relative to the root.
        rejected: list that rejected lines are appended to; if None, a bad line is an error.
        required: if true, a missing file is an error.

    Returns:
        Lanes, float32 (N, 2) each as (x, y), frame pixels; None if the frame has no lane file.

    Raises:
        LgadError: the file cannot be read; or a line is bad, and `rejected` is None.
    """
    path = find_lane_file(root, frame)
    try:
        return parse_lanes(path.read_bytes(), path, rejected=rejected)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not required:
            return None
        raise os_fault(error, path, "read") from error


def read_bytes(path: Path) -> bytes:
    """Read the bytes of a lane file or list file.

    Args:
        path: file to read.

    Raises:
        LaneFileError: the file cannot be read, or is larger than 256 MB.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise LaneFileError(
                f"{path} has more than {_MAX_BYTES >> 20} MB; give a list of frames or lanes."
            )
        return path.read_bytes()
    except OSError as error:
        raise LaneFileError(f"{path} cannot be read ({error.strerror}); correct the path.") from error


def write_lanes(path: Path, lanes: Sequence[np.ndarray]) -> None:
    """Write lanes to a lane file, one a line with a trailing space as in CULane.

    Numbers have the fewest digits that give the same single-precision value when read again.

    Args:
        path: lane file; missing folders are created.
        lanes: lanes, (N, 2) each as (x, y), frame pixels.
    """
    write_text(path, lanes_text(lanes), durable=False)


def lanes_text(lanes: Sequence[np.ndarray]) -> str:
    """Format lanes as the content of a lane file; see `write_lanes`."""
    return "".join("".join(f"{value!s} " for value in _shortest(lane)) + "\n" for lane in lanes)


def _shortest(lane: np.ndarray) -> list[str]:
    """Format the coordinates of a lane (N, 2) with the fewest digits that keep the float32 values."""
    values = np.asarray(lane, np.float32).ravel()
    return [np.format_float_positional(value, trim="-") for value in values]


def lane_file(root: Path, frame: str) -> Path:
    """Return the path of a frame's lane file: the frame's last ending, if any, is replaced by `.lines.txt`.

    Args:
        root: folder of the lane files.
        frame: path of the frame relative to the root.
    """
    return resolve_inside(root, lane_file_name(frame))


def lane_file_name(frame: str) -> str:
    """Return the path of `lane_file` relative to the root; `frame` is one, too, and is not checked."""
    return f"{frame_stem(frame)}.lines.txt"


def frame_stem(frame: str) -> str:
    """Return the path of a frame without its last ending: `a/b` of `a/b.jpg`; it is not checked."""
    stem, dot, ending = frame.rpartition(".")
    return stem if dot and "/" not in ending else frame


def safe_stem(frame: str) -> str:
    """Return `frame_stem` of a frame, which any folder can be joined to, without leading slashes.

    Args:
        frame: path of the frame relative to a root.

    Raises:
        LgadError: the path leads out of the root.
    """
    return frame_stem(resolve_inside(Path(), frame).as_posix())


def full_lane_file(root: Path, frame: str) -> Path:
    """Return the path of the lane file of a frame that differs from another in its ending alone.

    The frame's ending is kept: `a.jpg.lines.txt`.

    Args:
        root: folder of the lane files.
        frame: path of the frame relative to the root.
    """
    return resolve_inside(root, f"{frame}.lines.txt")


def find_lane_file(root: Path, frame: str) -> Path:
    """Return the path of a frame's lane file: `full_lane_file` if that file exists, else `lane_file`.

    The file may have another Unicode form of the frame's name.

    Args:
        root: folder of the lane files.
        frame: path of the frame relative to the root.
    """
    full, short = full_lane_file(root, frame), lane_file(root, frame)
    if not frame.isascii():
        full, short = (root / stored_name(root, path.relative_to(root).as_posix()) for path in (full, short))
    return full if is_file(full) else short
