"""Checks of frames to predict: limits of their size, and a warning on another aspect ratio."""

from pathlib import Path

import numpy as np

from lgad_pipeline.datasets.image_headers import ImageError
from lgad_pipeline.datasets.images import image_size, read_image
from lgad_pipeline.view import View

LARGEST_FRAME = 50_000_000
"""Greatest number of pixels of a frame."""
SMALLEST_SIDE = 16
"""Least height and width of a frame, pixels."""

_DISTORTION = 1.15
"""Ratio of the aspect ratios above which lanes differ too much from those of the training."""


def check_size(height: int, width: int) -> None:
    """Check that a frame is neither too large nor too small.

    Args:
        height: height of the frame, pixels.
        width: width of the frame, pixels.

    Raises:
        ImageError: it is; the caller adds the name of the frame to the sentence.
    """
    if height * width > LARGEST_FRAME or min(height, width) < SMALLEST_SIDE:
        raise ImageError(
            f"is {width} x {height} px; allowed are {LARGEST_FRAME // 1_000_000} megapixels and sides of at "
            f"least {SMALLEST_SIDE} px"
        )


def read_frame(source: Path | bytes) -> np.ndarray:
    """Decode a JPEG or PNG frame to uint8 (H, W, 3) RGB; the size is checked before decoding.

    Raises:
        ImageError: see `images.read_image` and `check_size`.
    """
    check_size(*image_size(source))
    return read_image(source)


def distortion(frame_size: tuple[int, int], view: View) -> str | None:
    """Warn of frames with another aspect ratio than those of the training; None if it is similar.

    Args:
        frame_size: (H, W) of the frame, pixels.
        view: view of the training.
    """
    (height, width), (trained_height, trained_width) = frame_size, view.frame_size
    ratio = (width / height) / (trained_width / trained_height)
    if max(ratio, 1 / ratio) <= _DISTORTION:
        return None
    return (
        f"Frames of {width} x {height} px have another aspect ratio than the training's "
        f"{trained_width} x {trained_height} px: the network sees them distorted and may miss lanes; "
        "cut them to that ratio, or train on such frames."
    )
