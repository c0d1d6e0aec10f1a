"""Journal of a directory of predictions: which files `lgad predict` wrote, and of which frame or video."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lgad_pipeline.errors import LgadError, os_fault

JOURNAL = "predictions.jsonl"
LANE_FILE, TYPE_FILE = ".lines.txt", ".types.txt"
PICTURE, JSON_LINES, VIDEO = ".lanes.jpg", ".lanes.jsonl", ".lanes.mp4"
"""Endings of the results."""

_ENDINGS = (LANE_FILE, TYPE_FILE, PICTURE, JSON_LINES, VIDEO)


def read_journal(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Read the entries by file name, in their order; a last line that a kill truncated is left out.

    A file has several entries if a run was killed: the file is of the last one, or still of one before.

    Raises:
        LgadError: the file is not a journal of predictions.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise os_fault(error, path) from error
    except UnicodeDecodeError as error:
        raise _no_journal(path) from error
    entries: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            name, stem, frame = entry["file"], entry["stem"], entry["frame"]
            if name.removeprefix(stem) not in _ENDINGS or not _is_inside([stem, frame]):
                raise ValueError(name)
            read = {key: str(entry[key]) for key in ("file", "frame", "stem", "digest", "model")}
            entries.setdefault(name, []).append(read | {"source": str(entry.get("source", ""))})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            if number < len(lines):
                raise _no_journal(path) from error
    return entries


def _is_inside(names: Iterable[str]) -> bool:
    """Return True if no name leads out of the directory; a foreign journal must not remove other files."""
    return all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in names)


def _no_journal(path: Path) -> LgadError:
    return LgadError(
        f"{path} is not a journal that lgad predict wrote; name another output folder, or move the file away."
    )
