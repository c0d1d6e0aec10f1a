"""Frames that come from outside: what is accepted, and what another shape than the training's costs."""

from pathlib import Path

import numpy as np

from lgad_pipeline.datasets.images import ImageError, image_size, read_image
from lgad_pipeline.view import View

LARGEST_FRAME = 50_000_000
"""Pixels."""
SMALLEST_SIDE = 16
"""Pixels."""

_DISTORTION = 1.15
"""Ratio of the aspect ratios beyond which lanes look unlike those of the training."""


def check_size(height: int, width: int) -> None:
    """Refuse a frame that is too large or too small.

    Raises:
        ImageError: it is; the sentence leaves the frame's name to the caller.
    """
    if height * width > LARGEST_FRAME or min(height, width) < SMALLEST_SIDE:
        raise ImageError(
            f"is {width} x {height} px; allowed are {LARGEST_FRAME // 1_000_000} megapixels and sides of at "
            f"least {SMALLEST_SIDE} px"
        )


def read_frame(source: Path | bytes) -> np.ndarray:
    """Decode a frame, JPEG or PNG, to uint8 (H, W, 3) RGB; its size is checked before it is decoded.

    Raises:
        ImageError: see `images.read_image` and `check_size`.
    """
    check_size(*image_size(source))
    return read_image(source)


def distortion(frame_size: tuple[int, int], view: View) -> str | None:
    """Say in one sentence that frames have another aspect ratio than the training's; None if they do not.

    Args:
        frame_size: (H, W) of the frame, pixels.
        view: of the training.
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
