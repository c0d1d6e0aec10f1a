"""Sizes of frames, read from the headers of their images, or given or assumed without an image."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from lgad_pipeline.datasets.image_headers import ImageError
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES, image_size
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import resolve_inside, stored_name
from lgad_pipeline.wording import counted, size_text

_SUFFIXES = (*IMAGE_SUFFIXES, *map(str.upper, IMAGE_SUFFIXES))
_NO_IMAGE, _FROM_IMAGE, _UNREADABLE = 0, 1, 2


@dataclass(frozen=True)
class FrameSizes:
    """Sizes of the frames of a list; picklable, because other processes read the headers.

    Attributes:
        roots: directories that may hold the images of the frames.
        stated: (H, W) that the user gave, px; an image of another size is an error. None: not given.
        assumed: (H, W) of the frames without an image, px.
        first: name of the first frame, for messages.
    """

    roots: tuple[Path, ...]
    stated: tuple[int, int] | None
    assumed: tuple[int, int]
    first: str = ""

    @classmethod
    def of(
        cls,
        frames: Sequence[str],
        roots: Sequence[Path],
        *,
        stated: tuple[int, int] | None,
        default: tuple[int, int],
    ) -> Self:
        """Prepare the sizes of frames; one without an image is assumed to have the size of the first image.

        Args:
            frames: paths of the frames relative to the roots.
            roots: directories that may hold the images of the frames.
            stated: (H, W) that the user gave, px; None: not given.
            default: (H, W) that is assumed if there is no image and no size is given, px.

        Raises:
            LgadError: the first image is not of the size stated.
        """
        measured = cls(tuple(dict.fromkeys(roots)), stated, stated or default, frames[0])
        for frame in frames:
            height, width, source = measured._size(frame)
            if source == _FROM_IMAGE:
                return replace(measured, assumed=(height, width))
        return measured

    def __call__(self, frames: Sequence[str]) -> np.ndarray:
        """Sizes of some of the frames, int32 (frames, 3) as (H, W, source of the size).

        Raises:
            LgadError: an image is not of the size stated.
        """
        return np.array([self._size(frame) for frame in frames], np.int32).reshape(-1, 3)

    def _size(self, frame: str) -> tuple[int, int, int]:
        path = _image_file(self.roots, frame)
        if path is None:
            return *self.assumed, _NO_IMAGE
        try:
            size = image_size(path)
        except ImageError:
            return *self.assumed, _UNREADABLE
        if self.stated and size != self.stated:
            raise LgadError(
                f"{path} has {size_text([size])}, but the frame size is given as {size_text([self.stated])}; "
                "leave the frame size out or correct it."
            )
        return *size, _FROM_IMAGE

    def describe(self, sizes: np.ndarray) -> str:
        """One sentence on where the sizes (frames, 3), as a call returns them, come from."""
        source = sizes[:, 2]
        known = sizes[source == _FROM_IMAGE, :2]
        unknown = len(sizes) - len(known)
        broken = int((source == _UNREADABLE).sum())
        if not len(known):
            why = f"there are no readable images; the first would be {self.roots[0] / self.first}"
            if self.stated:
                return f"Frame size: {size_text([self.stated])} as given ({why})."
            assumed = size_text([self.assumed])
            return f"Frame size: {assumed} is assumed ({why}); give the size if it is another."
        counts = Counter(map(tuple, known.tolist())).most_common()
        shown = ", ".join(f"{size_text([size])} ({counted(count, 'frame')})" for size, count in counts[:5])
        shown = size_text(known) if len(counts) == 1 else shown + (" and others" if len(counts) > 5 else "")
        text = f"Frame size{'s' * (len(counts) > 1)}: {shown}, from the images"
        if unknown:
            frames = counted(unknown, "frame")
            text += f"; {size_text([self.assumed])} is assumed for {frames} without a readable image"
        return text + (f" ({broken} cannot be read)." if broken else ".")

    def table(self, sizes: np.ndarray) -> dict[str, int]:
        """Count the frames of each size, such as {"1640x590": 300}, the most frequent first."""
        counts = Counter(map(tuple, sizes[:, :2].tolist()))
        return {f"{width}x{height}": count for (height, width), count in counts.most_common()}


def _image_file(roots: Sequence[Path], frame: str) -> Path | None:
    """Find the image of a frame, whose suffix may be another one than its name has."""
    named = frame.lower().endswith(IMAGE_SUFFIXES)
    stem = frame.rpartition(".")[0] if named else frame
    names = [frame] * named + [f"{stem}{suffix}" for suffix in _SUFFIXES]
    for root in roots:
        for name in names:
            path = resolve_inside(root, stored_name(root, name))
            if path.is_file():
                return path
    return None
