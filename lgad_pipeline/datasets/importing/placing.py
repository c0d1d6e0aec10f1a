"""The image of each annotation: found, read, and written to the data set."""

import os
import shutil
from pathlib import Path

import cv2

from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES, read_image
from lgad_pipeline.datasets.importing.labelme import embedded_image
from lgad_pipeline.datasets.importing.layout import Images
from lgad_pipeline.datasets.importing.points import Annotation
from lgad_pipeline.datasets.reader import AnnotationError, frame_path
from lgad_pipeline.datasets.safe_io import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected

_IMAGE_LIMIT = 256 << 20  # bytes
_JPEG_QUALITY = 98  # of frames that are turned


def place_of(file: str, line: int | None) -> str:
    """A place for messages: the file, and the line if there is one."""
    return f"{file}, line {line}" if line else file


def place_images(
    found: list[Annotation], images: Images, rejected: list[Rejected]
) -> list[tuple[Annotation, str]]:
    """Each annotation with the path of its image, once an image, in the order of the annotations.

    Images at the stated path come first, so that a search by name cannot take one from its annotation. Of
    several annotations of one image the first with shapes counts.
    """
    where: dict[int, str] = {}
    faults: dict[int, str] = {}
    for place, annotation in enumerate(found):
        try:
            if image := images.at(annotation.places):
                where[place] = frame_path(image)
        except (ValueError, LgadError) as error:
            faults[place] = str(error)
    unused = images.paths - set(where.values())
    for place, annotation in enumerate(found):
        if place in where or place in faults:
            continue
        image = images.near(annotation.file, annotation.image, unused)
        if image is None and annotation.embedded:
            image = annotation.places[-1]
        if image is None:
            faults[place] = images.reason(annotation.image, annotation.places)
        else:
            where[place] = image
    first: dict[str, int] = {}
    for place in sorted(where, key=lambda place: (not found[place].shapes, place)):
        other = first.setdefault(where[place], place)
        if other != place:
            place_of_other = place_of(found[other].file, found[other].line)
            faults[place] = (
                f"annotates {where.pop(place)}, which {place_of_other} annotates, too; remove one of them"
            )
    rejected += [Rejected(found[place].file, found[place].line, faults[place]) for place in sorted(faults)]
    return [(found[place], where[place]) for place in sorted(where)]


def image_of(source: Path, annotation: Annotation, image: str) -> tuple[bytes, str]:
    """Bytes and path of a frame's image; a path without ending stands for the image in the annotation file.

    Raises:
        FileNotFoundError: there is no such file.
        LgadError: it cannot be used. The sentence leaves the file's name to the caller.
    """
    if image.lower().endswith(IMAGE_SUFFIXES):
        return read_inside(source, image, _IMAGE_LIMIT), image
    data = embedded_image(source, annotation.file)
    ending = ".png" if data.startswith(b"\x89PNG") else ".jpg"
    return data, f"{image}{ending}"


def write_frame(source: Path, image: str, annotation: Annotation, turned: bool, target: Path) -> None:
    """Write a frame: a hard link where possible, else a copy; a new image, upright, if it is stored turned.

    Args:
        source: folder of the images.
        image: path below it; of an image in the annotation file, the path that it would have.
        annotation: of the frame.
        turned: the image is stored with an EXIF orientation.
        target: path to write to.
    """
    inside = (source / image).is_file()
    with atomic_path(target) as part:
        if turned or not inside:
            data = (
                read_inside(source, image, _IMAGE_LIMIT)
                if inside
                else embedded_image(source, annotation.file)
            )
            part.write_bytes(_upright(data, target) if turned else data)
            return
        try:
            os.link((source / image).resolve(), part)
        except OSError:
            shutil.copyfile(source / image, part)


def _upright(data: bytes, target: Path) -> bytes:
    pixels = cv2.cvtColor(read_image(data), cv2.COLOR_RGB2BGR)
    ending = target.suffix.lower()
    options = [] if ending == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    written, encoded = cv2.imencode(ending, pixels, options)
    if not written:
        raise AnnotationError(f"{target} cannot be encoded.")
    return encoded.tobytes()
