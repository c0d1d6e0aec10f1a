"""Assignment of images to annotations, and output of the images as frames of the data set."""

import posixpath
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath

import cv2

from lgad_pipeline.atomic_files import atomic_path, link_or_copy
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES, read_image, read_small
from lgad_pipeline.datasets.importing.labelme import embedded_image
from lgad_pipeline.datasets.importing.layout import Images
from lgad_pipeline.datasets.importing.points import Annotation
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.datasets.picture_hash import picture_hash
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import relative_frame
from lgad_pipeline.lanes.lane_files import Rejected, lane_file_name

_IMAGE_LIMIT = 256 << 20  # bytes
_OTHER_PICTURE = 60  # bits of 256 in which the hashes of two pictures differ; contrast changes fewer
_JPEG_QUALITY = 98  # for frames that are encoded again because they are rotated


def place_of(file: str, line: int | None) -> str:
    """Return a position for messages: the file, and the line if there is one."""
    return f"{file}, line {line}" if line else file


def place_images(
    annotations: list[Annotation], images: Images, *, rejected: list[Rejected]
) -> list[tuple[Annotation, str]]:
    """Assign an image to each annotation.

    Images at the stated paths are assigned first, so that the search by name cannot assign them to another
    annotation. If several annotations have the same image, one with shapes is used, of these one in a file
    of the image's name (not `a (1).json`, a copy), of these the first.

    Args:
        annotations: annotations of the import.
        images: images below the source folder.
        rejected: list to which annotations without an image, or with the image of another annotation, are
            appended.

    Returns:
        (annotation, path of its image relative to the source folder) in the order of `annotations`; each
        image occurs once.
    """
    where: dict[int, str] = {}
    faults: dict[int, str] = {}
    for index, annotation in enumerate(annotations):
        try:
            if image := images.at(annotation.places):
                where[index] = _listable(image)
        except (ValueError, LgadError) as error:
            faults[index] = str(error)
    unused = images.paths - set(where.values())
    for index, annotation in enumerate(annotations):
        if index in where or index in faults:
            continue
        image = images.near(annotation.file, annotation.image, unused)
        if image is None and annotation.embedded:
            image = annotation.places[-1]
        try:
            if image is None:
                faults[index] = images.reason(annotation.image, annotation.places, unused)
            else:
                where[index] = _listable(image)
        except ValueError as error:
            faults[index] = str(error)

    def rank(index: int) -> tuple[bool, bool, int]:
        annotation = annotations[index]
        of_name = PurePosixPath(annotation.file).stem == PurePosixPath(where[index]).stem
        return not annotation.is_drawn, not of_name, index

    first: dict[str, int] = {}
    for index in sorted(where, key=rank):
        earlier = first.setdefault(where[index], index)
        if earlier != index:
            place_of_other = place_of(annotations[earlier].file, annotations[earlier].line)
            faults[index] = (
                f"annotates {where.pop(index)}, which {place_of_other} annotates, too; remove one of them"
            )
    rejected += [
        Rejected(annotations[index].file, annotations[index].line, faults[index]) for index in sorted(faults)
    ]
    return [(annotations[index], where[index]) for index in sorted(where)]


def images_of_other_names(placed: list[tuple[Annotation, str]], images: Images) -> dict[str, str]:
    """Return the annotation files that have an image of their own name next to them, but state another image.

    This is so when images were numbered again after their annotation: 2.json then states 1.jpg, which is now
    another picture.

    Args:
        placed: (annotation, path of its image) as `place_images` returns them.
        images: images below the source folder.

    Returns:
        Path of the annotation file -> path of the stated image; empty unless these are most of the files.
    """
    others = {}
    for annotation, image in placed:
        with suppress(LgadError):  # Several images have the name.
            if images.at([posixpath.splitext(annotation.file)[0]]) not in (None, image):
                others[annotation.file] = image
    return others if 2 * len(others) > len(placed) else {}


def unique_names(images: Iterable[str]) -> dict[str, str]:
    """Return path relative to the source -> path relative to the output, unique without the suffix.

    For example, a.jpg and a.png would share the lane file a.lines.txt, so one of them is renamed.
    """
    names: dict[str, str] = {}
    known = set(images)
    lane_files: set[str] = set()
    for image in sorted(known):
        stem, dot, ending = image.rpartition(".")
        name, number = image, 1
        while lane_file_name(name) in lane_files or (name != image and name in known):
            name = f"{stem}_{ending.lower()}{f'_{number}' if number > 1 else ''}{dot}{ending}"
            number += 1
        lane_files.add(lane_file_name(name))
        names[image] = name
    return names


