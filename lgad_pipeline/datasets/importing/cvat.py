"""Reader of CVAT's XML exports "CVAT for images 1.1" (list of images) and "CVAT for video 1.1" (tracks)."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple
from xml.parsers import expat

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.datasets.importing.layout import posix
from lgad_pipeline.datasets.importing.points import (
    MOST_POINTS,
    PREDICTED,
    Annotation,
    Shape,
    attribute_word,
    shape,
    stated_size,
)
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.datasets.importing.text import xml_as_utf8
from lgad_pipeline.datasets.importing.tracks import Tracks
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.lanes.lane_types import lane_type

_LIMIT = 256 << 20  # bytes; an export of 100,000 frames has about 100 MB
_DEPTH = 64  # maximum depth of nested elements; exports have 5
_MOST_SHAPES = 1_000_000  # maximum number of shapes and images in one file

_LONGEST_TEXT = 60  # characters of a value that are read

_SHAPES = ("polyline", "polygon", "points", "box", "ellipse", "cuboid", "mask", "skeleton", "tag")
_NAMES = {"box": "rectangle"}
_FILTER = "frame_filter"  # element that states which frames of the video a task has, such as `step=5`
_STEP = re.compile(r"step=([1-9]\d{0,5})")
_NUMBER = re.compile(r"\d{1,9}")
_FRAME = re.compile(r"frame_\d{6,9}")  # frame of a video, as CVAT names it
_NUMBERED = re.compile(r"frame_(\d{6,9})\.\w+")  # its file
_OTHER_ROOTS = {
    "annotation": "Pascal VOC or LabelMe XML",
    "dataset": "another tool's XML",
    "tagset": "another tool's XML",
}


def read(source: Source, rejected: list[Rejected]) -> Iterator[Annotation]:
    """Read the annotations of every export below a folder: one file, or a file for each of several jobs.

    Args:
        source: folder of the unpacked exports.
        rejected: list to which files that cannot be used are appended.

    Raises:
        LgadError: there is no XML file.
    """
    files = source.files(".xml")
    if not files:
        hint = source.hint({".json": "use `lgad import labelme`", ".zip": "unpack them"})
        raise LgadError(
            f"{source.folder / 'annotations.xml'} is missing; unpack an export 'CVAT for images 1.1' or "
            f"'CVAT for video 1.1' there{hint}."
        )
    for file in files:
        try:
            yield from _Export(source, file, rejected).annotations()
        except FileNotFoundError:
            rejected.append(Rejected(file, None, "is missing, perhaps a link to a missing file; restore it"))
        except LgadError as error:
            rejected.append(Rejected(file, None, str(error)))


class _Pending(NamedTuple):
    """Shape whose element is open.

    Attributes:
        shape: the shape, without its type.
        values: attributes of the XML element.
        line: line of the element, from 1.
        depth: number of open elements, this one included.
        words: words of its type, from the attributes that were read so far.
    """

    shape: Shape
    values: dict[str, str]
    line: int
    depth: int
    words: list[str]


class _Export:
    """Handler of one XML file; the parser calls its methods, so no tree is built in memory."""

    def __init__(self, source: Source, file: str, rejected: list[Rejected]) -> None:
        self._source, self._file, self._rejected = source, file, rejected
        self._folder = posixpath.dirname(file)
        self._found: list[Annotation] = []
        self._open: Annotation | None = None
        self._tracks = Tracks()
        self._count = 0
        self._path: list[str] = []
        self._text = self._attribute = ""
        self._pending: _Pending | None = None
        self._sides: dict[str, set[str]] = {"width": set(), "height": set()}
        self._task: dict[str, set[str]] = {"mode": set(), "start_frame": set(), "stop_frame": set()}

    def annotations(self) -> list[Annotation]:
        """Parse the file and return the annotations of all its frames.

        Raises:
            LgadError: the file is not an export of CVAT, or declares a document type, which is refused
                because entities can expand a small file until it fills the memory, and can name other files.
        """
        data, encoding = self._read()
        parser = expat.ParserCreate(encoding)
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = lambda tag, values: self._start(tag, values, parser.CurrentLineNumber)
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        try:
            parser.Parse(data, True)
        except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: unknown encoding
            raise AnnotationError(f"is not XML ({error}); export it again") from error
        numbered = [image for image in self._found if _FRAME.fullmatch(image.image)]
        if numbered and self._task["mode"] == {"interpolation"}:
            self._refuse_other_numbers(
                {posixpath.dirname(place) for image in numbered for place in image.places}
            )
        return self._found + self._of_tracks()

    def _read(self) -> tuple[bytes, str | None]:
        try:
            return xml_as_utf8(self._source.read(self._file, limit=_LIMIT))
        except ValueError as error:
            raise AnnotationError(
                f"cannot be decoded ({error}); save it as UTF-8 or export it again"
            ) from error

    def _refuse(self, *_: object) -> None:
        raise AnnotationError("declares a document type, as no export does; export it again")

    def _start(self, tag: str, values: dict[str, str], line: int) -> None:
        if not self._path and tag != "annotations":
            tool = _OTHER_ROOTS.get(tag, f"XML with the root <{tag[:40]}>")
            raise AnnotationError(f"is {tool}, not an export of CVAT; export 'CVAT for images 1.1'")
        if len(self._path) >= _DEPTH:
            raise AnnotationError("nests its elements deeper than any export; export it again")
        self._path.append(tag)
        self._text = ""
        if tag == "image" or tag in _SHAPES:
            self._count += 1
            if self._count > _MOST_SHAPES:
                raise AnnotationError(f"has more than {_MOST_SHAPES:,} shapes; export the jobs one by one")
        if tag == "image":
            self._open = self._image(values, line)
        elif tag == "track":
            self._tracks.open(values)
        elif tag in _SHAPES and self._path[-2] == "image" and self._open is not None:
            shape = _shape(tag, values, values.get("label", ""), values.get("group_id"))
            self._pending = _Pending(shape, values, line, len(self._path), [])
        elif tag in _SHAPES and self._path[-2] == "track":
            shape = _shape(tag, values, self._tracks.label, self._tracks.name)
            self._pending = _Pending(shape, values, line, len(self._path), [])
        elif tag == "attribute":
            self._attribute = values.get("name", "")

    def _end(self, tag: str) -> None:
        pending = self._pending
        if tag == "attribute" and pending is not None:
            pending.words.append(attribute_word(self._attribute, self._text.strip()))
        elif pending is not None and len(self._path) == pending.depth:
            self._add(pending)
            self._pending = None
        self._path.pop()
        if tag == "image" and self._open is not None:
            tags = {shape.label for shape in self._open.shapes if shape.kind == "tag"}
            self._found.append(replace(self._open, predicted=PREDICTED in tags))
            self._open = None
        elif tag in self._sides and self._path[-1:] == ["original_size"]:
            self._sides[tag].add(self._text.strip())
        elif tag in self._task and self._path[-1:] in (["task"], ["job"]):
            self._task[tag].add(self._text.strip())
        elif tag == _FILTER:
            step = _STEP.search(self._text)
            self._tracks.steps.add(int(step[1]) if step else 1)

    def _add(self, pending: "_Pending") -> None:
        """Add a shape whose element has ended, so that all its attributes are known."""
        shape = pending.shape._replace(type=lane_type(pending.words))
        if self._path[-2] == "track":
            self._tracks.add(pending.values, shape, pending.line)
        elif self._open is not None:
            self._open.shapes.append(shape)

    def _characters(self, text: str) -> None:
        read = ("attribute", _FILTER, *self._task)
        is_read = self._path[-2:-1] == ["original_size"] or self._path[-1] in read
        if is_read and len(self._text) < _LONGEST_TEXT:
            self._text += text

    def _image(self, values: dict[str, str], line: int) -> Annotation:
        name = posix(values.get("name", "")).lstrip("/")
        size = stated_size(values.get("height"), values.get("width"))
        return Annotation(self._file, line, name, self._places(name, values.get("subset", "")), size)

    def _places(self, name: str, subset: str) -> list[str]:
        below = [f"images/{subset}", "images", subset, ""] if subset else ["images", ""]
        return [posixpath.join(self._folder, folder, name) for folder in below]

    def _of_tracks(self) -> list[Annotation]:
        sides = [next(iter(found)) if len(found) == 1 else None for found in self._sides.values()]
        size = stated_size(sides[1], sides[0])
        frames = self._tracks.frames()
        places = [
            place for subset in {frame.subset for frame in frames} for place in self._places("", subset)
        ]
        self._refuse_other_numbers({posixpath.dirname(place) for place in places})
        return [
            Annotation(
                self._file,
                frame.line,
                f"frame_{frame.number:06d}",
                self._places(f"frame_{frame.number:06d}", frame.subset),
                size,
                frame.shapes,
            )
            for frame in frames
        ]

    def _refuse_other_numbers(self, folders: set[str]) -> None:
        """Check that images numbered like frames of a video have the numbers of the annotation.

        Images of a task that is no video keep their names, and tracks count them from 0; CVAT numbers images
        of a video itself. Images named by another program, which often counts from 1, would get the lanes of
        the image before.

        Args:
            folders: folders of the images, relative to the source folder.

        Raises:
            AnnotationError: the task has images, and one has a higher number than its last frame; or it has a
                video or states no mode, and the images have the numbers of its frames plus 1.
        """
        starts, stops = (
            {int(number) for number in self._task[key] if _NUMBER.fullmatch(number)}
            for key in ("start_frame", "stop_frame")
        )
        has_images = self._task["mode"] == {"annotation"}
        if not stops:
            return
        found: dict[str, dict[int, str]] = {}
        for path in self._source.files(*IMAGE_SUFFIXES) if folders else []:
            folder, name = posixpath.split(path)
            number = _NUMBERED.fullmatch(name)
            if number and folder in folders:
                found.setdefault(folder, {})[int(number[1])] = path
        for paths in found.values():
            first, last = min(paths), max(paths)
            if has_images and last > max(stops):
                raise AnnotationError(
                    f"counts its frames up to {max(stops)}, but there is the image {paths[last]}, so that it "
                    "is not clear which images are meant; export 'CVAT for images 1.1', which names them"
                )
            if not has_images and last == max(stops) + 1 and starts and first == min(starts) + 1:
                raise AnnotationError(
                    f"counts its frames from {min(starts)} to {max(stops)}, but the images are numbered from "
                    f"{first} to {last}, such as {paths[first]}, so that each would get the lanes of the "
                    f"next frame; number the images from {min(starts)}"
                )


def _shape(tag: str, values: dict[str, str], label: str, group: str | None) -> Shape:
    kind = _NAMES.get(tag, tag)
    if tag not in ("polyline", "polygon", "points"):
        return shape(kind, label, pairs=[], group=group)
    pairs = values.get("points", "").split(";", MOST_POINTS)
    return shape(kind, label, pairs=[pair.split(",", 2) for pair in pairs], group=group)
