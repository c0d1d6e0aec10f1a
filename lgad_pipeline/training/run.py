"""From shards to a trained network in a folder."""

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from lightning_fabric import Fabric

from lgad_pipeline.atomic_files import atomic_path, write_text
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.config.distillation import TeacherInputConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import WITHOUT_EFFECT, TrainingConfig
from lgad_pipeline.data.augmentation import AugmentationConfig, augment, batch_generator
from lgad_pipeline.data.label_noise import with_label_noise
from lgad_pipeline.data.loader import Batch, Loader, in_order
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.stored import check_geometry
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.manifest import manifest_faults, manifest_of
from lgad_pipeline.networks.checkpoint import NETWORK, WEIGHTS, save_network
from lgad_pipeline.networks.pretrained import file_digest, load_imagenet
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.networks.source import check_source_is_imported, source_digest
from lgad_pipeline.training.checkpoint import damaged_name
from lgad_pipeline.training.lessons import TRAINING, Lessons, Prepared, describe, set_lessons
from lgad_pipeline.training.tasks import TeacherTask
from lgad_pipeline.training.trainer import Log, TrainingData, fit

Device = Literal["auto", "cpu", "cuda"]

CHECKPOINT = "checkpoint.pt"
HISTORY = "history.parquet"
_RESULT = (WEIGHTS, NETWORK, HISTORY)
_LOG = logging.getLogger(__name__)
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


@dataclass(frozen=True)
class _Job:
    config: TrainingConfig
    spec: NetworkSpec
    shards: Path
    output: Path
    augmentation: AugmentationConfig
    description: Mapping[str, Any]
    prepare: Callable[[torch.nn.Module, ShardSet, torch.device], Prepared]
    pretrained: Path | None = None
    label_noise: LabelNoiseConfig | None = None


def train_teacher(
    config: TrainingConfig,
    spec: NetworkSpec,
    shards_folder: Path,
    output: Path,
    augmentation: AugmentationConfig,
    label_input: TeacherInputConfig | None = None,
    log: Log | None = None,
    device: Device = "auto",
    label_noise: LabelNoiseConfig | None = None,
) -> TrainingResult:
    """Train a network to reproduce label maps.

    Args:
        config: see `TrainingConfig`.
        spec: the student's network or another; its input becomes a label map.
        shards_folder: packed data set.
        output: folder of the result.
        augmentation: of the batches; only its geometry matters here.
        label_input: what the teacher reads of a label map; None for `TeacherInputConfig()`.
        log: called with the metrics and the step.
        device: `auto` takes a GPU if there is one.
        label_noise: noise to add to the labels of the training split, for studies.

    Raises:
        LgadError: shards are missing or do not fit the network, or a loss is not finite.
    """
    reads = label_input or TeacherInputConfig()
    spec = teacher_spec(spec, reads.form)
    description = {"label_input": reads.model_dump(mode="json")}

    def prepare(network: torch.nn.Module, shards: ShardSet, place: torch.device) -> Prepared:
        return network, TeacherTask(config, spec.slots, reads)

    job = _Job(
        config,
        spec,
        shards_folder,
        output,
        _geometry(augmentation),
        description,
        prepare,
        label_noise=label_noise,
    )
    return _train(job, log, device)


def train_student(
    config: TrainingConfig,
    spec: NetworkSpec,
    shards_folder: Path,
    output: Path,
    augmentation: AugmentationConfig,
    lessons: Lessons | None = None,
    pretrained: Path | None = None,
    log: Log | None = None,
    device: Device = "auto",
    label_noise: LabelNoiseConfig | None = None,
) -> TrainingResult:
    """Train a student, alone or with lessons.

    The same seed gives all of them the same initial weights, batches, augmentation and dropout.

    Args:
        config: see `TrainingConfig`.
        spec: the network.
        shards_folder: packed data set.
        output: folder of the result.
        augmentation: of the batches.
        lessons: what it learns from beside the labels; None for a student alone.
        pretrained: ImageNet weights to begin with, see `load_imagenet`; None for random ones.
        log: called with the metrics and the step.
        device: `auto` takes a GPU if there is one.
        label_noise: noise to add to the labels of the training split, for studies.

    Raises:
        LgadError: as `train_teacher`; a layer of a mimicking path does not exist; or stored attention does
            not fit the augmentation.
    """
    chosen = lessons or Lessons()
    if isinstance(chosen.teacher, Path) and chosen.lgad.maps == "stored":
        check_geometry(augmentation)

    def prepare(network: torch.nn.Module, shards: ShardSet, place: torch.device) -> Prepared:
        return set_lessons(network, spec, config, chosen, shards, place)

    job = _Job(
        config,
        spec,
        shards_folder,
        output,
        augmentation,
        describe(chosen),
        prepare,
        pretrained,
        label_noise,
    )
    return _train(job, log, device)


