"""Trainings of a study and the test scores of its students; each runs in a worker process."""

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pandas as pd

from lgad_pipeline.atomic_files import atomic_path, locked, write_text
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.model_files import WEIGHTS
from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.data.frame_table import frames_by_scenario
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import LaneScores, evaluate_culane
from lgad_pipeline.evaluation.types import IOU
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.inference.split_prediction import predict_split
from lgad_pipeline.lanes.lane_files import find_lane_file
from lgad_pipeline.settings import Dataset
from lgad_pipeline.studies.plan import TrainingSpec
from lgad_pipeline.training.device_lease import DeviceKind, lease_devices
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.threads import torch_threads
from lgad_pipeline.training.trainer import train
from lgad_pipeline.training.training_folder import HISTORY, TRAINING, TrainingResult, fingerprint_of

FRAMES = "test_frames.parquet"
SCORED = "scored.json"

_LOSSES = ("teacher", "sad", "logits", "model", "label_head", "losses")
_DATA_AND_CODE = {"shards", "code", "network_source", "teacher_source"}


@dataclass(frozen=True)
class StudyInputs:
    """Inputs that all trainings of a study share.

    Attributes:
        dataset: settings of the data set.
        shards: directory of the packed data set.
        recordings: directory of the annotated lane files.
        device: kind of the devices on which networks are trained.
    """

    dataset: Dataset
    shards: Path
    recordings: Path
    device: DeviceKind = "auto"


def run_training(training: TrainingSpec, inputs: StudyInputs) -> TrainingResult:
    """Train a network of a study on a device that is free; a finished training is reused."""
    with _device_of(training, inputs) as device:
        return _train(training, inputs, device)


@contextmanager
def _device_of(training: TrainingSpec, inputs: StudyInputs) -> Iterator[str]:
    """Lease a device for a training whose directory no other process uses; yield the device's name for torch.

    Trials of a search that run at the same time may share a teacher, or have equal settings and so one
    directory. The lock comes first, so that a process that waits for it has no device.
    """
    with locked(training.folder), lease_devices(inputs.device) as lease, torch_threads(lease.threads):
        yield lease.device


def _train(training: TrainingSpec, inputs: StudyInputs, device: str) -> TrainingResult:
    recipe, network = training.recipe, training.network
    allow_networks(recipe.network.name, recipe.teachers_network.name, network.name)
    return train(_plan(training, inputs.dataset, inputs.shards), device=device)


def _plan(training: TrainingSpec, sizes: Dataset | NetworkSpec, shards: Path) -> TrainingPlan:
    """Return the plan of a training; `sizes` has the image size, slots and types of lanes."""
    return TrainingPlan.from_recipe(
        training.recipe,
        role="teacher" if training.role == "teacher" else "student",
        image_size=sizes.image_size,
        slots=sizes.slots,
        lane_types=sizes.lane_types,
        shards=shards,
        folder=training.folder,
        method=training.method,
        teacher=training.teacher,
        model=training.model,
        network=training.network,
        label_noise=training.label_noise,
    )


def train_and_score(training: TrainingSpec, inputs: StudyInputs) -> float:
    """Train a student, predict the lanes of every test frame and score them; finished parts are reused.

    Afterwards the directory contains `test_frames.parquet`, the rows of `LaneScores.frames`.

    Returns:
        Training time over all runs, seconds.
    """
    with _device_of(training, inputs) as device:
        return _train_and_score(training, inputs, device)


def train_and_validate(training: TrainingSpec, inputs: StudyInputs) -> float:
    """Train a student, predict the lanes of every validation frame, and return their F1 at IoU 0.5.

    A finished training is reused. No test frame is read.
    """
    with _device_of(training, inputs) as device:
        _train(training, inputs, device)
        split = ShardSet.open(inputs.shards)["val"]
        lists = {"val": split.table["frame"].tolist()}
        scores = score_split(training, inputs, split=split, lists=lists, device=device)
    return scores.scores["val"][IOU].f1


def _train_and_score(training: TrainingSpec, inputs: StudyInputs, device: str) -> float:
    result = _train(training, inputs, device)
    split = ShardSet.open(inputs.shards)["test"]
    expected = {
        "training": result.fingerprint,
        **_scored_settings(training),
        "frames": blake2b("\n".join(split.table["frame"]).encode(), digest_size=8).hexdigest(),
        "annotations": annotations_digest(inputs.recordings, split),
        "code": code_fingerprint(f"{__name__}:score_split"),
    }
    is_there = all((training.folder / name).is_file() for name in (FRAMES, SCORED))
    if is_there and _scored(training.folder) == expected:
        return result.seconds
    lists = frames_by_scenario(split.table)
    scores = score_split(training, inputs, split=split, lists=lists, device=device)
    with atomic_path(training.folder / FRAMES) as temporary:
        scores.frames.to_parquet(temporary, index=False)
    write_text(training.folder / SCORED, json.dumps(expected) + "\n")
    return result.seconds


