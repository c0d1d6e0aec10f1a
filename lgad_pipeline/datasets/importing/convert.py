"""Import of another tool's annotations into a folder in CULane's layout."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import numpy as np

from lgad_pipeline.atomic_files import require_writable, write_text
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.datasets.images import image_orientation, read_image, refuse_unscaled, whole_image_size
from lgad_pipeline.datasets.importing import cvat, labelme
from lgad_pipeline.datasets.importing.layout import Images
from lgad_pipeline.datasets.importing.placing import (
    image_of,
    images_of_other_names,
    place_images,
    place_of,
    refuse_other_picture,
    unique_names,
    write_frame,
)
from lgad_pipeline.datasets.importing.points import PREDICTED, Annotation
from lgad_pipeline.datasets.importing.shapes import Tally, lanes_of
from lgad_pipeline.datasets.importing.sizes import SAME, lane_notes, refuse_outside, scale_to
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.datasets.importing.splits import draw_splits, stated_splits
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import Rejected, lane_file, write_lanes
from lgad_pipeline.lanes.lane_types import write_types
from lgad_pipeline.progress import Progress

_UNCHECKED = (
    f"holds predicted lanes that nobody has checked; correct them, then untick the flag `{PREDICTED}` in "
    f"labelme, or remove the tag `{PREDICTED}` in CVAT"
)


class Format(StrEnum):
    """Tools whose annotations can be read."""

    LABELME = "labelme"
    CVAT = "cvat"


_READERS: dict[Format, Callable[[Source, list[Rejected]], Iterator[Annotation]]] = {
    Format.LABELME: labelme.read,
    Format.CVAT: cvat.read,
}


@dataclass
class Kept:
    """Frame to be written.

    Attributes:
        annotation: annotation of the frame.
        image: path of the image relative to the source folder.
        size: (H, W) of the image as it is displayed, pixels.
        lanes: lanes, float32 (N, 2) each as (x, y), frame pixels.
        types: type of each lane, empty where the tool states none.
        turned: True if the image is stored with an EXIF orientation other than upright.
    """

    annotation: Annotation
    image: str
    size: tuple[int, int]
    lanes: list[np.ndarray]
    types: list[str]
    turned: bool


@dataclass
class Conversion:
    """Result of an import.

    Attributes:
        splits: split -> paths of its frames relative to the output folder.
        followed: True if the splits are those of folders called train, val or test.
        sizes: (H, W) in pixels -> number of frames; a valid data set has one size.
        rejected: annotation files and frames that were not imported: path relative to the source folder,
            line, reason.
        shapes: counts of the used, ignored and rejected shapes.
        count: number of lanes.
        types: type of lanes -> number of lanes of this type.
        lanes: lanes of the frames of the most frequent size, for the entry in a settings file; float32 (N, 2)
            each as (x, y), frame pixels.
        empty: number of frames that were annotated without any shape.
        other_labels: number of frames without lanes whose shapes all have labels that were not chosen.
        scaled: number of frames whose lanes were scaled to the size of the image.
        turned: number of frames that were stored with an EXIF orientation and are written upright.
        embedded: number of frames whose image was in the annotation file.
        renamed: path relative to the source folder -> different path relative to the output folder, for
            frames that would have shared a lane file with another frame.
        unused: number of images below the source folder that no annotation names.
        other_images: annotation file -> image that it states, for files next to another image of their own
            name; empty unless these are most of the files.
        notes: warnings about the lanes, such as coordinates in pixels of another size.
    """

    splits: dict[str, list[str]] = field(default_factory=dict)
    followed: bool = False
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    rejected: list[Rejected] = field(default_factory=list)
    shapes: Tally = field(default_factory=Tally)
    count: int = 0
    types: Counter[str] = field(default_factory=Counter)
    lanes: list[np.ndarray] = field(default_factory=list)
    empty: int = 0
    other_labels: int = 0
    scaled: int = 0
    turned: int = 0
    embedded: int = 0
    renamed: dict[str, str] = field(default_factory=dict)
    unused: int = 0
    other_images: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def frames(self) -> dict[str, int]:
        """Number of frames of each split: split -> count."""
        return {split: len(frames) for split, frames in self.splits.items()}


def convert(
    source: Path,
    output: Path,
    *,
    annotations: Format,
    val: float = 0.1,
    test: float = 0.2,
    run: int | None = None,
    seed: int = 0,
    labels: Collection[str] | None = None,
    follow_links: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Write frames, lane files and lists in CULane's layout.

    Frames are hard links where the file system allows it, else copies. A frame that is stored with an EXIF
    orientation is written upright instead, so that its lanes also fit in tools that ignore the orientation.

    Args:
        source: directory of the annotations and images.
        output: directory of the new data set; missing or empty.
        annotations: tool that wrote the annotations.
        val: fraction of the frames in the validation split, 0..1.
        test: fraction of the frames in the test split, 0..1.
        run: number of consecutive frames that stay in one split when runs are drawn; None: see `draw_splits`.
        seed: seed of the random draw of runs or folders.
        labels: labels of the shapes that are lanes; None: all labels.
        follow_links: follow links to files and folders outside of `source`.
        progress: callback, called as progress(frames done, frames in total).

    Raises:
        LgadError: `source` is missing or holds no usable image, `output` is not empty or not writable, or a
            label of `labels` does not occur.
    """
    folder = Source(source, follow_links)
    folder.require()
    _require_new(output)
    done = Conversion()
    kept = read_annotated(folder, annotations, done=done, labels=labels, progress=progress)
    names = unique_names(frame.image for frame in kept)
    done.renamed = {image: name for image, name in names.items() if name != image}
    done.splits = draw_splits(list(names.values()), val, test=test, run=run, seed=seed)
    done.followed = run is None and stated_splits(list(names.values())) is not None
    for frame in kept:
        write_kept(folder, frame, output=output, name=names[frame.image])
    for split in SPLITS:
        write_text(output / "list" / f"{split}.txt", "".join(f"{name}\n" for name in done.splits[split]))
    return done


