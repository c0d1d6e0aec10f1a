"""Scores and latencies of trained networks on the same frames and the same machine."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.data import frame_table as tables
from lgad_pipeline.data.frame_schema import file_fingerprint
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.datasets.images import read_image
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.frame_lanes import FrameLanes
from lgad_pipeline.evaluation.lane_matching import true_positives
from lgad_pipeline.evaluation.promotion import Verdict, frame_table, judge
from lgad_pipeline.evaluation.types import IOU
from lgad_pipeline.inference.predictor import LanePredictor
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.lanes.lane_files import read_bytes
from lgad_pipeline.progress import Progress

_ROUNDS = 25
_WARM_UP_ROUNDS = 3


class ChangedFrameError(LgadError):
    """Error of a frame that is missing or has changed since it was ingested."""


def score_recordings(
    predictors: Sequence[LanePredictor],
    frames: pd.DataFrame,
    *,
    root: Path,
    frame_size: tuple[int, int],
    progress: Progress | None = None,
) -> list[pd.DataFrame]:
    """Score networks on frames read from the recordings, so that their image sizes may differ.

    Args:
        predictors: trained networks.
        frames: rows of the frame table; each is scored.
        root: directory of the recordings.
        frame_size: (H, W) of the frames, pixels.
        progress: called as progress(frames done, frames in total).

    Returns:
        For each network a table as `promotion.judge` reads it.

    Raises:
        ChangedFrameError: a frame is missing or has changed since it was ingested.
    """
    scenarios, annotated = [], []
    predicted: list[list[list[np.ndarray]]] = [[] for _ in predictors]
    columns = (frames[name] for name in ("frame", "fingerprint", "scenario", "lanes"))
    for done, (frame, fingerprint, scenario, lanes) in enumerate(zip(*columns, strict=True), 1):
        picture = read_image(_unchanged(root, frame, fingerprint))
        scenarios.append(scenario if isinstance(scenario, str) else tables.UNLISTED)
        annotated.append(tables.lanes_of(lanes))
        for found, predictor in zip(predicted, predictors, strict=True):
            found.append([lane.points for lane in predictor.predict([picture])[0]])
        if progress is not None:
            progress(done, len(frames))
    truth = FrameLanes.of(annotated)
    counts = [_counts(truth, FrameLanes.of(found), frame_size) for found in predicted]
    return [frame_table(scenarios, list(frames["frame"]), counts=of_network) for of_network in counts]


def _unchanged(root: Path, frame: str, fingerprint: str) -> bytes:
    """Read the file of a frame, and compare it with its fingerprint."""
    remedy = "restore it, or ingest the data set again"
    try:
        data = read_bytes(resolve_inside(root, frame))
    except LgadError as error:
        raise ChangedFrameError(f"{root / frame} cannot be read; {remedy}.") from error
    if file_fingerprint(data) != fingerprint:
        raise ChangedFrameError(f"{root / frame} has changed since it was ingested; {remedy}.")
    return data


def latencies(calls: Sequence[Callable[[], object]]) -> list[float]:
    """Measure calls in turn, and return the median time of each, seconds."""
    for _ in range(_WARM_UP_ROUNDS):
        for call in calls:
            call()
    seconds = np.empty((_ROUNDS, len(calls)))
    for number in range(_ROUNDS):
        for index, call in enumerate(calls):
            started = time.perf_counter()
            call()
            seconds[number, index] = time.perf_counter() - started
    return np.median(seconds, axis=0).tolist()


def compare_with_champion(
    champion: Path,
    challenger: Path,
    *,
    frames: pd.DataFrame,
    shards: ShardSet,
    recordings: Path,
    rule: PromotionConfig,
    device: str = "cpu",
    progress: Progress | None = None,
) -> Verdict:
    """Score two trained networks on all packed validation and test frames, and apply the promotion rule.

    Args:
        champion: directory of the network in use (weights.safetensors, network.json, predictor.json).
        challenger: directory of the new network.
        frames: the frames table.
        shards: packed frames, which name the scored frames; packing has reported the others.
        recordings: root directory of the frames.
        rule: limits of the promotion rule.
        device: torch device on which both networks run.
        progress: called as progress(frames done, frames of the split).

    Raises:
        ChangedFrameError: a packed frame is missing or has changed since it was ingested.
        LgadError: a network cannot be read.
    """
    predictors = [LanePredictor.load(folder, device) for folder in (champion, challenger)]
    validation, test = (
        score_recordings(
            predictors,
            frames[(frames["split"] == split) & frames["frame"].isin(shards[split].table["frame"])],
            root=recordings,
            frame_size=shards.view.frame_size,
            progress=progress,
        )
        for split in ("val", "test")
    )
    frame = read_image((recordings / str(validation[0]["frame"].iloc[0])).read_bytes())
    seconds = latencies([partial(predictor.predict, [frame]) for predictor in predictors])
    return judge(
        (validation[0], validation[1]), (test[0], test[1]), latency=(seconds[0], seconds[1]), rule=rule
    )


def _counts(annotated: FrameLanes, predicted: FrameLanes, frame_size: tuple[int, int]) -> np.ndarray:
    """Return annotated lanes, predicted lanes and TP of each frame, int (frames, 3)."""
    hits = true_positives(annotated, predicted, thresholds=(IOU,), frame_size=frame_size)[:, 0]
    return np.stack([annotated.counts, predicted.counts, hits], axis=1)
