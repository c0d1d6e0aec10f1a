"""Protocol of data set kinds: a reader lists the frames of a data set and parses their annotations."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import MAX_COORDINATE, Rejected


class Note(NamedTuple):
    """What was noticed and rejects no frame; a reader puts it among the rejected items."""

    file: str
    line: int | None
    text: str


@dataclass(frozen=True, slots=True)
class FrameEntry:
    """A frame as a data set's lists name it.

    Attributes:
        frame: path of the image below the root, as `frame_path` gives it.
        split: train, val or test.
        annotation: path of its lane file below the root; or the annotation itself, where the list holds it.
        file: the list, below the root; or the annotation's own file, where the folder is the list.
        line: line of the list, from 1; None where there is no list.
        scenario: category of a test frame, if it has one.
        existence: flags of the four slots, if the list states them.
    """

    frame: str
    split: str
    annotation: str | bytes
    file: str
    line: int | None
    scenario: str | None = None
    existence: tuple[bool, ...] | None = None


class DatasetReader(Protocol):
    """A kind of data set; a module with these two functions is one."""

    def list_frames(self, root: Path, rejected: list[Rejected | Note]) -> list[FrameEntry]:
        """Every listed frame, train, val, test, each split in the order of its list, each frame once a split.

        Lines that cannot be used go to `rejected`, and what is worth knowing of the others, as a `Note`.
        Neither frames nor lane files are read.

        Raises:
            LgadError: a list without which the data set makes no sense is missing.
        """
        ...

    def parse_annotation(self, annotation: bytes) -> list[np.ndarray]:
        """Lanes of one annotation: float32 (N, 2) each, (x, y) in frame pixels.

        Raises:
            AnnotationError: the annotation cannot be used.
        """
        ...


class AnnotationError(LgadError):
    """An annotation that cannot be used; the sentence leaves the file's name to the caller."""

    def __init__(self, reason: str, line: int | None = None):
        super().__init__(reason)
        self.line = line


def frame_path(text: str) -> str:
    """A listed path in the form of the frames table: below the root, with slashes, no leading one.

    Raises:
        ValueError: it names no image below the root; the text is the reason to report.
    """
    frame = relative_frame(text)
    if PurePosixPath(frame).suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(
            f"names no {', '.join(IMAGE_SUFFIXES)} file but {frame}; name a frame below the root"
        )
    return frame


def points(pairs: Iterable) -> np.ndarray:
    """Coordinates as data files have them: float32 (N, 2) as (x, y), pixels.

    Raises:
        AnnotationError: they are not pairs of numbers, or too far away to be meant.
    """
    try:
        found = np.array([[float(x), float(y)] for x, y in pairs], np.float64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError) as error:
        raise AnnotationError("has a line that is not made of x y pairs; correct it") from error
    if not (np.abs(found) <= MAX_COORDINATE).all():  # so is NaN
        raise AnnotationError("has a point that is no place near a frame; correct it")
    return found.astype(np.float32)


def held_out(entries: Sequence[FrameEntry], group: Callable[[FrameEntry], str]) -> list[FrameEntry]:
    """Training entries with every tenth group of them, by name, as validation entries behind the others.

    Frames of a group look alike, so a group is never divided.
    """
    groups = set(sorted({group(entry) for entry in entries})[1::10])
    train = [entry for entry in entries if group(entry) not in groups]
    return train + [replace(entry, split="val") for entry in entries if group(entry) in groups]


def counted(number: int, thing: str) -> str:
    """`1 line`, `2 lines`."""
    return f"{number} {thing}{'s' * (number != 1)}"


class Repeats:
    """Counts the lines of lists that name a frame again."""

    def __init__(self) -> None:
        self._lists: dict[str, list[str]] = {}

    def add(self, file: str, line: int, frame: str) -> None:
        """Count a line of the list `file`."""
        self._lists.setdefault(file, []).append(f"{frame} in line {line}")

    def notes(self, consequence: str) -> list[Note]:
        """A note for each list that has such lines, with what becomes of them."""
        return [
            Note(
                file, None, f"names {counted(len(found), 'frame')} again, the first {found[0]}; {consequence}"
            )
            for file, found in self._lists.items()
        ]
