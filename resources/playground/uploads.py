"""Uploaded pictures and clips, which are checked before they are decoded: size, type, pixels."""

import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np

from lgad_pipeline.datasets.images import IMAGE_SUFFIXES
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.input_frames import read_frame
from lgad_pipeline.inference.video_reader import VIDEO_SUFFIXES, VideoReader

LARGEST_UPLOAD = 64
"""Greatest size of an uploaded file, MB; the server refuses larger ones."""
MOST_CLIP_FRAMES = 300
"""Number of frames at the start of a clip that can be chosen."""
SUFFIXES = (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)


def is_clip(name: str) -> bool:
    """Return True if a file is a video, by the ending of its name."""
    return name.lower().endswith(VIDEO_SUFFIXES)


def uploaded_picture(name: str, data: bytes) -> np.ndarray:
    """Decode an uploaded picture to uint8 (H, W, 3) RGB.

    Raises:
        LgadError: it is not a JPEG or PNG file, is damaged, too large or too small.
    """
    _check(name, data)
    try:
        return read_frame(data)
    except LgadError as error:
        raise LgadError(f"{Path(name).name} {error}.") from error


def clip_frame(name: str, data: bytes, number: int) -> tuple[np.ndarray, int]:
    """Decode one frame of an uploaded clip.

    Args:
        name: name of the file.
        data: bytes of the file.
        number: number of the frame, from 0; of a shorter clip the last frame is returned.

    Returns:
        The frame, uint8 (H, W, 3) RGB, and its number.

    Raises:
        LgadError: the clip cannot be read, or its frames are too large or too small.
    """
    _check(name, data)
    ending = next(suffix for suffix in VIDEO_SUFFIXES if name.lower().endswith(suffix))
    with tempfile.NamedTemporaryFile(suffix=ending, prefix="lgad-clip-") as file:  # no name of the user's
        file.write(data)
        file.flush()
        try:
            with closing(VideoReader(file.name).frames()) as frames:
                frame = next(frames)
                for following in frames:
                    if frame.number >= min(number, MOST_CLIP_FRAMES - 1):
                        break
                    frame = following
        except LgadError as error:
            raise LgadError(str(error).replace(file.name, Path(name).name)) from error
    return frame.image, frame.number


def _check(name: str, data: bytes) -> None:
    if len(data) > LARGEST_UPLOAD << 20:
        raise LgadError(f"{Path(name).name} has more than {LARGEST_UPLOAD} MB; give a smaller file.")
    if not name.lower().endswith(SUFFIXES):
        raise LgadError(
            f"{Path(name).name} is neither a picture nor a clip; allowed are {', '.join(SUFFIXES)}."
        )
