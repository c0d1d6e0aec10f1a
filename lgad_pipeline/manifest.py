"""Manifest of written files: size, modification time and digest, to detect missing and changed files."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TypedDict

_CHUNK = 1 << 20


class FileEntry(TypedDict):
    """State of one file in a manifest.

    Attributes:
        size: length of the file in bytes.
        modified: modification time in nanoseconds since 1970.
        digest: BLAKE2b-128 digest of the content, hexadecimal.
    """

    size: int
    modified: int
    digest: str


Manifest = dict[str, FileEntry]
"""File entries by POSIX path relative to the folder of the manifest; can be written as JSON."""


def manifest_of(folder: Path, files: Iterable[Path]) -> Manifest:
    """Create the manifest of files below a folder.

    Args:
        folder: Directory that the paths in the manifest are relative to.
        files: Existing files below it; a directory includes all files below it that are not hidden.
    """
    listed = {
        path.relative_to(folder).as_posix(): path
        for start in files
        for path in ([start] if not start.is_dir() else start.rglob("*"))
        if path.is_file() and not path.name.startswith(".")  # hidden: locks and temporary files
    }
    return {name: _entry(path) for name, path in sorted(listed.items())}


def changed_files(
    folder: Path, manifest: Mapping[str, FileEntry], *, absent_ok: bool = False
) -> dict[Path, str]:
    """Return the files that differ from their manifest, each with a sentence; an empty dict if none differs.

    A file with the same size and modification time is not opened. A file with another time (restored from a
    backup, copied) is read and compared by its digest.

    Args:
        folder: Directory that the paths in the manifest are relative to.
        manifest: Result of `manifest_of` when the files were written.
        absent_ok: Accept missing files, for files that are fetched again when they are needed.
    """
    reasons = {}
    for name, entry in manifest.items():
        path = folder / name
        try:
            status = path.stat()
            if status.st_size != entry["size"]:
                reasons[path] = f"{path} has {status.st_size} bytes where {entry['size']} were written."
            elif status.st_mtime_ns != entry["modified"] and _digest(path) != entry["digest"]:
                reasons[path] = f"{path} has been changed."
        except FileNotFoundError:
            if not absent_ok:
                reasons[path] = f"{path} is missing."
        except (OSError, KeyError, TypeError) as error:
            reasons[path] = f"{path} cannot be compared with its manifest ({error})."
    return reasons


def manifest_faults(folder: Path, manifest: Mapping[str, FileEntry]) -> list[str]:
    """Return only the sentences of `changed_files`."""
    return list(changed_files(folder, manifest).values())


def _entry(path: Path) -> FileEntry:
    status = path.stat()
    return {"size": status.st_size, "modified": status.st_mtime_ns, "digest": _digest(path)}


def _digest(path: Path) -> str:
    digest = blake2b(digest_size=16)
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
