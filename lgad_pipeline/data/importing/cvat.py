"""CVAT: the export "CVAT for images 1.1", one XML file with polylines as lanes."""

from collections.abc import Iterator
from pathlib import Path
from xml.parsers import expat

from lgad_pipeline.data.entries import SetAside, frame_path
from lgad_pipeline.data.importing.points import Imported, lane
from lgad_pipeline.data.reading import read_inside
from lgad_pipeline.errors import LgadError

_FILE = "annotations.xml"
_LIMIT = 512 << 20  # bytes; 100,000 frames have some 100 MB


def read(source: Path, set_aside: list[SetAside]) -> Iterator[Imported]:
    """Images and polylines of `annotations.xml`, in its order; images lie below `source` or its `images/`.

    Args:
        source: the unpacked export.
        set_aside: gets the images that cannot be used.

    Raises:
        LgadError: the file is missing, is no XML, or declares a document type (entities can make a small
            file fill the memory, and can name other files).
    """
    try:
        data = read_inside(source, _FILE, _LIMIT)
    except FileNotFoundError as error:
        raise LgadError(f"{source / _FILE} is missing; unpack an export 'CVAT for images 1.1'.") from error
    reader = _Reader(source, set_aside)
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, LookupError, ValueError) as error:  # the last two: an unknown encoding
        raise LgadError(f"{source / _FILE} is no XML ({error}); export it again.") from error
    yield from reader.found


class _Reader:
    """What the parser calls; no tree is built."""

    def __init__(self, source: Path, set_aside: list[SetAside]) -> None:
        self.found: list[Imported] = []
        self._source, self._set_aside = source, set_aside
        self._open: Imported | None = None
        self.parser = expat.ParserCreate()
        self.parser.StartDoctypeDeclHandler = self._refuse
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end

    def _refuse(self, *_: object) -> None:
        raise LgadError(
            f"{self._source / _FILE} declares a document type, as no export does; export it again."
        )

    def _start(self, tag: str, values: dict[str, str]) -> None:
        try:
            if tag == "image":
                self._open = Imported(self._image(values.get("name", "")), [])
            elif tag == "polyline" and self._open is not None:
                pairs = [pair.split(",") for pair in values.get("points", "").split(";")]
                self._open.lanes.append(lane(pairs))
        except (ValueError, LgadError) as error:
            self._set_aside.append((_FILE, self.parser.CurrentLineNumber, str(error)))
            self._open = None

    def _end(self, tag: str) -> None:
        if tag == "image" and self._open is not None:
            self.found.append(self._open)
            self._open = None

    def _image(self, name: str) -> str:
        frame = frame_path(name)
        return frame if (self._source / frame).is_file() else f"images/{frame}"
