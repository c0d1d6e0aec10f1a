"""Paths of files that a list names: below a root, in another Unicode form of accents, in another case."""

import unicodedata
from pathlib import Path, PurePosixPath

from lgad_pipeline.errors import LgadError

LONGEST_NAME = 220
"""Greatest length of a frame's name, bytes.

File systems allow 255; the rest is for `.lines.txt` and for the name of a temporary file.
"""

_FORMS = ("NFC", "NFD")  # Linux and Windows keep the form of the keyboard, NFC; macOS often writes NFD


def resolve_inside(root: Path, relative: str) -> Path:
    """Join a relative path to a root; leading slashes of the relative path are ignored.

    Args:
        root: folder that the result must be below.
        relative: path relative to `root`, POSIX.

    Raises:
        LgadError: `relative` leads out of `root`.
    """
    inside = relative.lstrip("/")
    if not inside or ".." in inside.split("/"):
        raise LgadError(f"{relative!r} leads out of {root}; name a file below it.")
    return root / inside


def stored_name(root: Path, name: str) -> str:
    """Return the spelling of an existing file that differs from `name` in the Unicode form of accents alone.

    Args:
        root: directory that `name` is relative to.
        name: path as a list states it, POSIX.

    Returns:
        The path in the spelling of the file system; `name` itself if it exists, or if nothing does.
    """
    if name.isascii():
        return name
    stored = ""
    for part in PurePosixPath(name).parts:
        for spelling in (part, *(unicodedata.normalize(form, part) for form in _FORMS)):
            if _exists(root / stored / spelling):
                stored = f"{stored}/{spelling}" if stored else spelling
                break
        else:
            return name
    return stored


class OtherCase:
    """Search for files whose names differ in upper and lower case from the stated ones.

    Args:
        root: directory that the names are relative to; each folder below it is listed once.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """Return the path of the file below the root that `name` means; None if there is none.

        Args:
            name: path of a file that does not exist, relative to the root, POSIX.
        """
        found = self._root
        for part in PurePosixPath(name).parts:
            exists = _exists(found / part)
            stored = part if exists else self._names(found).get(_key(part))
            if stored is None or (stored == part and not exists):  # the latter is a link to a missing file
                return None
            found = found / stored
        return found.relative_to(self._root).as_posix()

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._folders:
            try:
                self._folders[folder] = {_key(path.name): path.name for path in folder.iterdir()}
            except OSError:
                self._folders[folder] = {}
        return self._folders[folder]


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def is_file(path: Path) -> bool:
    """Return true if a path is a file; false also for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name that is too long, or holds a zero byte
        return False
