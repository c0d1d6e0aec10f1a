"""Search for the image of an annotation in the usual folder layouts, in a fixed order."""

import posixpath
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import PurePosixPath

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import is_file

_SHOWN = 3  # images of one name in a message
_OTHER_SUFFIXES = (".bmp", ".gif", ".heic", ".tif", ".tiff", ".webp")


class Images:
    """Index of the images below a source folder, by path, and by name in a folder near the annotation.

    Paths are compared as written first, then without regard to case and to the Unicode form of accents,
    because annotation files are moved between operating systems.
    """

    def __init__(self, source: Source, annotations: set[str]) -> None:
        """List the images.

        Args:
            source: folder of the annotations and images.
            annotations: paths of the annotation files relative to `source`. A folder that contains
                annotation files is not searched for images of annotations in other folders, except in the
                folders below it.
        """
        self.paths = {path for path in source.files() if _suffix(path) in IMAGE_SUFFIXES}
        self._source = source
        self._annotated = {posixpath.dirname(path) for path in annotations}
        self._one_folder = len({posixpath.dirname(path) for path in self.paths}) == 1
        self._by_path: dict[str, list[str]] = defaultdict(list)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in sorted(self.paths):
            for key in (_key(path), _key(_stem(path))):
                self._by_path[key].append(path)
            for key in (_key(posixpath.basename(path)), _key(_stem(posixpath.basename(path)))):
                self._by_name[key].append(path)

    @cached_property
    def _skipped_link(self) -> str | None:
        """Link that is not followed; searched for when the first image is not found."""
        return self._source.skipped_link()

    def at(self, places: list[str]) -> str | None:
        """Return the first image that exists at one of the paths; None if there is none.

        Args:
            places: paths relative to the source folder, in the order of preference. A path without an image
                suffix matches an image with any suffix.

        Raises:
            LgadError: a path matches several images. The caller adds the annotation's name to the message.
        """
        for place in places:
            path = posixpath.normpath(place)
            if path in self.paths:
                return path
            found = self._by_path.get(_key(path), [])
            if len(found) > 1:
                raise LgadError(f"may mean {' or '.join(found)}; name the image with its ending")
            if found:
                return found[0]
        return None

    def near(self, annotation: str, image: str, unused: set[str]) -> str | None:
        """Return the only image of a name in a folder near the annotation's; None if none or several match.

        A folder is near if its path differs in one component: labels/a.json and images/a.jpg, a.json and
        images/a.jpg, json/a.json and a.jpg. If all images are in one folder, that folder is near, too.

        Args:
            annotation: path of the annotation file relative to the source folder.
            image: name or path of the image, with or without suffix; only its last component is compared.
            unused: paths of the images that no other annotation uses.
        """
        folder = posixpath.dirname(annotation)
        near = [
            path
            for path in self._candidates(image, unused)
            if self._one_folder or self._is_near(folder, posixpath.dirname(path))
        ]
        return near[0] if len(near) == 1 else None

    def reason(self, image: str, places: list[str], unused: set[str]) -> str:
        """Return the reason why no image was found, and the remedy.

        Args:
            image: name of the image as the annotation states it.
            places: paths relative to the source folder at which it was searched for.
            unused: paths of the images that no other annotation uses.
        """
        if not image:
            return "names no image; export it again"
        for place in places:
            path = posixpath.normpath(place)
            if path.startswith("../"):
                return (
                    f"names the image {image}, which is outside the source folder; name a folder that holds "
                    "both the annotations and the images"
                )
            if _suffix(path) in _OTHER_SUFFIXES and is_file(self._source.folder / path):
                return f"{path} is a {_suffix(path)} file; convert it to JPEG or PNG under the same name"
        candidates = self._candidates(image, unused)
        if len(candidates) > 1:
            return (
                f"names the image {image}, which may be {' or '.join(candidates[:_SHOWN])}"
                f"{f', and {len(candidates) - _SHOWN} more' if len(candidates) > _SHOWN else ''}; put the "
                "right one next to the annotation file, or import each folder by itself"
            )
        if self._skipped_link is not None:
            return (
                f"names the image {image}, which is not found near it; the link {self._skipped_link} is not "
                "followed, so give --follow-links, or put the image itself there"
            )
        return (
            f"names the image {image}, which is not found near it below the source folder; put the image "
            "next to the annotation file (in CVAT, export 'CVAT for images 1.1' with 'Save images')"
        )

    def _candidates(self, image: str, unused: set[str]) -> list[str]:
        """Return the images of a name in any folder that no other annotation uses."""
        return [path for path in self._by_name.get(_key(posixpath.basename(image)), []) if path in unused]

    def _is_near(self, annotation: str, image: str) -> bool:
        first, second = PurePosixPath(annotation).parts, PurePosixPath(image).parts
        above = first[: len(second)] == second
        if image in self._annotated and not above:
            return False
        while first and second and first[0] == second[0]:
            first, second = first[1:], second[1:]
        while first and second and first[-1] == second[-1]:
            first, second = first[:-1], second[:-1]
        return len(first) <= 1 and len(second) <= 1


def posix(path: str) -> str:
    """Return a path with its backslashes replaced by forward slashes."""
    return path.replace("\\", "/")


def is_absolute(path: str) -> bool:
    """Return True for absolute POSIX and Windows paths, such as /a/b.jpg and C:/a/b.jpg."""
    return path.startswith("/") or (len(path) > 1 and path[1] == ":" and path[0].isalpha())


def _suffix(path: str) -> str:
    return posixpath.splitext(path)[1].lower()


def _stem(path: str) -> str:
    stem, ending = posixpath.splitext(path)
    return stem if ending.lower() in IMAGE_SUFFIXES else path


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()