def read_annotated(
    source: Source,
    annotations: Format,
    *,
    done: Conversion,
    labels: Collection[str] | None = None,
    progress: Progress | None = None,
) -> list[Kept]:
    """Read the annotations of a folder, and return the frames that can be imported.

    Args:
        source: folder of the annotations and images.
        annotations: tool that wrote the annotations.
        done: result of the import; gets the counts and the rejected items.
        labels: labels of the shapes that are lanes; None: all labels.
        progress: callback, called as progress(frames done, frames in total).

    Raises:
        LgadError: `source` holds no usable image, or a label of `labels` does not occur.
    """
    annotated = list(_READERS[annotations](source, done.rejected))
    images = Images(source, {annotation.file for annotation in annotated})
    placed = place_images(annotated, images, rejected=done.rejected)
    done.other_images = images_of_other_names(placed, images)
    kept = []
    names = images.paths | {image for _, image in placed}
    for number, (annotation, image) in enumerate(placed, 1):
        if (frame := _frame(source, annotation, image, labels, done, names)) is not None:
            kept.append(frame)
        if progress is not None:
            progress(number, len(placed))
    _refuse_unknown(labels, done.shapes)
    if not kept:
        example = next(
            (f"{place_of(item.file, item.line)}: {item.reason}" for item in done.rejected),
            "it names no image",
        )
        raise LgadError(f"{source} holds no annotated image of format {annotations} ({example}).")
    done.sizes = Counter(frame.size for frame in kept)
    size = done.sizes.most_common(1)[0][0]
    done.lanes = [lane for frame in kept if frame.size == size for lane in frame.lanes]
    done.count = sum(len(frame.lanes) for frame in kept)
    done.types = Counter(name for frame in kept for name in frame.types if name)
    done.unused = len(images.paths - {image for _, image in placed})
    done.embedded = sum(frame.image not in images.paths for frame in kept)
    done.notes = lane_notes(*zip(*[(frame.image, frame.lanes, frame.size) for frame in kept], strict=True))
    return kept


