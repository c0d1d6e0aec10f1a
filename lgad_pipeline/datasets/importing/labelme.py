"""Reader of the annotations of labelme: one JSON file per image."""

import base64
import binascii
import posixpath
from collections.abc import Iterator
from typing import Any

from lgad_pipeline.datasets.importing.layout import is_absolute, posix
from lgad_pipeline.datasets.importing.points import (
    PREDICTED,
    Annotation,
    Shape,
    attribute_word,
    shape,
    stated_size,
)
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.datasets.importing.text import parse_json
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected
from lgad_pipeline.lanes.lane_types import lane_type

_LIMIT = 64 << 20  # bytes; a file may contain its image in base64
_DEFAULT_KIND = "polygon"  # labelme before 3.4 wrote no shape_type; its shapes are polygons

# Keys by which the JSON of other tools is recognized.
_OTHER_TOOLS = (
    ({"images", "annotations"}, "COCO"),
    ({"_via_img_metadata"}, "VIA"),
    ({"_via_settings"}, "VIA"),
    ({"raw_file", "lanes"}, "TuSimple (a data set of kind tusimple)"),
    ({"lanes", "h_samples"}, "TuSimple (a data set of kind tusimple)"),
    ({"categories", "items"}, "Datumaro"),
    ({"objects", "size"}, "Supervisely"),
    ({"name", "labels"}, "BDD100K (a data set of kind bdd100k)"),
    ({"data", "annotations"}, "Label Studio"),
    ({"file_upload", "annotations"}, "Label Studio"),
    ({"openlabel"}, "OpenLABEL"),
)


def read(source: Source, rejected: list[Rejected]) -> Iterator[Annotation]:
    """Read the annotation of every JSON file below a folder, in the order of the files' paths.

    Args:
        source: folder of the annotations and images.
        rejected: list to which files that cannot be used are appended.

    Raises:
        LgadError: there is no JSON file.
    """
    files = source.files(".json")
    if not files:
        hint = source.hint({".xml": "use `lgad import cvat`", ".zip": "unpack them"})
        raise LgadError(f"{source} holds no JSON file of labelme; name the folder of the annotations{hint}.")
    for name in files:
        try:
            yield _parse(source.read(name, limit=_LIMIT), name, source)
        except FileNotFoundError:
            rejected.append(Rejected(name, None, "is missing, perhaps a link to a missing file; restore it"))
        except LgadError as error:
            rejected.append(Rejected(name, None, str(error)))


def embedded_image(source: Source, file: str) -> bytes:
    """Return the bytes of the image that an annotation file contains.

    Args:
        source: folder of the annotations and images.
        file: path of the annotation file relative to `source`.

    Raises:
        LgadError: the file contains no image that can be decoded from base64.
    """
    try:
        content = parse_json(source.read(file, limit=_LIMIT))
        return base64.b64decode(content["imageData"], validate=True)
    except (OSError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise AnnotationError(
            "holds no image in imageData that can be decoded; put the image next to it"
        ) from error


def _parse(data: bytes, file: str, source: Source) -> Annotation:
    content = parse_json(data)
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise AnnotationError(_other_tool(content))
    image = content.get("imagePath")
    if not isinstance(image, str) or not image.strip():
        raise AnnotationError("names no image in imagePath; save it again in labelme")
    image = posix(image)
    folder, stem = posixpath.split(posixpath.splitext(file)[0])
    places = [posixpath.join(folder, posixpath.basename(image)), posixpath.join(folder, stem)]
    root = f"{source.folder.resolve().as_posix()}/"
    if image.startswith(root):
        places.insert(0, image.removeprefix(root))
    elif not is_absolute(image):
        places.insert(0, posixpath.join(folder, image))
    flags = content.get("flags")
    set_flags = [name for name, is_set in flags.items() if is_set is True] if isinstance(flags, dict) else []
    return Annotation(
        file,
        None,
        image,
        places,
        stated_size(content.get("imageHeight"), content.get("imageWidth")),
        [*map(_shape, content["shapes"]), *(shape("flag", str(name), pairs=[]) for name in set_flags)],
        embedded=bool(content.get("imageData")),
        predicted=PREDICTED in set_flags,
    )


def _shape(value: Any) -> Shape:
    if not isinstance(value, dict):
        return shape("shape", "", pairs=[None])
    kind, label, group = (value.get(key) for key in ("shape_type", "label", "group_id"))
    pairs, flags = value.get("points"), value.get("flags")
    words = [str(name) for name, is_set in flags.items() if is_set is True] if isinstance(flags, dict) else []
    attributes = value.get("attributes")  # of X-AnyLabeling, whose files are otherwise those of labelme
    if isinstance(attributes, dict):
        words += [
            attribute_word(str(name), str(chosen).strip())
            for name, chosen in attributes.items()
            if isinstance(chosen, str | bool)
        ]
    found = shape(
        kind if isinstance(kind, str) else _DEFAULT_KIND,
        str(label).strip() if isinstance(label, str | int | float) else "",
        pairs=pairs if isinstance(pairs, list) else [None],
        group=None if group is None else str(group)[:80],
    )
    return found._replace(type=lane_type(words))


def _other_tool(content: Any) -> str:
    first = content[0] if isinstance(content, list) and content else content
    if isinstance(first, dict):
        for keys, tool in _OTHER_TOOLS:
            if keys <= set(first):
                return f"is an annotation of {tool}, not of labelme; export it as labelme or CVAT"
    return "is not a labelme file, it has no list of shapes; take it out of the folder or export it again"
