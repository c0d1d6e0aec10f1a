"""Sources of frames: a picture, a folder, a glob pattern, videos, a camera or a stream."""

import glob
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.drawn_pictures import is_own_picture
from lgad_pipeline.inference.prediction_journal import VIDEO
from lgad_pipeline.inference.video_reader import VIDEO_SUFFIXES, is_stream
from lgad_pipeline.lanes.frame_list import read_frame_list

_OTHER_IMAGES = {
    *(".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jxl", ".pgm", ".ppm", ".tif"),
    *(".tiff", ".webp"),
}


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


class Sources(NamedTuple):
    """Frames and videos to predict.

    Attributes:
        root: directory of the frames and videos; for a stream a path that does not exist.
        frames: paths of the frames below it.
        videos: videos and streams, each as `VideoReader` takes it.
        notes: sentences for the user.
    """

    root: Path
    frames: list[str]
    videos: list[str]
    notes: list[str]


def find_sources(source: str, frame_list: Path | None, *, rejected: RejectedFrames) -> Sources:
    """Find the frames and videos that a source names.

    Args:
        source: a picture, a directory of frames, a glob pattern of pictures or videos, a video, the index
            of a camera, or the address of a stream.
        frame_list: list of frames, one per line; None for every image below the directory.
        rejected: gets the images and lines that cannot be used.

    Raises:
        LgadError: there is neither a frame nor a video.
    """
    path = Path(source)
    if frame_list is not None and not path.is_dir():
        raise LgadError(f"{source} is not a folder; give the folder of the frames together with --list.")
    if is_stream(source):
        return Sources(Path("/nonexistent"), [], [source], [])
    if path.is_file():
        return _of_files([path], path.parent, source)
    if path.is_dir():
        return _of_folder(path, frame_list, rejected)
    if glob.has_magic(source):
        # pathlib's globs do not take patterns that begin with a slash.
        names = sorted(glob.iglob(source, recursive=True))  # noqa: PTH207
        found = [Path(name) for name in names if Path(name).is_file()]
        if not found:
            raise LgadError(f"No file has a name of the form {source}; correct the pattern.")
        others = [file for file in found if not (file.name.endswith(VIDEO) or is_own_picture(file))]
        if not others:
            raise LgadError(
                f"The files with a name of the form {source} are results of lgad predict; give a pattern of "
                "frames or videos."
            )
        root = Path(os.path.commonpath([file.parent for file in others]))
        return _of_files(others, root, source)
    if path.exists():  # a device, a pipe or a socket
        raise LgadError(
            f"{source} is a device or a pipe; give a file, or the index of a camera: 0 for /dev/video0."
        )
    raise LgadError(f"{source} does not exist; give a folder of frames, a picture or a video.")


def _of_files(files: list[Path], root: Path, source: str) -> Sources:
    frames = [file.relative_to(root).as_posix() for file in files if file.suffix.lower() in IMAGE_SUFFIXES]
    videos = [str(file) for file in files if file.suffix.lower() in VIDEO_SUFFIXES]
    if len(frames) + len(videos) < len(files):
        other = next(file for file in files if file.suffix.lower() not in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES))
        raise LgadError(
            f"{other} is neither a JPEG or PNG frame nor a video ({', '.join(VIDEO_SUFFIXES)}); convert it"
            + (", or give a narrower pattern." if str(other) != source else ".")
        )
    return Sources(root, frames, videos, [])


def _of_folder(folder: Path, frame_list: Path | None, rejected: RejectedFrames) -> Sources:
    if frame_list is None:
        names = sorted(_images(folder, rejected))
        if not names:
            raise LgadError(f"{folder} holds no JPEG or PNG frames; give the folder that does.")
        return Sources(folder, names, [], [])
    listed = read_frame_list(frame_list, folder)
    for fault in listed.rejected:
        rejected.add(f"{fault.file}, line {fault.line}", fault.reason)
    if not listed.entries:
        raise LgadError(f"{frame_list} names no frame; give a list with one frame a line.")
    notes = (
        [f"{listed.repeated} lines of {frame_list} name a frame again; each frame is used once."]
        if listed.repeated
        else []
    )
    return Sources(folder, listed.frames, [], notes)


def _images(folder: Path, rejected: RejectedFrames) -> Iterator[str]:
    """Yield the images below a folder, without hidden files and folders, and own pictures."""

    def refuse(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise error
        name = Path(error.filename).relative_to(folder).as_posix()
        rejected.add(name, f"cannot be read ({error.strerror}); give the permission to read this folder")

    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(parent, name) for name in folders):
            if path.is_symlink():
                name = path.relative_to(folder).as_posix()
                rejected.add(name, "is a link to a folder; predict it by itself")
        for path in (Path(parent, name) for name in files if not name.startswith(".")):
            name, suffix = path.relative_to(folder).as_posix(), path.suffix.lower()
            if suffix in _OTHER_IMAGES:
                rejected.add(name, f"is a {suffix} image; convert it to JPEG or PNG")
            elif suffix in VIDEO_SUFFIXES:
                if not path.name.endswith(VIDEO):
                    rejected.add(name, "is a video; predict it by itself")
            elif suffix in IMAGE_SUFFIXES and not is_own_picture(path):
                yield name
