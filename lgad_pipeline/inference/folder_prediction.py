"""Prediction for the frames of a directory: a lane file per frame, and the frames that were rejected."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.datasets.safe_io import read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import FramePredictor, Lane
from lgad_pipeline.inference.input_frames import read_frame
from lgad_pipeline.inference.prediction_folder import PredictionFolder, is_own_picture, marked_picture
from lgad_pipeline.lanes.file_names import OtherCase
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import lanes_text, resolve_inside

_BATCH = 8
_LARGEST_FILE = 1 << 28  # bytes
_OTHER_IMAGES = (".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm", ".jp2", ".heic", ".avif")


class RejectedFrames:
    """Frames that were not used, grouped by reason."""

    def __init__(self) -> None:
        self._by_reason: dict[str, list[str]] = defaultdict(list)

    def add(self, frame: str, reason: object) -> None:
        """Add a frame; the reason is a clause such as "is a .bmp image"."""
        self._by_reason[str(reason).rstrip(".")].append(frame)

    def sentences(self) -> list[str]:
        """Return one line per reason, with the first of its frames."""
        lines = []
        for reason, frames in self._by_reason.items():
            more = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
            lines.append(f"rejected: {frames[0]}{more}: {reason}.")
        return lines


def find_frames(
    frames: Path, frame_list: Path | None, rejected: RejectedFrames
) -> tuple[Path, list[str], list[str]]:
    """Find the frames of a directory.

    Args:
        frames: directory of the frames, or a single frame.
        frame_list: list of frames, one per line; None for every image below the directory.
        rejected: gets the images and lines that cannot be used.

    Returns:
        The directory, the paths of the frames below it, and sentences for the user.

    Raises:
        LgadError: there is no frame.
    """
    if frames.is_file():
        if frame_list is not None:
            raise LgadError(f"{frames} is a file; give the folder of the frames together with --list.")
        if frames.suffix.lower() not in IMAGE_SUFFIXES:
            raise LgadError(
                f"{frames} is no JPEG or PNG frame; cut a video into frames first "
                "(ffmpeg -i VIDEO FOLDER/%06d.jpg), and give a list with --list."
            )
        return frames.parent, [frames.name], []
    if not frames.is_dir():
        raise LgadError(f"{frames} does not exist; give the folder of the frames.")
    if frame_list is None:
        names = sorted(_images(frames, rejected))
        if not names:
            raise LgadError(f"{frames} holds no JPEG or PNG frames; give the folder that does.")
        return frames, names, []
    listed = read_frame_list(frame_list, frames)
    for fault in listed.rejected:
        rejected.add(f"{fault.file}, line {fault.line}", fault.reason)
    if not listed.entries:
        raise LgadError(f"{frame_list} names no frame; give a list with one frame a line.")
    notes = (
        [f"{listed.repeated} lines of {frame_list} name a frame again; each frame is used once."]
        if listed.repeated
        else []
    )
    return frames, listed.frames, notes


def predict_folder(
    predictor: FramePredictor,
    root: Path,
    names: Sequence[str],
    output: PredictionFolder,
    rejected: RejectedFrames,
    *,
    draw: Callable[[np.ndarray, list[Lane]], bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Counter[tuple[int, int]]:
    """Write a lane file for each frame.

    Args:
        predictor: the network.
        root: directory of the frames.
        names: paths of the frames below `root`.
        output: directory of the lane files, which has chosen the names of the results.
        rejected: gets the frames that cannot be read.
        draw: draws lanes over a frame, uint8 (H, W, 3) RGB, and returns a JPEG file; None for no pictures.
        progress: called with (frames done, frames in all).

    Returns:
        Number of predicted frames by size (H, W), pixels.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        sizes.update(_predict_batch(predictor, root, batch, output, rejected, draw))
        if progress is not None:
            progress(start + len(batch), len(names))
    return sizes


def _predict_batch(
    predictor: FramePredictor,
    root: Path,
    names: Sequence[str],
    output: PredictionFolder,
    rejected: RejectedFrames,
    draw: Callable[[np.ndarray, list[Lane]], bytes] | None,
) -> list[tuple[int, int]]:
    """Predict some frames, and return the sizes (H, W) of those that can be read."""
    usable, inputs, originals, other_case = [], [], [], OtherCase(root)
    for name in names:
        try:
            frame = read_frame(read_regular(resolve_inside(root, name), _LARGEST_FILE))
        except LgadError as error:
            rejected.add(name, error)
            continue
        except OSError as error:
            found = other_case.find(name) if isinstance(error, FileNotFoundError) else None
            remedy = f"write it as {found}, its file" if found else "correct the path or the permission"
            rejected.add(name, f"cannot be read ({error.strerror}); {remedy}")
            continue
        usable.append(name)
        inputs.append(predictor.prepare(frame))
        originals.append(frame if draw else None)
    for name, frame, lanes in zip(usable, originals, predictor.predict_prepared(inputs), strict=True):
        picture = None
        if draw and frame is not None:
            picture = marked_picture(draw(frame, lanes))
        output.write(name, lanes_text([lane.points for lane in lanes]).encode(), picture)
    return [frame.view.frame_size for frame in inputs]


def _images(folder: Path, rejected: RejectedFrames) -> Iterator[str]:
    """Yield the images below a folder, without hidden files and pictures drawn by this function."""
    for path in folder.rglob("*"):
        suffix = path.suffix.lower()
        if suffix not in (*IMAGE_SUFFIXES, *_OTHER_IMAGES) or path.name.startswith(".") or path.is_dir():
            continue
        name = path.relative_to(folder).as_posix()
        if suffix in _OTHER_IMAGES:
            rejected.add(name, f"is a {suffix} image; convert it to JPEG or PNG")
        elif not is_own_picture(path):
            yield name
