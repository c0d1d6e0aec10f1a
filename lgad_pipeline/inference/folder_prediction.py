"""Prediction for the frames of a directory: a lane file per frame, and the frames that were rejected."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from lgad_pipeline.datasets.safe_io import read_regular
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import FramePredictor, Lane
from lgad_pipeline.inference.input_frames import read_frame
from lgad_pipeline.inference.prediction_folder import PredictionFolder, marked_picture
from lgad_pipeline.inference.sources import RejectedFrames
from lgad_pipeline.lanes.file_names import OtherCase
from lgad_pipeline.lanes.lane_files import lanes_text, resolve_inside

_BATCH = 8
_LARGEST_FILE = 1 << 28  # bytes


def predict_folder(
    predictor: FramePredictor,
    root: Path,
    names: Sequence[str],
    output: PredictionFolder,
    rejected: RejectedFrames,
    *,
    draw: Callable[[np.ndarray, list[Lane]], bytes] | None = None,
    record: Callable[[str, list[Lane]], object] | None = None,
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
        record: called with the path and the lanes of each frame; None for nothing.
        progress: called with (frames done, frames in all).

    Returns:
        Number of predicted frames by size (H, W), pixels.
    """
    sizes: Counter[tuple[int, int]] = Counter()
    for start in range(0, len(names), _BATCH):
        batch = names[start : start + _BATCH]
        sizes.update(_predict_batch(predictor, root, batch, output, rejected, draw, record))
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
    record: Callable[[str, list[Lane]], object] | None,
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
        if record is not None:
            record(name, lanes)
        output.write(name, lanes_text([lane.points for lane in lanes]).encode(), picture)
    return [frame.view.frame_size for frame in inputs]