def score_split(
    training: TrainingSpec,
    inputs: StudyInputs,
    *,
    split: ShardSplit,
    lists: Mapping[str, Sequence[str]],
    device: str,
) -> LaneScores:
    """Predict the lanes of a split with a trained student, and score them; the lane files are deleted."""
    write_predictor(training.folder, inputs.dataset.view, decode_config=training.recipe.decode)
    predictions = training.folder / "predictions"
    predict_split(training.folder, split, output_root=predictions, device=device)
    scores = evaluate_culane(
        inputs.recordings,
        predictions,
        lists=lists,
        thresholds=(IOU,),
        frame_size=inputs.dataset.frame_size,
        workers=1,
    )
    shutil.rmtree(predictions)
    return scores


def _scored_settings(training: TrainingSpec) -> dict[str, Any]:
    """Return the settings of a student's scores that its training does not record."""
    noise = training.label_noise
    return {
        "decode": training.recipe.decode.model_dump(mode="json"),
        "label_noise": None if noise is None else noise.model_dump(mode="json"),
    }


def annotations_digest(recordings: Path, split: ShardSplit) -> str:
    """Return the BLAKE2b-64 of the lane files of a split, hexadecimal, as the frames are scored on them.

    The fingerprint of the shards has the lanes of the slots alone.
    """
    digest = blake2b(digest_size=8)
    for frame in split.table["frame"]:
        file = find_lane_file(recordings, frame)
        digest.update(blake2b(file.read_bytes() if file.is_file() else b"", digest_size=8).digest())
    return digest.hexdigest()


def is_scored(training: TrainingSpec) -> bool:
    """Return True if a student has scores, unless it was trained again since, or has other settings now."""
    if not (training.folder / FRAMES).is_file():
        return False
    try:
        same = _scored(training.folder).get("training") == fingerprint_of(training.folder)
    except (FileNotFoundError, LgadError):
        return True  # scores were copied here without the weights
    return same and not has_other_settings(training)


def _scored(folder: Path) -> dict[str, Any]:
    """Return what the scores of a student belong to; nothing if its file is damaged.

    Raises:
        FileNotFoundError: there is no such file.
    """
    try:
        content = json.loads((folder / SCORED).read_text(encoding="utf-8"))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def has_other_settings(training: TrainingSpec) -> bool:
    """Return True if a finished student was trained or scored with other settings than it has now.

    Data and code are not compared, nor keys that only the version of its training or the present one has.
    """
    with suppress(FileNotFoundError):
        scored = _scored(training.folder)
        if any(key in scored and scored[key] != now for key, now in _scored_settings(training).items()):
            return True
    mimicked = [folder for folder in (training.teacher, training.model) if folder is not None]
    if not all((folder / TRAINING).is_file() for folder in mimicked):
        # Their directories are named by their settings, unless scores were copied here without the weights.
        return (training.folder / WEIGHTS).is_file()
    try:
        before = json.loads((training.folder / TRAINING).read_text(encoding="utf-8"))
        plan = _plan(training, NetworkSpec.model_validate(before["network"]), Path())
        now = plan.description("", "", precision=before["training"]["precision"])
    except (OSError, LgadError, ValueError, KeyError, TypeError):
        return False  # not comparable: of another version
    now = json.loads(json.dumps(now))
    return any((key in before) != (key in now) for key in _LOSSES) or any(
        _differs(before[key], now[key]) for key in (before.keys() & now.keys()) - _DATA_AND_CODE
    )


def trained_on(training: TrainingSpec) -> str | None:
    """Return the fingerprint of the shards that a student was trained on; None if it is not known."""
    try:
        return json.loads((training.folder / TRAINING).read_text(encoding="utf-8"))["shards"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _differs(before: Any, now: Any) -> bool:
    """Return True if a value differs that both have; mappings are compared key by key."""
    if isinstance(before, dict) and isinstance(now, dict):
        return any(_differs(before[key], now[key]) for key in before.keys() & now.keys())
    return before != now


def scored_frames(training: TrainingSpec) -> pd.DataFrame:
    """Read the scores of a student's test frames, written by `train_and_score`.

    Raises:
        LgadError: the file is damaged.
    """
    return _table(training.folder / FRAMES)


def history(training: TrainingSpec) -> pd.DataFrame:
    """Read the metrics that were logged during a training.

    Raises:
        LgadError: the file is missing or damaged.
    """
    return _table(training.folder / HISTORY)


def _table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise LgadError(f"{path} is missing or damaged; delete it, and run the study again.") from error
