"""Archives in a folder of downloads: groups of parts, and a reader of the parts as one file."""

import io
import re
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

_NAME = re.compile(
    r"(?P<name>.+\.(?:tar\.gz|tgz|tar|zip))(?:\.?(?:part[-_.]?)?(?P<part>[a-z]{2}|\d{1,3}))?", re.I
)
_UNFINISHED = (".crdownload", ".part", ".partial", ".download", ".opdownload")
_FOREIGN = (".7z", ".rar", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".z01")


class Archive(NamedTuple):
    """An archive in a folder.

    Attributes:
        name: file name; for an archive in parts, the common name followed by `.*`.
        paths: paths of its parts in order; one path if the archive is whole.
        fault: reason why it cannot be read; empty if it can.
    """

    name: str
    paths: tuple[Path, ...]
    fault: str = ""


def archives_in(folder: Path) -> list[Archive]:
    """List the archives of a folder by name, the parts of an archive joined, `annotations*` last.

    CULane's `annotations_new.tar.gz` corrects lane files next to the frames, so it has to be unpacked last.
    """
    groups: dict[str, dict[int, Path]] = {}
    archives = []
    for path in sorted(folder.iterdir()):
        name = path.name.lower()
        if path.name.startswith(".") or not path.is_file():
            continue
        if name.endswith(_UNFINISHED):
            archives.append(
                Archive(path.name, (path,), "is a download that was not finished; download it again")
            )
        elif name.endswith(_FOREIGN):
            archives.append(
                Archive(path.name, (path,), "is not a tar, gzip or zip file; unpack it with its own program")
            )
        elif matched := _NAME.fullmatch(path.name):
            if matched["part"]:
                groups.setdefault(matched["name"], {})[_place(matched["part"].lower())] = path
            else:
                archives.append(Archive(path.name, (path,)))
    archives += [_joined(name, parts) for name, parts in groups.items()]
    return sorted(archives, key=lambda archive: (corrects_others(archive.name), archive.name))


def corrects_others(name: str) -> bool:
    """Return True for an archive whose lane files replace those of other archives: `annotations*`."""
    return name.startswith("annotations")


def _place(part: str) -> int:
    """Return the number of a part from its suffix: digits (`01`), or two letters as `split` writes them."""
    return int(part) if part.isdigit() else 26 * (ord(part[0]) - ord("a")) + ord(part[1]) - ord("a")


def _joined(name: str, parts: dict[int, Path]) -> Archive:
    numbers = sorted(parts)
    paths = tuple(parts[number] for number in numbers)
    gaps = set(range(min(numbers[0], 1), numbers[-1])) - set(numbers) - {0}
    if gaps or numbers[0] > 1:
        missing = min(gaps, default=1)
        fault = f"lacks part {missing} of its parts; download that into the same folder"
        return Archive(f"{name}.*", paths, fault)
    return Archive(f"{name}.*", paths)


class Parts(io.RawIOBase):
    """Read-only stream over the parts of one archive, concatenated in order."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._ends = list(accumulate(path.stat().st_size for path in paths))
        self._at, self._open, self._stream = 0, -1, io.BytesIO()

    @property
    def size(self) -> int:
        """Total size of all parts, bytes."""
        return self._ends[-1]

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position in bytes from the start of the first part."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position and return it, as `io.IOBase.seek` does."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence]
        if start + offset < 0:
            raise ValueError("the archive points to a place before its start")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read from one part into `buffer`; return the number of bytes read, 0 at the end."""
        number = bisect_right(self._ends, self._at)
        if number == len(self._ends):
            return 0
        offset = self._at - (self._ends[number - 1] if number else 0)
        if number != self._open:
            self._stream.close()
            self._stream, self._open = self._paths[number].open("rb"), number
        self._stream.seek(offset)
        count = self._stream.readinto(buffer)
        self._at += count
        return count

    def close(self) -> None:
        """Close the open part."""
        self._stream.close()
        super().close()
