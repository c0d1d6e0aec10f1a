"""Prediction for a packed split: a lane file per frame."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from lgad_pipeline.data.loader import Batch, collate, in_order
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes
from lgad_pipeline.lanes.lane_types import remove_types, write_types
from lgad_pipeline.process_pool import map_parts, uses_cluster
from lgad_pipeline.progress import Progress

PredictedFrame = tuple[str, list[np.ndarray], list[str]]
"""Path of a frame; its lanes, float32 (N, 2) each, (x, y) in frame pixels; and their types, if known."""
_BATCHES_PER_PART = 16


def predict_split(
    folder: Path,
    split: ShardSplit,
    *,
    output_root: Path,
    progress: Progress | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> None:
    """Write a lane file below `output_root` for every frame of a packed split, also for those without lanes.

    If the network predicts types of lanes, each frame with lanes gets a file of types, too.

    Args:
        folder: directory of the trained student.
        split: packed frames.
        output_root: directory of the lane files, with the layout of the data set.
        progress: called as progress(frames done, frames in total).
        device: device of the network; auto for a GPU if there is one.
        batch_size: number of frames per forward pass.
    """
    done = 0
    for predicted in _predicted_parts(folder, split, device, batch_size):
        for frame, lanes, types in predicted:
            path = lane_file(output_root, frame)
            remove_types(path)  # of an earlier prediction
            write_lanes(path, lanes)
            write_types(path, types)
        done += len(predicted)
        if progress is not None:
            progress(done, len(split))


def _predicted_parts(
    folder: Path, split: ShardSplit, device: str, batch_size: int
) -> Iterator[list[PredictedFrame]]:
    """Yield the lanes of all frames in order: batch by batch, or in larger parts from the cluster in use."""
    if uses_cluster():
        size = batch_size * _BATCHES_PER_PART
        parts = [range(first, min(first + size, len(split))) for first in range(0, len(split), size)]
        run = partial(predict_part, folder, split, device=device, batch_size=batch_size)
        yield from map_parts(run, parts, workers=1)
        return
    predictor = LanePredictor.load(folder, device)
    for batch in in_order(split, batch_size):
        yield _predicted(predictor, batch)


def predict_part(
    folder: Path, split: ShardSplit, part: range, *, device: str, batch_size: int
) -> list[PredictedFrame]:
    """Find the lanes of some frames of a split.

    Args:
        folder: directory of the trained student.
        split: packed frames.
        part: indices of the frames.
        device: device of the network; auto for a GPU if there is one.
        batch_size: number of frames per forward pass.
    """
    predictor = LanePredictor.load(folder, device)
    batches = [part[first : first + batch_size] for first in range(0, len(part), batch_size)]
    return [
        frame for indices in batches for frame in _predicted(predictor, collate(split, np.array(indices)))
    ]


def _predicted(predictor: LanePredictor, batch: Batch) -> list[PredictedFrame]:
    lanes = predictor.predict_images(batch.image)
    return [
        (frame, [lane.points for lane in found], [lane.type for lane in found])
        for frame, found in zip(batch.frames, lanes, strict=True)
    ]