def _listable(image: str) -> str:
    """Return the path of an image, which a list of frames can name.

    Raises:
        ValueError: the readers of lists would not find the image; the message is the reason to report.
    """
    if relative_frame(image) != image or image != image.strip():
        raise ValueError(
            f"names the image {image!a}; lists of frames allow no blank at the ends of a path and no "
            "backslash, so rename the image"
        )
    return image


def image_of(source: Source, annotation: Annotation, *, image: str) -> tuple[bytes, str]:
    """Read the image of a frame.

    Args:
        source: folder of the annotations and images.
        annotation: annotation of the frame.
        image: path of the image relative to `source`. Without image suffix, or if there is no such file, it
            means the image that is embedded in the annotation file.

    Returns:
        The bytes of the image file, and its path; that of an embedded image has the suffix of its format.

    Raises:
        FileNotFoundError: there is no such file, and no embedded image.
        LgadError: the image cannot be used. The caller adds the file's name to the message.
    """
    if image.lower().endswith(IMAGE_SUFFIXES):
        try:
            return source.read(image, limit=_IMAGE_LIMIT), image
        except FileNotFoundError:
            if not annotation.embedded:
                raise
            image = image.rpartition(".")[0]
    data = embedded_image(source, annotation.file)
    ending = ".png" if data.startswith(b"\x89PNG") else ".jpg"
    return data, f"{image}{ending}"


def refuse_other_picture(source: Source, annotation: Annotation, data: bytes) -> None:
    """Refuse an image that shows another picture than the one in its annotation file.

    This is so when images were numbered again, or extracted again, after their annotation.

    Args:
        source: folder of the annotations and images.
        annotation: annotation of the frame, which contains an image.
        data: bytes of the image file.

    Raises:
        AnnotationError: the pictures differ.
    """
    try:
        annotated = embedded_image(source, annotation.file)
        hashes = [picture_hash(read_small(image)) for image in (annotated, data)]
    except (OSError, LgadError):  # an image that cannot be decoded shows nothing
        return
    first, second = (int(found, 16) if found else 0 for found in hashes)
    if annotated != data and all(hashes) and (first ^ second).bit_count() > _OTHER_PICTURE:
        raise AnnotationError(
            f"shows another picture than the one that {annotation.file} holds in imageData; put that picture "
            "there, or correct imagePath"
        )


def frame_data(source: Source, image: str, *, annotation: Annotation, turned: bool) -> bytes:
    """Return the bytes of the image file of a frame, as `write_frame` writes them.

    Args:
        source: folder of the annotations and images.
        image: path of the image relative to `source`, as `image_of` returned it.
        annotation: annotation of the frame.
        turned: True if the image is stored with an EXIF orientation other than upright; it is encoded again.
    """
    data, _ = image_of(source, annotation, image=image)
    return _upright(data, PurePosixPath(image).suffix.lower()) if turned else data


def write_frame(source: Source, image: str, *, annotation: Annotation, turned: bool, target: Path) -> None:
    """Write a frame as a hard link where possible, else as a copy; an upright new image if `turned`.

    Args:
        source: folder of the annotations and images.
        image: path of the image relative to `source`, as `image_of` returned it.
        annotation: annotation of the frame.
        turned: True if the image is stored with an EXIF orientation other than upright.
        target: path of the file to write.
    """
    if not turned and (source.folder / image).is_file():
        link_or_copy(source.folder / image, target)
        return
    data = frame_data(source, image, annotation=annotation, turned=turned)
    with atomic_path(target) as part:
        part.write_bytes(data)


def _upright(data: bytes, suffix: str) -> bytes:
    """Encode an image again, upright; the suffix is that of its format."""
    pixels = cv2.cvtColor(read_image(data), cv2.COLOR_RGB2BGR)
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    written, encoded = cv2.imencode(suffix, pixels, options)
    if not written:
        raise AnnotationError(f"cannot be written as {suffix}; convert it to JPEG or PNG")
    return encoded.tobytes()