def write_kept(source: Source, frame: Kept, *, output: Path, name: str) -> None:
    """Write the image, the lane file and the types of the lanes of a frame.

    Args:
        source: folder of the annotations and images.
        frame: frame to write.
        output: directory of the data set.
        name: path of the frame below `output`.
    """
    write_frame(source, frame.image, annotation=frame.annotation, turned=frame.turned, target=output / name)
    write_lanes(lane_file(output, name), frame.lanes)
    write_types(lane_file(output, name), frame.types)


def _require_new(output: Path) -> None:
    if any("\udc80" <= character <= "\udcff" for character in str(output.resolve())):
        raise LgadError(f"The path {output} is not UTF-8, which settings files need; name another folder.")
    if output.is_file() or (output.exists() and any(output.iterdir())):
        raise LgadError(f"{output} is not empty; name a new folder for the data set.")
    require_writable(output, folder=True)


def _frame(
    source: Source,
    annotation: Annotation,
    assigned: str,
    labels: Collection[str] | None,
    done: Conversion,
    names: set[str],
) -> Kept | None:
    """Convert one annotation to a frame with lanes in the pixels of its image; None if it is rejected.

    Args:
        source: folder of the annotations and images.
        annotation: annotation of the frame.
        assigned: path of its image; that of an embedded image gets its suffix here.
        labels: labels of the shapes that are lanes; None: all labels.
        done: result of the import; gets the counts and the rejected items.
        names: paths of all images; gets that of this frame.
    """
    place = place_of(annotation.file, annotation.line)
    if annotation.predicted:
        done.rejected.append(Rejected(annotation.file, annotation.line, _UNCHECKED))
        return None
    image = assigned
    try:
        data, image = image_of(source, annotation, image=assigned)
        if image != assigned and image in names:
            raise LgadError(f"is the image of another annotation, too; rename {place}")
        names.add(image)
        size = whole_image_size(data)
        refuse_unscaled(data)
        turned = image_orientation(data) != 1
        if turned:
            read_image(data)  # it will be encoded again, which a damaged one cannot be
        if annotation.embedded:
            refuse_other_picture(source, annotation, data)
        scale = scale_to(size, annotation.size)
        lanes, types, faults, drawn = lanes_of(
            annotation.shapes, place, size=size, scale=scale, labels=labels, tally=done.shapes
        )
        if faults and not lanes:
            raise LgadError(
                f"has shapes, but none of them is a lane ({faults[0]}); correct them, or choose the labels "
                "of lanes with --labels"
            )
        if annotation.size is None:
            refuse_outside(lanes, size)
    except FileNotFoundError:
        done.rejected.append(Rejected(image, None, "is annotated but missing; put the image there"))
        return None
    except LgadError as error:
        done.rejected.append(Rejected(image, None, str(error)))
        return None
    done.empty += not drawn
    done.other_labels += drawn > 0 and not lanes
    done.scaled += scale != SAME
    done.turned += turned
    return Kept(annotation, image, size, lanes, types, turned)


def _refuse_unknown(labels: Collection[str] | None, shapes: Tally) -> None:
    if unknown := sorted(set(labels or ()) - set(shapes.labels)):
        named = ", ".join(map(label_as_typed, unknown))
        known = ", ".join(map(label_as_typed, sorted(shapes.labels))) or "none"
        raise LgadError(f"--labels names {named}, which no shape has; the labels are {known}.")


def label_as_typed(label: str) -> str:
    """Return a label as the option --labels reads it: in double quotes if it has a comma."""
    return f'"{label}"' if "," in label else label or "(none)"
