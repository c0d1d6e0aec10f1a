"""Blind baseline: the median training lane of each slot, predicted in every frame without reading it."""

import numpy as np
import pandas as pd

from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.evaluation.frame_lanes import FrameLanes
from lgad_pipeline.evaluation.lane_matching import true_positives
from lgad_pipeline.evaluation.types import Counts


def blind_lanes(labels: pd.DataFrame) -> list[np.ndarray]:
    """Compute the median lane of every slot that at least half of the frames have.

    Args:
        labels: lane labels of the training frames, a table with the columns rows, xs and existence.

    Returns:
        Lanes as float32 (points, 2): x and y in frame pixels.
    """
    existence = np.array([list(flags) for flags in labels["existence"]], bool)
    rows = np.asarray(list(labels["rows"].iloc[0]), float)
    lanes = []
    for slot in range(existence.shape[1]):
        chosen = labels["xs"][existence[:, slot]]
        if 2 * len(chosen) < len(labels) or not len(chosen):
            continue
        xs = np.array([np.asarray(list(lane[slot]), float) for lane in chosen])
        usual = np.isfinite(xs).mean(axis=0) >= 0.5
        lanes.append(np.stack([np.nanmedian(xs[:, usual], axis=0), rows[usual]], axis=1).astype(np.float32))
    return lanes


def blind_f1(frames: pd.DataFrame, labels: pd.DataFrame, *, frame_size: tuple[int, int]) -> float:
    """Compute F1 at IoU 0.5 of the blind baseline on the test frames.

    Args:
        frames: the frames table.
        labels: the lane labels of the same frames, in the same order.
        frame_size: height and width of the frames, pixels.
    """
    splits = frames["split"].to_numpy()
    annotated = [lanes_of(lanes) for lanes in frames.loc[splits == "test", "lanes"]]
    predicted = blind_lanes(labels[splits == "train"])
    sides = FrameLanes.of(annotated), FrameLanes.of([predicted] * len(annotated))
    hits = int(true_positives(*sides, frame_size=frame_size).sum())
    predictions, lanes = len(predicted) * len(annotated), sum(len(lanes) for lanes in annotated)
    return Counts(hits, predictions - hits, lanes - hits).f1
