"""Parser of frame lists, for all commands and data set readers.

A line is `frame`, or `frame label_map 0 1 1 0` as in CULane's `train_gt.txt`, or has other columns after the
frame. Lists come from many programs, so byte order marks, UTF-16, any line ending, backslashes, spaces in
names, tabs, commas and quotes are accepted. A name may have another Unicode form than its file, as between
macOS and Linux; the entry then has the form of the file.
"""

import os
import posixpath
import re
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from unicodedata import category

from lgad_pipeline.lanes.file_names import LONGEST_NAME, is_file, stored_name
from lgad_pipeline.lanes.lane_files import Rejected, find_lane_file, frame_stem
from lgad_pipeline.lanes.text_lines import numbered_lines

_LINE_LIMIT = 4096  # bytes; the longest path of Linux
_SHOWN = 120  # greatest number of characters of an entry in a message
_SEVERAL = "names more than one frame; write one frame path a line"

# These include formats that the readers reject, so that their message can name the frame.
_IMAGE_END = re.compile(
    r"\.(?:jpe?g|png|bmp|webp|tiff?|gif|ppm|pgm|jp2|heic|avif)(?=[\s,;]|$)", re.IGNORECASE
)
_QUOTED = re.compile(r"""(["'])((?:(?!\1).)+)\1(?=[\s,;]|$)""")
_LABEL_MAP = re.compile(r'[\s,;]+"?([^,;"]*?\.png)"?(?=[\s,;]|$)', re.IGNORECASE)
_LAST_FLAG = re.compile(r"[\s,;]+[01]$")
_FLAGS = re.compile(r"(?:[\s,;]+[01])+$")
_LANES_SUFFIX = ".lines.txt"
_CONTROL_CATEGORIES = (
    "Cc",
    "Cf",
    "Cs",
    "Zl",
    "Zp",
)  # Unicode categories: control, format, surrogate, line, paragraph
_ENCODINGS = {  # of lists that are not UTF-8, by the name to report
    "GBK": "gb18030",
    "Shift-JIS": "cp932",
    "Big5": "big5hkscs",
    "EUC-KR": "cp949",
    "Windows-1252 (Latin-1)": "cp1252",
    "Windows-1251": "cp1251",
}
_JOINERS = "\u200c\u200d"  # format characters that names in some scripts need


class ListedFrame(NamedTuple):
    """One entry of a list.

    Attributes:
        frame: POSIX path of the frame relative to the root.
        line: number of the line, from 1.
        flags: existence flags of the line, each 0 or 1; None if the line has none.
        label_map: path of the label map relative to the root, as in the line; None if the line has none.
    """

    frame: str
    line: int
    flags: tuple[int, ...] | None = None
    label_map: str | None = None


@dataclass(frozen=True)
class FrameList:
    """Content of a frame list.

    Attributes:
        entries: entry of each frame, once, in the order of the list.
        rejected: lines that name no frame below the root, with the reason.
        repeats: lines that repeat a frame, with the reason; the first line of a frame is its entry.
    """

    entries: list[ListedFrame]
    rejected: list[Rejected]
    repeats: list[Rejected]

    @property
    def frames(self) -> list[str]:
        """Paths of the frames relative to the root."""
        return [entry.frame for entry in self.entries]

    @property
    def repeated(self) -> int:
        """Number of lines that repeat a frame."""
        return len(self.repeats)


def read_frame_list(path: Path, root: Path) -> FrameList:
    """Read a list of frames; it may be empty.

    Args:
        path: list file.
        root: folder that the frames are relative to. A leading `/` means this folder, as in CULane's lists;
            absolute paths of files below it become relative.

    Raises:
        LaneFileError: the list cannot be read, is invalid UTF-16, or has too many lines.
    """
    roots = absolute_roots(root)
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
    """Convert a path of a list or an annotation file to a POSIX path relative to the root.

    Args:
        text: path with slashes or backslashes; a leading one means the root.
        roots: spellings of the absolute root, each ending in `/`, which are removed from the beginning of
            paths.

    Raises:
        ValueError: the path leads out of the root or has control characters; the message is the reason to
            report.
    """
    path = text.replace("\\", "/")
    if not path.isprintable() and any(map(_is_control, path)):
        raise ValueError(f"{text[:_SHOWN]!a} holds control characters; write the path as plain text")
    for root in roots:
        if path.startswith(root):
            path = path[len(root) :]
            break
    if path[1:3] == ":/":
        raise ValueError(
            f"{text[:_SHOWN]!a} is a path of a Windows drive; write it relative to the data root"
        )
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        raise ValueError(f"{text[:_SHOWN]!a} names no file; name a frame below the data root")
    if len(path.encode()) > LONGEST_NAME and any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise ValueError(f"{text[:_SHOWN]!a} has a name of more than {LONGEST_NAME} bytes; rename the file")
    if ".." in parts:
        if not posixpath.normpath("/".join(parts)).startswith(".."):
            raise ValueError(f"{text[:_SHOWN]!a} has a part '..'; write the path without it")
        raise ValueError(f"{text[:_SHOWN]!a} leads out of the data root; name a frame below it")
    return "/".join(parts)


def _is_control(character: str) -> bool:
    """Return true for control characters other than the joiners that names in some scripts need."""
    return category(character) in _CONTROL_CATEGORIES and character not in _JOINERS


def absolute_roots(root: Path) -> tuple[str, ...]:
    """Return the spellings of the absolute root, with links and resolved, each ending in `/`."""
    spellings = dict.fromkeys((str(root.absolute()), os.path.realpath(root)))
    return tuple(f"{spelling}/" for spelling in spellings if spelling != "/")


