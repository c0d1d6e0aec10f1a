"""Lists of frames: the one parser of every command and reader.

A line is `frame`, or `frame label_map 0 1 1 0` as in CULane's `train_gt.txt`, or has other columns behind
the frame. Lists come from many programs, so byte order marks, UTF-16, any line ending, backslashes, spaces
in names, tabs, commas and quotes are read as they are meant.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

from lgad_pipeline.lanes.lane_files import Rejected, lane_file
from lgad_pipeline.lanes.text_lines import numbered_lines

_LINE_LIMIT = 4096  # bytes; the longest path that Linux takes
_SHOWN = 120  # characters of an entry in a reason

# Also formats that the readers refuse, so that they can name the frame.
_IMAGE_END = re.compile(
    r"\.(?:jpe?g|png|bmp|webp|tiff?|gif|ppm|pgm|jp2|heic|avif)(?=[\s,;]|$)", re.IGNORECASE
)
_QUOTED = re.compile(r'"([^"]+)"')
_LABEL_MAP = re.compile(r'[\s,;]+"?([^,;"]*?\.png)"?(?=[\s,;]|$)', re.IGNORECASE)
_FLAGS = re.compile(r"(?:[\s,;]+[01])+$")
_LANES_SUFFIX = ".lines.txt"
_REFUSED = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories: control, format, surrogate, line, paragraph
_JOINERS = "\u200c\u200d"  # format characters that names in some scripts need


class ListedFrame(NamedTuple):
    """One entry of a list.

    Attributes:
        frame: POSIX path relative to the root.
        line: from 1.
        flags: existence flags, each 0 or 1, as many as the line states; None where it states none.
        label_map: path of the label map relative to the root, as the line states it; None where it does not.
    """

    frame: str
    line: int
    flags: tuple[int, ...] | None = None
    label_map: str | None = None


@dataclass(frozen=True)
class FrameList:
    """What a list names.

    Attributes:
        entries: each frame once, in the order of the list.
        rejected: lines that name no frame below the root, with the reason.
        repeats: lines that name a frame again, with the reason; the first of them counts.
    """

    entries: list[ListedFrame]
    rejected: list[Rejected]
    repeats: list[Rejected]

    @property
    def frames(self) -> list[str]:
        """The frames alone."""
        return [entry.frame for entry in self.entries]

    @property
    def repeated(self) -> int:
        """Number of lines that name a frame again."""
        return len(self.repeats)


def read_frame_list(path: Path, root: Path) -> FrameList:
    """Read a list of frames; an empty one is allowed.

    Args:
        path: the list.
        root: folder that the frames are relative to. A leading `/` stands for it, as in CULane's lists;
            absolute paths of files below it are made relative.

    Raises:
        LaneFileError: the list cannot be read, is a broken UTF-16 text, or has too many lines.
    """
    roots = _absolute(root)
    first: dict[str, int] = {}
    entries: list[ListedFrame] = []
    rejected: list[Rejected] = []
    repeats: list[Rejected] = []
    for number, line in numbered_lines(path, _LINE_LIMIT):
        try:
            entry = _entry(line, number, root, roots)
        except ValueError as error:
            rejected.append(Rejected(str(path), number, str(error)))
            continue
        before = first.setdefault(entry.frame, number)
        if before != number:
            reason = f"repeats {entry.frame} of line {before}; take one of the two lines out"
            repeats.append(Rejected(str(path), number, reason))
            continue
        entries.append(entry)
    return FrameList(entries, rejected, repeats)


def relative_frame(text: str, roots: tuple[str, ...] = ()) -> str:
    """A path as lists and annotations state it, as a POSIX path relative to the root.

    Args:
        text: with slashes or backslashes; a leading one stands for the root.
        roots: spellings of the absolute root, each ending in `/`; a path below one of them loses it.

    Raises:
        ValueError: it leads out of the root, or is no printable text; the message is the reason to report.
    """
    shown = ascii(text[:_SHOWN])
    path = text.replace("\\", "/")
    if not path.isprintable() and any(map(_is_refused, path)):
        raise ValueError(f"{shown} holds control characters; write the path as plain text")
    for root in roots:
        if path.startswith(root):
            path = path[len(root) :]
            break
    if path[1:3] == ":/":
        raise ValueError(f"{shown} is a path of a Windows drive; write it relative to the data root")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError(f"{shown} names no file; name a frame below the data root")
    if ".." in parts:
        raise ValueError(f"{shown} leads out of the data root; name a frame below it")
    return "/".join(parts)


def _is_refused(character: str) -> bool:
    return category(character) in _REFUSED and character not in _JOINERS


def _absolute(root: Path) -> tuple[str, ...]:
    spellings = dict.fromkeys((str(root.absolute()), os.path.realpath(root)))
    return tuple(f"{spelling}/" for spelling in spellings if spelling != "/")


def _entry(line: bytes, number: int, root: Path, roots: tuple[str, ...]) -> ListedFrame:
    """The entry of a line.

    Raises:
        ValueError: the line names no frame below the root; the message is the reason to report.
    """
    if len(line) > _LINE_LIMIT:
        raise ValueError(f"is longer than {_LINE_LIMIT} bytes; write one frame path a line")
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8; rename the frame and write the list as UTF-8") from error
    frame, rest = _split(text, root, roots)
    label_map = None
    if found := _LABEL_MAP.match(rest):
        label_map = found[1].replace("\\", "/").strip("/")
        rest = rest[found.end() :]
    flags = _FLAGS.fullmatch(rest)
    return ListedFrame(
        relative_frame(frame, roots),
        number,
        tuple(map(int, re.findall("[01]", rest))) if flags else None,
        label_map,
    )


def _split(line: str, root: Path, roots: tuple[str, ...]) -> tuple[str, str]:
    """The frame of a line, and what stands behind it."""
    if quoted := _QUOTED.match(line):
        return quoted[1], line[quoted.end() :]
    ends = [found.end() for found in _IMAGE_END.finditer(line)]
    if not ends:  # a frame without an ending, or named by its lane file
        bare = _FLAGS.sub("", line)
        return bare.removesuffix(_LANES_SUFFIX), line[len(bare) :]
    chosen = ends[0]
    # `a.jpg l/a.png 0 1` is a frame with its label map; `a.jpg copy.jpg` may be one name: the files tell.
    if len(ends) > 1 and not _is_label_map(line[chosen:]):
        chosen = next((end for end in ends[::-1] if _is_there(root, line[:end], roots)), chosen)
    return line[:chosen], line[chosen:]


def _is_label_map(rest: str) -> bool:
    found = _LABEL_MAP.match(rest)
    return bool(found and (not rest[found.end() :] or _FLAGS.fullmatch(rest[found.end() :])))


def _is_there(root: Path, text: str, roots: tuple[str, ...]) -> bool:
    try:
        frame = relative_frame(text, roots)
        return (root / frame).is_file() or lane_file(root, frame).is_file()
    except (OSError, ValueError):
        return False
