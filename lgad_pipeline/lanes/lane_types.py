"""Types of lane lines, such as "dashed white": their text form, and the files next to lane files.

The file `X.types.txt` belongs to the lane file `X.lines.txt`: a line for each lane, in the same order, with
the words of its type; an empty line is a lane of unknown type. Without the file no type is known.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.config.lane_types import LONGEST_TYPE
from lgad_pipeline.lanes.lane_files import LaneFileError, read_bytes
from lgad_pipeline.lanes.text_encoding import plain_text
from lgad_pipeline.wording import counted

_LANES, _TYPES = ".lines.txt", ".types.txt"


def lane_type(words: Iterable[str]) -> str:
    """Return a type as text: printable words in lower case, each once, with one space between them.

    Args:
        words: words as annotated, such as a style and a colour; empty ones are left out.

    Example:
        >>> lane_type(["Dashed", "", "white  line", "white"])
        'dashed white line'
    """
    text = "".join(letter if letter.isprintable() else " " for letter in " ".join(words).lower())
    return " ".join(dict.fromkeys(text.split()))[:LONGEST_TYPE].strip()


class NamedType(NamedTuple):
    """Annotated type under the names of a data set.

    Attributes:
        name: the name that it has; empty if it is unknown.
        reason: reason why it is unknown; empty if it has a name.
    """

    name: str
    reason: str


def named_type(annotated: str, names: Sequence[str]) -> NamedType:
    """Find the name of an annotated type: the one of most words whose words are all in the type.

    Args:
        annotated: type as annotated, empty if it is unknown.
        names: names of types, such as those of `lane_types` of a data set.

    Example:
        >>> named_type("dashed white", ["solid", "dashed"]).name
        'dashed'
        >>> named_type("dashed white", ["dashed", "white"]).reason
        'dashed and white fit'
    """
    if not annotated:
        return NamedType("", "not annotated")
    words = set(annotated.split())
    fitting = [name for name in names if words.issuperset(name.split())]
    most = max((len(name.split()) for name in fitting), default=0)
    best = [name for name in fitting if len(name.split()) == most]
    if len(best) == 1:
        return NamedType(best[0], "")
    return NamedType("", f"{' and '.join(best)} fit" if best else "no name fits")


def types_file(lane_file: str) -> str | None:
    """Return the path of the types of a lane file; None if its name does not end in `.lines.txt`."""
    return f"{lane_file.removesuffix(_LANES)}{_TYPES}" if lane_file.endswith(_LANES) else None


def parse_types(content: bytes, *, lanes: int) -> tuple[str, ...]:
    """Parse the content of a file of types: the type of each lane, empty where it is unknown.

    Args:
        content: bytes of the file.
        lanes: number of lines of the lane file.

    Raises:
        ValueError: the content is not a text, or has another number of lines; the message is the reason.
    """
    try:
        lines = plain_text(content).decode().split("\n")
    except UnicodeError as error:
        raise ValueError("is not a text in UTF-8; save it as UTF-8") from error
    if not lines[-1]:
        lines.pop()
    if len(lines) != lanes:
        raise ValueError(
            f"has {counted(len(lines), 'line')} for {counted(lanes, 'lane')}; give each lane a line, empty "
            "where its type is unknown"
        )
    return tuple(lane_type([line]) for line in lines)


def read_types(lane_file: Path, *, lanes: int) -> tuple[str, ...] | None:
    """Read the types of a lane file; None if there is no file of types.

    Args:
        lane_file: path of the lane file.
        lanes: number of its lines.

    Raises:
        LaneFileError: the file of types is not a text, or has another number of lines.
    """
    path = types_file(str(lane_file))
    if path is None or not Path(path).is_file():
        return None
    try:
        return parse_types(read_bytes(Path(path)), lanes=lanes)
    except ValueError as error:
        raise LaneFileError(f"{path} {error}.") from error


def types_text(types: Iterable[str]) -> str:
    """Return the content of a file of types: the type of each lane, empty where it is unknown."""
    return "".join(f"{name}\n" for name in types)


def write_types(lane_file: Path, types: Sequence[str]) -> None:
    """Write the types of a lane file next to it, unless no type is known.

    Args:
        lane_file: path of the lane file, which ends in `.lines.txt`.
        types: type of each lane, empty where it is unknown.
    """
    path = types_file(str(lane_file))
    if path is not None and any(types):
        write_text(Path(path), types_text(types), durable=False)


def remove_types(lane_file: Path) -> None:
    """Remove the file of types of a lane file, if there is one."""
    path = types_file(str(lane_file))
    if path is not None:
        Path(path).unlink(missing_ok=True)