def _entry(line: bytes, number: int, root: Path, roots: tuple[str, ...]) -> ListedFrame:
    """Parse one line.

    Args:
        line: content of the line, UTF-8.
        number: number of the line, from 1.
        root: folder that the frames are relative to.
        roots: spellings of the absolute root, each ending in `/`.

    Raises:
        ValueError: the line names no frame below the root; the message is the reason to report.
    """
    if len(line) > _LINE_LIMIT:
        raise ValueError(f"is longer than {_LINE_LIMIT} bytes; write one frame path a line")
    try:
        text = line.decode().strip()
    except UnicodeDecodeError as error:
        raise ValueError(_foreign_encoding(line, root, roots)) from error
    frame, rest = _split(text, root, roots)
    if text.startswith("#") and not _exists(root, frame, roots):
        raise ValueError(f"{text[:_SHOWN]!a} names no file; a list has no comments, take the line out")
    label_map = None
    if match := _LABEL_MAP.match(rest):
        label_map = match[1].replace("\\", "/").strip("/")
        rest = rest[match.end() :]
    flags = _FLAGS.fullmatch(rest)
    name = _stored(root, relative_frame(frame, roots))
    if match and not flags and _is_other_frame(root, match[1], roots, frame=name):
        raise ValueError(_SEVERAL)
    return ListedFrame(
        name,
        number,
        tuple(int(flag) for flag in rest if flag in "01") if flags else None,
        label_map,
    )


def _stored(root: Path, frame: str) -> str:
    """Return a frame in the Unicode form of its image, else of its lane file; unchanged without both."""
    if frame.isascii():
        return frame
    stem = frame_stem(frame)
    for base, suffix in ((frame, ""), (frame, _LANES_SUFFIX), (stem, _LANES_SUFFIX)):
        stored = stored_name(root, base + suffix)
        if is_file(root / stored):
            return stored.removesuffix(suffix) + frame[len(base) :]
    return frame


def _foreign_encoding(line: bytes, root: Path, roots: tuple[str, ...]) -> str:
    """Return the reason to reject a line that is not UTF-8, with the encoding in which its file exists."""
    for name, encoding in _ENCODINGS.items():
        try:
            frame, _ = _split(line.decode(encoding).strip(), root, roots)
        except ValueError:  # of which UnicodeDecodeError is one
            continue
        if _exists(root, frame, roots):
            return f"is written in {name}, not in UTF-8; save the list as UTF-8"
    return (
        "is not UTF-8 (perhaps GBK or Latin-1); save the list as UTF-8, and rename frames that are not UTF-8"
    )


def _split(line: str, root: Path, roots: tuple[str, ...]) -> tuple[str, str]:
    """Split a line into the frame and the columns after it."""
    if quoted := _QUOTED.match(line):
        return quoted[2], line[quoted.end() :]
    ends = [match.end() for match in _IMAGE_END.finditer(line)]
    if not ends:  # a frame without an ending, or the name of a lane file
        bare = _without_flags(line, root, roots)
        return bare.removesuffix(_LANES_SUFFIX), line[len(bare) :]
    chosen = ends[0]
    # `a.jpg l/a.png 0 1` is a frame with its label map. `a.jpg copy.jpg` may be one name with a space, so the
    # longest name of an existing file is the frame.
    if len(ends) > 1 and not _is_label_map(line[chosen:]):
        chosen = next((end for end in ends[::-1] if _exists(root, line[:end], roots)), chosen)
        ending = line[:chosen].rpartition(".")[2]
        words = re.split(r"[\s,;]+", line[chosen:])
        if any(word.endswith(f".{ending}") and _exists(root, word, roots) for word in words):
            raise ValueError(_SEVERAL)
    return line[:chosen], line[chosen:]


def _without_flags(line: str, root: Path, roots: tuple[str, ...]) -> str:
    """Return the longest name of an existing file, such as `frame 0`, else the line without its flags."""
    names = [line]
    while last := _LAST_FLAG.search(names[-1]):
        names.append(names[-1][: last.start()])
    existing = (name for name in names[:-1] if _exists(root, name.removesuffix(_LANES_SUFFIX), roots))
    return next(existing, names[-1])


def _is_label_map(rest: str) -> bool:
    """Return true if the columns after a frame are a label map with or without existence flags."""
    match = _LABEL_MAP.match(rest)
    return bool(match and (not rest[match.end() :] or _FLAGS.fullmatch(rest[match.end() :])))


def _is_other_frame(root: Path, text: str, roots: tuple[str, ...], *, frame: str) -> bool:
    """Return true if a PNG name after a frame is another frame, not the frame's label map.

    A frame has a lane file of its own, or is a picture in colours in the folder of the first frame.
    """
    try:
        other = relative_frame(text, roots)
    except ValueError:
        return False
    lanes = find_lane_file(root, other)
    if is_file(lanes):
        return lanes != find_lane_file(root, frame)
    if posixpath.dirname(other) != posixpath.dirname(frame) or frame_stem(other) == frame_stem(frame):
        return False
    try:
        with (root / stored_name(root, other)).open("rb") as file:
            return file.read(26)[25:] in (b"\2", b"\6")  # types of PNG: colours, without and with opacity
    except OSError:
        return False


def _exists(root: Path, text: str, roots: tuple[str, ...]) -> bool:
    """Return true if the frame or its lane file exists."""
    try:
        frame = relative_frame(text, roots)
    except ValueError:
        return False
    return is_file(root / stored_name(root, frame)) or is_file(find_lane_file(root, frame))
