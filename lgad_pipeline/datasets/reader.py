"""Protocol of data set kinds: a reader lists the frames of a data set and parses their annotations."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import MAX_COORDINATE, Rejected
from lgad_pipeline.wording import counted


class Note(NamedTuple):
    """Remark about a list that rejects no frame; a reader adds it to the rejected items.

    Attributes:
        file: path of the list, relative to the root.
        line: line of the list, from 1; None where the remark is about the whole file.
        text: predicate of the message; the caller adds the file's name as its subject.
    """

    file: str
    line: int | None
    text: str


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """A frame that a data set lists.

    Attributes:
        frame: path of the image relative to the root, as `frame_path` returns it.
        split: name of the split, `train`, `val` or `test`.
        annotation: path of the lane file relative to the root (str), or the annotation itself (bytes) where
            the list contains it.
        file: path of the list relative to the root; of the annotation file for data sets without lists.
        line: line of the list, from 1; None where there is no list.
        scenario: CULane category of a test frame; None if it has none.
        existence: existence flags of the four slots; None if the list does not state them.
    """

    frame: str
    split: str
    annotation: str | bytes
    file: str
    line: int | None
    scenario: str | None = None
    existence: tuple[bool, ...] | None = None


class DatasetReader(Protocol):
    """Reader of one kind of data set; a module with these two functions satisfies the protocol."""

    def list_frames(self, root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
        """List the frames: train, val, test, each split in the order of its list, each frame once per split.

        Neither frames nor lane files are read.

        Args:
            root: root directory of the data set.
            rejected: list to which lines that cannot be used are appended as `Rejected`, and remarks that
                reject no frame as `Note`.

        Raises:
            LgadError: a list that the data set needs is missing.
        """
        ...

    def parse_annotation(self, annotation: bytes) -> list[np.ndarray]:
        """Parse one annotation.

        Args:
            annotation: content of the lane file, or `FrameEntry.annotation` where the list contains it.

        Returns:
            Lanes, float32 (N, 2) each, (x, y) in frame pixels.

        Raises:
            AnnotationError: the annotation cannot be used.
        """
        ...


TypeParser = Callable[[bytes], Sequence[str]]
"""Further function `parse_lane_types` of a reader whose annotations state the types of lanes.

It gets the annotation that `parse_annotation` has accepted, and returns the type of each lane, in the same
order; empty: unknown.
"""


class AnnotationError(LgadError):
    """Error of an annotation that cannot be used; the caller adds the file's name to the message."""

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(reason)
        self.line = line


def frame_path(text: str) -> str:
    """Convert a listed path to the form of the frames table: relative to the root, with forward slashes.

    Args:
        text: path as a list states it.

    Raises:
        ValueError: the path names no image below the root; the message is the reason to report.
    """
    frame = relative_frame(text)
    require_image_name(frame)
    return frame


def require_image_name(frame: str) -> None:
    """Check that a path ends as images do.

    Raises:
        ValueError: it does not; the message is the reason to report.
    """
    end = frame.rfind(".")
    if frame[end:].lower() not in IMAGE_SUFFIXES or frame[:end][-1:] in ("", "/"):
        raise ValueError(
            f"names {frame}, which does not end in {', '.join(IMAGE_SUFFIXES)}; name a frame below the root"
        )


def points(pairs: Iterable) -> np.ndarray:
    """Convert coordinates from a data file to an array.

    Args:
        pairs: pairs (x, y) of numbers or numeric texts, pixels.

    Returns:
        float32 (N, 2) as (x, y), pixels.

    Raises:
        AnnotationError: see `coordinates`.
    """
    return coordinates(pairs).astype(np.float32)


def bottom_first(lane: np.ndarray) -> np.ndarray:
    """Return a lane (N, 2) as (x, y) with its lower end first; it is reversed if its upper end is."""
    return lane if lane[0, 1] >= lane[-1, 1] else lane[::-1]


def coordinates(pairs: Iterable) -> np.ndarray:
    """Convert coordinates from a data file to an array of double precision.

    Args:
        pairs: pairs (x, y) of numbers or numeric texts, pixels.

    Returns:
        float64 (N, 2) as (x, y), pixels.

    Raises:
        AnnotationError: the values are not pairs of numbers, or not finite, or too far away from any frame.
    """
    try:
        values = np.array([[float(x), float(y)] for x, y in pairs], np.float64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError) as error:
        raise AnnotationError("has a line that is not made of x y pairs; correct it") from error
    if not (np.abs(values) <= MAX_COORDINATE).all():  # A comparison with NaN is False, so NaN is rejected.
        raise AnnotationError("has a point that is not near a frame; correct it")
    return values


def held_out(entries: Sequence[FrameEntry], group: Callable[[FrameEntry], str]) -> list[FrameEntry]:
    """Move every tenth group of the training entries, in the order of group names, to the validation split.

    Frames of a group look alike, so a group is never divided.

    Args:
        entries: training entries.
        group: function that returns the name of an entry's group.

    Returns:
        The remaining training entries, then the validation entries, each in their order.
    """
    groups = set(sorted({group(entry) for entry in entries})[1::10])
    train = [entry for entry in entries if group(entry) not in groups]
    return train + [replace(entry, split="val") for entry in entries if group(entry) in groups]


class Repeats:
    """Counter of list lines that name a frame again."""

    def __init__(self) -> None:
        self._lists: dict[str, list[str]] = {}

    def add(self, file: str, line: int, frame: str) -> None:
        """Count a line of the list `file` that names `frame` again."""
        self._lists.setdefault(file, []).append(f"{frame} in line {line}")

    def notes(self, consequence: str) -> list[Note]:
        """Return a note for each list that has such lines.

        Args:
            consequence: sentence part that says which annotation of a repeated frame is used.
        """
        return [
            Note(
                file, None, f"names {counted(len(found), 'frame')} again, the first {found[0]}; {consequence}"
            )
            for file, found in self._lists.items()
        ]
