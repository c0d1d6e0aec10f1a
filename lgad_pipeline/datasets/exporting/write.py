"""Export of frames with lanes to a folder that labelme or CVAT can open."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from lgad_pipeline.atomic_files import link_or_copy, require_writable, write_text
from lgad_pipeline.datasets.exporting import cvat, labelme
from lgad_pipeline.datasets.exporting.tool_lanes import LabelledFrame
from lgad_pipeline.datasets.images import image_size
from lgad_pipeline.datasets.importing.convert import Format
from lgad_pipeline.datasets.safe_io import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.lanes.lane_files import Rejected, find_lane_file, read_lanes
from lgad_pipeline.lanes.lane_types import read_types
from lgad_pipeline.progress import Progress

_IMAGE_LIMIT = 256 << 20  # bytes


def require_new(output: Path) -> None:
    """Check that a folder is missing or empty and can be written.

    Raises:
        LgadError: it is not.
    """
    if output.is_file() or (output.exists() and any(output.iterdir())):
        raise LgadError(f"{output} is not empty; name a new folder, so that no annotation is replaced.")
    require_writable(output, folder=True)


def write_annotations(
    frames: Iterable[LabelledFrame],
    root: Path,
    output: Path,
    *,
    annotations: Format,
    rejected: list[Rejected] | None = None,
) -> int:
    """Write images and annotations of frames: labelme: a JSON file next to each image; CVAT: one XML file.

    Images keep their paths. They are hard links where the file system allows it, else copies.

    Args:
        frames: frames below `root`.
        root: directory of the images.
        output: directory to write, missing or empty.
        annotations: tool that reads the annotations.
        rejected: list to which frames with the annotation file of an earlier frame are appended; None: such
            a frame is an error.

    Returns:
        Number of frames written.

    Raises:
        LgadError: two frames have the same annotation file and `rejected` is None, or a file cannot be
            written.
    """
    require_new(output)
    written: list[LabelledFrame] = []
    files: set[str] = set()
    for frame in frames:
        if annotations is Format.LABELME:
            file = labelme.annotation_file(frame.name)
            if file in files:
                reason = (
                    f"has the annotation file {file} of another frame, as their names differ in the ending "
                    "alone; export to CVAT, or rename one of them"
                )
                if rejected is None:
                    raise LgadError(f"{frame.name} {reason}.")
                rejected.append(Rejected(frame.name, None, reason))
                continue
            files.add(file)
            write_text(output / file, labelme.annotation_text(frame), durable=False)
        _place_image(root, frame.name, output / frame.name)
        written.append(frame)
    if annotations is Format.CVAT and written:
        write_text(output / cvat.ANNOTATION_FILE, cvat.annotations_text(written))
    return len(written)


def labelled_frames(
    root: Path,
    names: Collection[str],
    *,
    rejected: list[Rejected],
    follow_links: bool = False,
    progress: Progress | None = None,
) -> Iterator[LabelledFrame]:
    """Yield the frames of a data set in CULane's layout with their lanes.

    Args:
        root: directory of the frames and lane files.
        names: paths of the frames below `root`.
        rejected: list to which frames without a usable image or lane file are appended.
        follow_links: use frames that are links to files outside of `root`.
        progress: called as progress(frames done, frames in total).
    """
    for number, name in enumerate(names, 1):
        try:
            size = image_size(read_inside(root, name, limit=_IMAGE_LIMIT, follow_links=follow_links))
            file = find_lane_file(root, name)
            lanes = read_lanes(file)
            types = read_types(file, lanes=len(lanes)) or [""] * len(lanes)
            kept = [(lane, type_) for lane, type_ in zip(lanes, types, strict=True) if len(lane)]
            lanes, types = [lane for lane, _ in kept], [type_ for _, type_ in kept]
            yield LabelledFrame(name, size, lanes, types=types)
        except FileNotFoundError:
            rejected.append(Rejected(name, None, "is listed but missing; restore it or correct the list"))
        except LgadError as error:
            rejected.append(Rejected(name, None, str(error).rstrip(".")))
        if progress is not None:
            progress(number, len(names))


def _place_image(root: Path, name: str, target: Path) -> None:
    if ".." in PurePosixPath(name).parts:
        raise LgadError(f"{name} leads out of {root}; name a frame below it.")
    link_or_copy(resolve_inside(root, name), target, durable=False)
