"""Frames without labels that a student has measured, and the choice of those to label next."""

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.config.distillation import attention_layers_of
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.datasets.safe_io import read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.input_frames import read_frame
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.inference.sources import RejectedFrames
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.lanes.lane_files import frame_stem
from lgad_pipeline.progress import Progress
from lgad_pipeline.suggestion.measures import measure
from lgad_pipeline.suggestion.ranking import Suggestion, choose
from lgad_pipeline.thread_pool import ordered_map

_AHEAD = 16
_LARGEST_FILE = 1 << 28  # bytes


class SuggestedFrames(NamedTuple):
    """Frames to label next.

    Attributes:
        frames: path below the directory of the pool and score of each suggested frame, best first.
        pool: number of frames that were measured.
        labelled: number of labelled frames that they were compared with.
        repeats: number of frames left out because they show the same picture as a labelled or suggested one.
    """

    frames: list[tuple[str, Suggestion]]
    pool: int
    labelled: int
    repeats: int


def suggest_frames(
    predictor: LanePredictor,
    root: Path,
    *,
    names: Sequence[str],
    labelled: Iterable[np.ndarray],
    count: int,
    rejected: RejectedFrames,
    other: LanePredictor | None = None,
    progress: Progress | None = None,
) -> SuggestedFrames:
    """Choose the frames of a directory that would improve a student most; see `ranking.choose`.

    Args:
        predictor: trained student.
        root: directory of the frames without labels.
        names: paths of the frames below `root`.
        labelled: network inputs of the labelled frames, uint8 (h, w, 3) RGB each.
        count: greatest number of frames to choose.
        rejected: gets the frames that cannot be read.
        other: second student, whose disagreement with the first counts, too.
        progress: called with (frames read, frames in all).

    Raises:
        LgadError: there is no labelled frame or no frame that can be read, or the student names no layer.
    """
    layer = attention_layers_of(predictor.network)[-1]  # the deepest one
    known = measure(predictor, labelled, layer)
    if not known.hashes:
        raise LgadError("There is no labelled frame to compare with; give the frames of the training.")
    usable: list[str] = []
    writable = _annotatable(names, rejected)
    images = _inputs(predictor, root, writable, usable=usable, rejected=rejected, progress=progress)
    with closing(images):
        pool = measure(predictor, images, layer, other=other)
    if not usable:
        raise LgadError(f"No frame below {root} can be used; {' '.join(rejected.sentences()[:1])}")
    choice = choose(pool, known, count)
    frames = [(usable[suggestion.index], suggestion) for suggestion in choice.chosen]
    return SuggestedFrames(frames, len(usable), len(known.hashes), choice.repeats)


def _annotatable(names: Iterable[str], rejected: RejectedFrames) -> list[str]:
    """Return the frames that can have an annotation file of their own."""
    frames: dict[str, str] = {}
    for name in names:
        stem = frame_stem(name)
        if not _is_text(name):
            reason = "has a name or folder that is not UTF-8, which no annotation can hold; rename it"
            rejected.add(name, reason)
        elif stem in frames:
            reason = (
                f"would have the annotation file of {frames[stem]} (only their endings differ); rename it"
            )
            rejected.add(name, reason)
        else:
            frames[stem] = name
    return list(frames.values())


def _is_text(name: str) -> bool:
    """Return True if a path is UTF-8; Python reads other bytes, such as GBK, as surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def split_images(split: ShardSplit) -> Iterator[np.ndarray]:
    """Yield the images of packed frames, uint8 (h, w, 3) RGB each."""
    return (split[index].image for index in range(len(split)))


def folder_images(
    predictor: LanePredictor, root: Path, names: Sequence[str], *, rejected: RejectedFrames
) -> Iterator[np.ndarray]:
    """Yield the network inputs of the frames of a directory, uint8 (h, w, 3) RGB each."""
    return _inputs(predictor, root, names, usable=[], rejected=rejected, progress=None)


def _inputs(
    predictor: LanePredictor,
    root: Path,
    names: Sequence[str],
    *,
    usable: list[str],
    rejected: RejectedFrames,
    progress: Progress | None,
) -> Generator[np.ndarray]:
    """Yield the input of each frame that can be read, and append its name to `usable`."""

    def read(name: str) -> np.ndarray | LgadError | OSError:
        try:
            frame = read_frame(read_regular(resolve_inside(root, name), _LARGEST_FILE))
        except (LgadError, OSError) as error:
            return error
        return predictor.prepare(frame).image

    workers = len(os.sched_getaffinity(0))
    with closing(ordered_map(read, names, workers=workers, ahead=_AHEAD)) as results:
        for done, (name, result) in enumerate(zip(names, results, strict=True), 1):
            if progress is not None:
                progress(done, len(names))
            if isinstance(result, OSError):
                rejected.add(name, f"cannot be read ({result.strerror}); correct the path or the permission")
            elif isinstance(result, LgadError):
                rejected.add(name, result)
            else:
                usable.append(name)
                yield result
