"""Prediction for a packed split: a lane file per frame."""

from pathlib import Path

from lgad_pipeline.data.loader import in_order
from lgad_pipeline.data.shards import ShardSplit
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes
from lgad_pipeline.progress import Progress


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

    Args:
        folder: directory of the trained student.
        split: packed frames.
        output_root: directory of the lane files, with the layout of the data set.
        progress: called as progress(frames done, frames in total).
        device: device of the network; auto for a GPU if there is one.
        batch_size: number of frames per forward pass.
    """
    predictor = LanePredictor.load(folder, device)
    done = 0
    for batch in in_order(split, batch_size):
        for frame, lanes in zip(batch.frames, predictor.predict_images(batch.image), strict=True):
            write_lanes(lane_file(output_root, frame), [lane.points for lane in lanes])
        done += len(batch.frames)
        if progress is not None:
            progress(done, len(split))
