"""Annotations of another tool become a folder in CULane's layout."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np

from lgad_pipeline.data.entries import SetAside
from lgad_pipeline.data.frames import SPLITS
from lgad_pipeline.data.images import whole_image_size
from lgad_pipeline.data.importing import cvat, labelme
from lgad_pipeline.data.importing.points import Imported
from lgad_pipeline.data.reading import read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path, write_text
from lgad_pipeline.lanes.files import lane_file, write_lanes


class Format(StrEnum):
    """Tools whose annotations can be read."""

    LABELME = "labelme"
    CVAT = "cvat"


_READERS: dict[Format, Callable[[Path, list[SetAside]], Iterator[Imported]]] = {
    Format.LABELME: labelme.read,
    Format.CVAT: cvat.read,
}

_IMAGE_LIMIT = 256 << 20  # bytes


@dataclass(frozen=True)
class Conversion:
    """What became of an import.

    Attributes:
        frames: split -> number of frames.
        sizes: (H, W) -> number of frames; the data set needs one size.
        set_aside: file below the source, line, reason.
    """

    frames: dict[str, int]
    sizes: Counter[tuple[int, int]]
    set_aside: list[SetAside]


def convert(
    source: Path,
    output: Path,
    annotations: Format,
    val: float = 0.1,
    test: float = 0.2,
    run: int = 50,
    seed: int = 0,
) -> Conversion:
    """Write frames, lane files and lists in CULane's layout.

    Frames are hard links where the file system allows it, else copies. Neighbouring frames of a recording
    look alike, so splits are drawn by runs of consecutive frames (by name, within a folder), not by frames.

    Args:
        source: folder of the annotations and images.
        output: a new or empty folder.
        annotations: tool that they come from.
        val: share of the validation frames.
        test: share of the test frames.
        run: frames that stay together.
        seed: of the draw.

    Raises:
        LgadError: `source` is missing or holds no usable image, or `output` is not empty or not writable.
    """
    if not source.is_dir():
        raise LgadError(f"The folder {source} is missing; name the folder of the annotations.")
    if output.exists() and any(output.iterdir()):
        raise LgadError(f"{output} is not empty; name a new folder for the data set.")
    set_aside: list[SetAside] = []
    sizes: Counter[tuple[int, int]] = Counter()
    kept: dict[str, Imported] = {}
    for found in _READERS[annotations](source, set_aside):
        try:
            if found.image in kept:
                raise LgadError("is annotated twice, the first time counts; take one annotation out")
            sizes[whole_image_size(read_inside(source, found.image, _IMAGE_LIMIT))] += 1
        except FileNotFoundError:
            set_aside.append((found.image, None, "is annotated but missing; put the image there"))
            continue
        except LgadError as error:
            set_aside.append((found.image, None, str(error)))
            continue
        kept[found.image] = found
        _place(source / found.image, output / found.image)
        write_lanes(lane_file(output, found.image), found.lanes)
    if not kept:
        example = "; ".join(f"{file}: {reason}" for file, _, reason in set_aside[:1]) or "nothing was found"
        raise LgadError(f"{source} holds no annotated image of format {annotations} ({example}); correct it.")
    splits = draw_splits(sorted(kept), val, test, run, seed)
    for split in SPLITS:
        write_text(output / "list" / f"{split}.txt", "".join(f"{frame}\n" for frame in splits[split]))
    return Conversion({split: len(frames) for split, frames in splits.items()}, sizes, set_aside)


def draw_splits(frames: list[str], val: float, test: float, run: int, seed: int) -> dict[str, list[str]]:
    """Frames, sorted, by split: runs of consecutive ones are drawn until a split has its share."""
    folders = groupby(frames, key=lambda frame: PurePosixPath(frame).parent)
    runs = [
        members[first : first + run]
        for members in (list(members) for _, members in folders)
        for first in range(0, len(members), run)
    ]
    splits: dict[str, list[str]] = {split: [] for split in SPLITS}
    for place in np.random.default_rng(seed).permutation(len(runs)):
        if len(splits["test"]) < test * len(frames):
            split = "test"
        elif len(splits["val"]) < val * len(frames):
            split = "val"
        else:
            split = "train"
        splits[split] += runs[place]
    return {split: sorted(members) for split, members in splits.items()}


def _place(image: Path, target: Path) -> None:
    with atomic_path(target) as beside:
        try:
            os.link(image.resolve(), beside)
        except OSError:
            shutil.copyfile(image, beside)
