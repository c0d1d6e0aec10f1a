"""Manifest of written files: size, time of change and digest, to notice later that one is gone or changed."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import TypedDict

_CHUNK = 1 << 20


class FileEntry(TypedDict):
    """One file of a manifest.

    Attributes:
        size: length in bytes.
        modified: time of change, nanoseconds since 1970.
        digest: BLAKE2b-128 of the content, hexadecimal.
    """

    size: int
    modified: int
    digest: str


Manifest = dict[str, FileEntry]
"""Entries by POSIX path below the folder that the manifest is of; ready to be written as JSON."""


def manifest_of(folder: Path, files: Iterable[Path]) -> Manifest:
    """Read files below a folder and note their state.

    Args:
        folder: Directory that the paths in the manifest are relative to.
        files: Existing files below it; a directory stands for all files below it that are not hidden.
    """
    found = {
        path.relative_to(folder).as_posix(): path
        for start in files
        for path in ([start] if not start.is_dir() else start.rglob("*"))
        if path.is_file() and not path.name.startswith(".")  # locks, files that are being written
    }
    return {name: _entry(path) for name, path in sorted(found.items())}


def changed_files(
    folder: Path, manifest: Mapping[str, FileEntry], *, absent_ok: bool = False
) -> dict[Path, str]:
    """Return the files that are no longer what their manifest says, each with a sentence; none if all are.

    A file of the same size and time of change is not opened. One with another time (restored from a backup,
    copied) is read and compared by its digest.

    Args:
        folder: Directory that the paths in the manifest are relative to.
        manifest: What `manifest_of` returned when the files were written.
        absent_ok: True where a missing file is fetched again when it is needed.
    """
    found = {}
    for name, entry in manifest.items():
        path = folder / name
        try:
            status = path.stat()
            if status.st_size != entry["size"]:
                found[path] = f"{path} has {status.st_size} bytes where {entry['size']} were written."
            elif status.st_mtime_ns != entry["modified"] and _digest(path) != entry["digest"]:
                found[path] = f"{path} has been changed."
        except FileNotFoundError:
            if not absent_ok:
                found[path] = f"{path} is missing."
        except (OSError, KeyError, TypeError) as error:
            found[path] = f"{path} cannot be compared with its manifest ({error})."
    return found


def manifest_faults(folder: Path, manifest: Mapping[str, FileEntry]) -> list[str]:
    """Return the sentences of `changed_files`."""
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
