"""labelme: a JSON file an image, with line strips as lanes."""

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from lgad_pipeline.data.entries import AnnotationError, SetAside, frame_path
from lgad_pipeline.data.importing.points import Imported, lane
from lgad_pipeline.data.reading import read_inside
from lgad_pipeline.errors import LgadError

_LIMIT = 64 << 20  # bytes; a file may carry its image, base64
_LINES = ("linestrip", "line")


def read(source: Path, set_aside: list[SetAside]) -> Iterator[Imported]:
    """Images and lanes of every JSON file below a folder, in the order of their names.

    Shapes of other types than `linestrip` and `line` are no lanes.

    Args:
        source: the folder; images lie below it, too.
        set_aside: gets the files that cannot be used.
    """
    for path in sorted(source.rglob("*.json")):
        name = path.relative_to(source).as_posix()
        try:
            yield _parse(read_inside(source, name, _LIMIT), PurePosixPath(name).parent)
        except (ValueError, LgadError) as error:
            set_aside.append((name, None, str(error)))
        except FileNotFoundError:
            set_aside.append((name, None, "has gone while it was read; import again"))


def _parse(data: bytes, folder: PurePosixPath) -> Imported:
    try:
        content: Any = json.loads(data)
        image = folder / content["imagePath"].replace("\\", "/")
        shapes = [shape for shape in content["shapes"] if shape["shape_type"] in _LINES]
        lanes: list[np.ndarray] = [lane(shape["points"]) for shape in shapes]
    except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
        raise AnnotationError("is no labelme file with imagePath and shapes; export it again") from error
    return Imported(frame_path(image.as_posix()), lanes)
