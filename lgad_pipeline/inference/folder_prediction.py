"""Prediction for the frames of a directory: a lane file per frame, and the frames that were rejected."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgad_pipeline.datasets.safe_io import read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.drawn_pictures import marked_picture
from lgad_pipeline.inference.frame_predictor import FramePredictor, Lane, PreparedFrame
from lgad_pipeline.inference.input_frames import read_frame
from lgad_pipeline.inference.prediction_folder import PredictionFolder
from lgad_pipeline.inference.sources import RejectedFrames
from lgad_pipeline.lanes.file_names import LONGEST_NAME, OtherCase, resolve_inside
from lgad_pipeline.lanes.lane_files import lanes_text
from lgad_pipeline.lanes.lane_types import types_text
from lgad_pipeline.progress import Progress
from lgad_pipeline.thread_pool import ordered_map

_BATCH = 8
_LARGEST_FILE = 1 << 28  # bytes


def predict_folder(
    predictor: FramePredictor,
    root: Path,
    *,
    names: Sequence[str],
    output: PredictionFolder,
    rejected: RejectedFrames,
    draw: Callable[[np.ndarray, list[Lane]], bytes] | None = None,
    record: Callable[[str, list[Lane]], object] | None = None,
    progress: Progress | None = None,
) -> Counter[tuple[int, int]]:
    """Write a lane file for each frame, and the types of its lanes if the network predicts them.

    Args:
        predictor: trained network that finds the lanes.
        root: directory of the frames.
        names: paths of the frames below `root`.
        output: directory of the lane files, which has chosen the names of the results.
        rejected: gets the frames that cannot be read.
        draw: draws lanes over a frame, uint8 (H, W, 3) RGB, and returns a JPEG file; None for no pictures.
        record: called with the path and the lanes of each frame; None for nothing.
        progress: called with (frames done, frames in all).

    Returns:
        Number of predicted frames by size (H, W), pixels.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    workers, other_case = len(os.sched_getaffinity(0)), OtherCase(root)

    def read(name: str) -> _Input:
        return _read(predictor, root, name, keep_frame=draw is not None)

    def finish(result: tuple[_Input, list[Lane]]) -> tuple[_Input, list[Lane]]:
        frame, lanes = result
        if frame.prepared is not None:
            picture = None
            if draw is not None and frame.original is not None:
                picture = marked_picture(draw(frame.original, lanes))
            types = types_text(lane.type for lane in lanes).encode() if predictor.lane_types else None
            text = lanes_text([lane.points for lane in lanes])
            output.write(frame.name, text.encode(), picture, types=types)
        return frame, lanes

    # Frames are read ahead, and results drawn and written, by threads, while this thread runs the network.
    with (
        closing(ordered_map(read, names, workers=workers, ahead=2 * _BATCH)) as inputs,
        closing(
            ordered_map(finish, _predict(predictor, inputs), workers=workers, ahead=2 * _BATCH)
        ) as results,
    ):
        for done, (frame, lanes) in enumerate(results, 1):
            if frame.prepared is None:
                rejected.add(frame.name, _reason(frame, other_case))
            else:
                if record is not None:
                    record(frame.name, lanes)
                sizes[frame.prepared.view.frame_size] += 1
            if progress is not None:
                progress(done, len(names))
    return sizes


class _Input(NamedTuple):
    """Frame that was read, or the error of reading it.

    Attributes:
        name: path of the frame below the directory of the frames.
        prepared: input of the network; None if the frame cannot be read.
        original: the frame, uint8 (H, W, 3) RGB, if it is drawn on.
        fault: error of reading the frame, or None.
    """

    name: str
    prepared: PreparedFrame | None = None
    original: np.ndarray | None = None
    fault: LgadError | OSError | None = None


def _read(predictor: FramePredictor, root: Path, name: str, *, keep_frame: bool) -> _Input:
    """Read a frame and resize it to the input of the network."""
    try:
        if len(os.fsencode(Path(name).name)) > LONGEST_NAME:
            raise LgadError(f"has a name of more than {LONGEST_NAME} bytes; rename the file")
        frame = read_frame(read_regular(resolve_inside(root, name), _LARGEST_FILE))
    except (LgadError, OSError) as error:
        return _Input(name, fault=error)
    return _Input(name, predictor.prepare(frame), frame if keep_frame else None)


def _reason(frame: _Input, other_case: OtherCase) -> object:
    """Return the reason why a frame cannot be read, with the file that a name of other case may mean."""
    if not isinstance(frame.fault, OSError):
        return frame.fault
    found = other_case.find(frame.name) if isinstance(frame.fault, FileNotFoundError) else None
    remedy = f"write it as {found}, its file" if found else "correct the path or the permission"
    return f"cannot be read ({frame.fault.strerror}); {remedy}"


def _predict(predictor: FramePredictor, inputs: Iterator[_Input]) -> Iterator[tuple[_Input, list[Lane]]]:
    """Yield each frame with its lanes, in order, from batches; frames that cannot be read have none."""
    for batch in iter(lambda: list(islice(inputs, _BATCH)), []):
        prepared = [frame.prepared for frame in batch if frame.prepared is not None]
        lanes = iter(predictor.predict_prepared(prepared))
        for frame in batch:
            yield frame, [] if frame.prepared is None else next(lanes)
