"""Source folder of an import: its files, and reading them with or without links out of the folder."""

import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lgad_pipeline.datasets.safe_io import read_inside
from lgad_pipeline.errors import LgadError


@dataclass(frozen=True)
class Source:
    """Folder of annotations and images.

    Attributes:
        folder: directory of the annotations and images.
        follow_links: True if links to files and folders outside of `folder` are followed.
    """

    folder: Path
    follow_links: bool = False

    def __str__(self) -> str:
        return str(self.folder)

    def require(self) -> None:
        """Check that the folder exists.

        Raises:
            LgadError: it is missing, or is a file.
        """
        if self.folder.is_file():
            unpacked = (
                "unpack it and name its folder"
                if self.folder.suffix == ".zip"
                else "name the folder of the annotations"
            )
            raise LgadError(f"{self} is a file; {unpacked}.")
        if not self.folder.is_dir():
            raise LgadError(f"The folder {self} is missing; name the folder of the annotations.")

    def read(self, name: str, *, limit: int) -> bytes:
        """Read a file.

        Args:
            name: path of the file relative to the folder.
            limit: maximum size of the file, bytes.

        Raises:
            FileNotFoundError: there is no such file.
            LgadError: see `safe_io.read_inside`.
        """
        return read_inside(self.folder, name, limit=limit, follow_links=self.follow_links)

    def files(self, *endings: str) -> list[str]:
        """List the files below the folder; hidden files and folders are left out.

        Args:
            endings: suffixes in lower case, such as `.json`; none: files with any suffix.

        Returns:
            Paths relative to the folder, sorted.

        Raises:
            OSError: a folder cannot be read.
        """
        return sorted(
            posixpath.normpath(posixpath.join(folder.relative_to(self.folder).as_posix(), name))
            for folder, _, names in self._walk()
            for name in names
            if not name.startswith(".") and (not endings or posixpath.splitext(name)[1].lower() in endings)
        )

    def skipped_link(self) -> str | None:
        """Return the path of a linked folder below the folder that is not followed; None without any."""
        if self.follow_links:
            return None
        linked = (folder / name for folder, folders, _ in self._walk() for name in folders)
        return next((path.relative_to(self.folder).as_posix() for path in linked if path.is_symlink()), None)

    def _walk(self) -> Iterator[tuple[Path, list[str], list[str]]]:
        """Yield each folder that is read, with the names of its folders that are not hidden and of its files.

        Raises:
            OSError: a folder cannot be read.
        """

        def refuse(error: OSError) -> None:
            raise error

        seen = set()
        for folder, folders, names in os.walk(self.folder, onerror=refuse, followlinks=self.follow_links):
            if self.follow_links:
                # A link to a folder above it would be followed without end.
                if (place := os.path.realpath(folder)) in seen:
                    folders.clear()
                    continue
                seen.add(place)
            folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
            yield Path(folder), folders, names

    def hint(self, remedies: dict[str, str]) -> str:
        """Return a hint for a folder that contains files of another kind; empty if it contains none of them.

        Args:
            remedies: suffix -> what the user has to do with files of this suffix.
        """
        for ending, remedy in remedies.items():
            if self.files(ending):
                return f"; it holds {ending} files: {remedy}"
        return ""
