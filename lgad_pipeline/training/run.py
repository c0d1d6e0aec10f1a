"""From shards to a trained network in a folder."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import pandas as pd
import torch
from lightning_fabric import Fabric
from pydantic import BaseModel

import lgad_pipeline
from lgad_pipeline.data.augmentation import AugmentationConfig, augment, batch_generator
from lgad_pipeline.data.loader import Loader, in_order
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.config import DistillationConfig, default_paths
from lgad_pipeline.distillation.lgad import LgadLoss
from lgad_pipeline.errors import LgadError
from lgad_pipeline.files import atomic_path, write_text
from lgad_pipeline.models.registry import attention_layers, build
from lgad_pipeline.models.spec import NetworkSpec
from lgad_pipeline.models.store import load_network, save_network
from lgad_pipeline.training.config import TrainingConfig
from lgad_pipeline.training.fit import Log, TrainingData, fit
from lgad_pipeline.training.tasks import StudentTask, Task, TeacherTask

Device = Literal["auto", "cpu", "cuda"]

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.parquet"
TRAINING = "training.json"
# What decides the weights beside the settings and the data, relative to the package.
_CODE = ("models", "distillation", "training")
_GEOMETRY = ("flip", "rotation", "scale", "shift_x", "shift_y", "min_lane_pixels")


@dataclass(frozen=True)
class TrainingResult:
    """A finished training.

    Attributes:
        folder: holds the weights, `network.json`, `history.parquet` and `training.json`.
        fingerprint: BLAKE2b-128, hexadecimal, of settings, data, teacher and code.
        seconds: spent training, over all runs.
        history: a row per log entry, column `step` and the metrics of `fit`.
        reused: nothing was trained, the folder already held this very network.
    """

    folder: Path
    fingerprint: str
    seconds: float
    history: pd.DataFrame
    reused: bool


def train_teacher(
    config: TrainingConfig,
    spec: NetworkSpec,
    shards_folder: Path,
    output: Path,
    augmentation: AugmentationConfig,
    log: Log | None = None,
    device: Device = "auto",
) -> TrainingResult:
    """Train a network to reproduce label maps.

    Args:
        config: see `TrainingConfig`.
        spec: the student's network or another; its input becomes the planes of a label map.
        shards_folder: packed data set.
        output: folder of the result.
        augmentation: of the batches; only its geometry matters here.
        log: called with the metrics and the step.
        device: `auto` takes a GPU if there is one.

    Raises:
        LgadError: shards are missing or do not fit the network, or a loss is not finite.
    """
    spec = spec.for_labels()

    def make_task(student: torch.nn.Module, place: torch.device) -> Task:
        return TeacherTask(config, spec.slots)

    settings: dict[str, BaseModel] = {"training": config, "network": spec}
    geometry = _geometry(augmentation)
    return _train(settings, geometry, make_task, shards_folder, output, "", log, device)


def train_student(
    config: TrainingConfig,
    spec: NetworkSpec,
    shards_folder: Path,
    output: Path,
    augmentation: AugmentationConfig,
    teacher: Path | None = None,
    distillation: DistillationConfig | None = None,
    log: Log | None = None,
    device: Device = "auto",
) -> TrainingResult:
    """Train a student, alone or, with a teacher, by LGAD.

    The same seed gives both the same initial weights, batches, augmentation and dropout.

    Args:
        config: see `TrainingConfig`.
        spec: the network.
        shards_folder: packed data set.
        output: folder of the result.
        augmentation: of the batches.
        teacher: folder of a trained teacher, or None for a student alone.
        distillation: how to distil; read only with a teacher.
        log: called with the metrics and the step.
        device: `auto` takes a GPU if there is one.

    Raises:
        LgadError: as `train_teacher`, and if a layer of a mimicking path does not exist.
    """
    distillation = distillation or DistillationConfig()
    settings: dict[str, BaseModel] = {"training": config, "network": spec}
    teacher_fingerprint = ""
    if teacher is not None:
        settings["distillation"] = distillation
        teacher_fingerprint = _fingerprint_of(teacher)

    def make_task(student: torch.nn.Module, place: torch.device) -> Task:
        if teacher is None:
            return StudentTask(config)
        teacher_network, _ = load_network(teacher)
        teacher_network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
        paths = distillation.paths or default_paths(attention_layers(spec))
        return StudentTask(config, LgadLoss(student, teacher_network, paths, distillation, spec.slots))

    return _train(settings, augmentation, make_task, shards_folder, output, teacher_fingerprint, log, device)


def _train(
    settings: dict[str, BaseModel],
    augmentation: AugmentationConfig,
    make_task: Callable[[torch.nn.Module, torch.device], Task],
    shards_folder: Path,
    output: Path,
    teacher_fingerprint: str,
    log: Log | None,
    device: Device,
) -> TrainingResult:
    shards = ShardSet.open(shards_folder)
    config, spec = settings["training"], settings["network"]
    assert isinstance(config, TrainingConfig) and isinstance(spec, NetworkSpec)
    if tuple(shards.view.image_size) != spec.image_size:
        raise LgadError(
            f"{shards_folder} holds images of {list(shards.view.image_size)} px but image_size of the "
            f"network is {list(spec.image_size)}; pack the shards again or correct the recipe."
        )
    settings = settings | {"augmentation": augmentation}
    description = {
        **{name: model.model_dump(mode="json") for name, model in settings.items()},
        "shards": shards.fingerprint,
        "teacher": teacher_fingerprint,
        "code": _code_fingerprint(),
    }
    fingerprint = _digest(json.dumps(description, sort_keys=True).encode())
    if (output / TRAINING).is_file() and _fingerprint_of(output) == fingerprint:
        return _result(output, reused=True)
    loader = Loader(shards["train"], config.batch_size, config.seed)
    data = TrainingData(
        loader.batches,
        lambda batch, step: augment(batch, augmentation, batch_generator(config.seed, step)),
        lambda: in_order(shards["val"], config.batch_size),
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        network = build(spec)
        fabric = Fabric(accelerator=device, devices=1, precision=config.precision)
        task = make_task(network, fabric.device)
        state = fit(fabric, task, network, config, data, output / CHECKPOINT, fingerprint, log)
    network.load_state_dict(state.final_weights())
    save_network(output, network, spec)
    with atomic_path(output / HISTORY) as beside:
        pd.DataFrame(state.history).astype({"step": "int64"}).to_parquet(beside, index=False)
    summary = {"fingerprint": fingerprint, "seconds": state.seconds, **description}
    write_text(output / TRAINING, json.dumps(summary, indent=2) + "\n")
    (output / CHECKPOINT).unlink(missing_ok=True)
    return _result(output, reused=False)


def _result(output: Path, reused: bool) -> TrainingResult:
    summary = json.loads((output / TRAINING).read_text(encoding="utf-8"))
    history = pd.read_parquet(output / HISTORY)
    return TrainingResult(output, summary["fingerprint"], summary["seconds"], history, reused)


def _fingerprint_of(folder: Path) -> str:
    try:
        return json.loads((folder / TRAINING).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise LgadError(f"{folder / TRAINING} is missing or damaged; train that network again.") from error


def _geometry(augmentation: AugmentationConfig) -> AugmentationConfig:
    """Leave out what changes the image alone: a teacher does not see it."""
    light = {name: 0.0 for name in AugmentationConfig.model_fields if name not in _GEOMETRY}
    return augmentation.model_copy(update=light)


def _code_fingerprint() -> str:
    root = Path(lgad_pipeline.__file__).parent
    files = [file for part in _CODE for file in (root / part).glob("**/*.py")]
    files += [root / "data" / "loader.py", root / "data" / "augmentation.py"]
    return _digest(b"".join(file.read_bytes() for file in sorted(files)))


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
