"""Records of unpacked archives and their members: nothing is unpacked twice, and changed files are kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.datasets.archive_files import Archive

RECORDS = ".unpacked"
"""Folder of the records below the folder that archives are unpacked into."""


def stamp_of(archive: Archive) -> list[list[int]]:
    """Return (size in bytes, modification time in ns) of each part."""
    return [[status.st_size, status.st_mtime_ns] for status in map(Path.stat, archive.paths)]


def _recorded(record: Path) -> dict[str, Any] | None:
    """Return what is recorded of an archive: stamp, members and reasons; None if nothing is."""
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return {
            "stamp": content["stamp"],
            "members": {path: int(digest) for path, digest in content["members"].items()},
            "rejected": content["rejected"],
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def completed(record: Path, stamp: list[list[int]]) -> tuple[dict[str, int], list[str]] | None:
    """Return the recorded members and reasons of a completed archive; None if it has changed since."""
    content = _recorded(record)
    return (content["members"], content["rejected"]) if content and content["stamp"] == stamp else None


def invalidate(record: Path) -> None:
    """Record that an archive is not complete; its members stay, by which changed files are recognized."""
    if content := _recorded(record):
        write_text(record, json.dumps({**content, "stamp": None}) + "\n")


def written_digests(output: Path) -> dict[str, set[int]]:
    """Return the digests that are recorded for each path below the output."""
    written: dict[str, set[int]] = {}
    for record in (output / RECORDS).glob("*.json"):
        for path, digest in (_recorded(record) or {"members": {}})["members"].items():
            written.setdefault(path, set()).add(digest)
    return written


def complete(record: Path, stamp: Any, *, members: dict[str, int], reasons: Sequence[str]) -> None:
    """Record an archive that was read to its end; without a stamp it is unpacked again by the next run."""
    write_text(record, json.dumps({"stamp": stamp, "members": members, "rejected": list(reasons)}) + "\n")