def _train(job: _Job, log: Log | None, device: Device) -> TrainingResult:
    shards, config, spec, output = ShardSet.open(job.shards), job.config, job.spec, job.output
    if tuple(shards.view.image_size) != spec.image_size:
        raise LgadError(
            f"{job.shards} holds images of {list(shards.view.image_size)} px but image_size of the "
            f"network is {list(spec.image_size)}; pack the shards again or correct the recipe."
        )
    if job.label_noise is not None:
        shards = with_label_noise(shards, job.label_noise)
    description = {
        "training": config.model_dump(mode="json", exclude=set(WITHOUT_EFFECT)),
        "network": spec.model_dump(mode="json"),
        "network_source": source_digest(spec.name),
        "augmentation": job.augmentation.model_dump(mode="json"),
        **job.description,
        "shards": shards.fingerprint,
        "pretrained": file_digest(job.pretrained) if job.pretrained else "",
        "code": code_fingerprint(f"{__name__}:train_teacher", f"{__name__}:train_student"),
    }
    fingerprint = _digest(json.dumps(description, sort_keys=True).encode())
    if _is_finished(output, fingerprint):
        return _result(output, reused=True)
    with torch.random.fork_rng(), _threads(config.threads):
        torch.manual_seed(config.seed)
        network = build_network(spec)
        check_source_is_imported(spec.name)
        if job.pretrained:
            load_imagenet(network, job.pretrained)
        fabric = Fabric(accelerator=device, devices=1, precision=config.precision)
        data = _data(shards, job, fabric)
        learner, task = job.prepare(network, shards, fabric.device)
        state = fit(fabric, task, learner, config, data, output / CHECKPOINT, fingerprint, log)
    learner.load_state_dict(state.final_weights())
    save_network(output, network, spec)  # of a pair the student alone
    with atomic_path(output / HISTORY) as temporary:
        pd.DataFrame(state.history).astype({"step": "int64"}).to_parquet(temporary, index=False)
    files = manifest_of(output, [output / name for name in _RESULT])
    summary = {"fingerprint": fingerprint, "seconds": state.seconds, **description, "files": files}
    write_text(output / TRAINING, json.dumps(summary, indent=2) + "\n")
    for name in (CHECKPOINT, damaged_name(CHECKPOINT)):
        (output / name).unlink(missing_ok=True)
    return _result(output, reused=False)


def _is_finished(output: Path, fingerprint: str) -> bool:
    """Return True if the folder holds this very training, and its files are those that were written."""
    try:
        summary = json.loads((output / TRAINING).read_text(encoding="utf-8"))
        if summary["fingerprint"] != fingerprint:
            return False
        faults = manifest_faults(output, summary["files"])
        if not set(_RESULT) <= set(summary["files"]):
            faults.append(f"{output / TRAINING} does not list them.")
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        faults = [f"{output / TRAINING} is damaged ({error})."]
    if faults:
        _LOG.warning("A finished training is not whole, and is done again: %s", " ".join(faults))
    return not faults


def _data(shards: ShardSet, job: _Job, fabric: Fabric) -> TrainingData:
    """Batches that are augmented where it disturbs least: in the loader's threads, or on the GPU."""
    config, ranks = job.config, (fabric.global_rank, fabric.world_size)
    split, held_out = shards["train"], shards["val"]  # a missing one is noticed before the first step

    def change(batch: Batch, number: int) -> Batch:
        return augment(batch, job.augmentation, batch_generator(config.seed, number))

    def validation() -> Iterator[Batch]:
        return in_order(held_out, config.batch_size)

    size, seed = config.batch_size, config.seed
    if fabric.device.type == "cpu":
        loader = Loader(split, size, seed, finish=change, ranks=ranks)
        return TrainingData(loader.batches, lambda batch, step: batch, validation)
    loader = Loader(split, size, seed, finish=lambda batch, number: batch.pinned(), ranks=ranks)
    return TrainingData(loader.batches, lambda batch, step: change(batch, loader.number(step)), validation)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _result(output: Path, reused: bool) -> TrainingResult:
    summary = json.loads((output / TRAINING).read_text(encoding="utf-8"))
    history = pd.read_parquet(output / HISTORY)
    return TrainingResult(output, summary["fingerprint"], summary["seconds"], history, reused)


def _geometry(augmentation: AugmentationConfig) -> AugmentationConfig:
    """Leave out what changes the image alone: a teacher does not see it."""
    light = {name: 0.0 for name in AugmentationConfig.model_fields if name not in _GEOMETRY}
    return augmentation.model_copy(update=light)


def _digest(content: bytes) -> str:
    return blake2b(content, digest_size=16).hexdigest()
