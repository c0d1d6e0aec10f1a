"""Training of teachers and students: set-up, loop, step. Read it from top to bottom."""

import json
import logging
from collections.abc import Callable, Generator
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import cast

import torch
from lightning_fabric import Fabric
from torch import nn

from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.augmentation import AugmentationConfig, LabelNoiseConfig
from lgad_pipeline.config.distillation import TeacherInputConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.label_noise import with_label_noise
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.pretrained import load_imagenet
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.networks.source import check_source_is_imported
from lgad_pipeline.training.cached_attention import check_geometry
from lgad_pipeline.training.checkpoint import Metrics, TrainingState
from lgad_pipeline.training.device import Device, device_arithmetic, resolve_device, resolve_precision
from lgad_pipeline.training.optimizer import build_optimizer, learning_rate
from lgad_pipeline.training.plan import DistillationSpec, TrainingPlan
from lgad_pipeline.training.step import TrainingStep
from lgad_pipeline.training.student_losses import set_up_student
from lgad_pipeline.training.tasks import Task, TeacherTask
from lgad_pipeline.training.threads import torch_threads
from lgad_pipeline.training.timing import CheckpointTimer, TrainingClock
from lgad_pipeline.training.training_data import TrainingData, training_data
from lgad_pipeline.training.training_folder import (
    CHECKPOINT,
    TrainingResult,
    is_finished,
    read_result,
    write_result,
)
from lgad_pipeline.training.validation import validate

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)

MetricsLog = Callable[[Metrics, int], None]
"""Function of the metrics and the step that is called at every log entry."""


def train_teacher(
    config: TrainingConfig,
    network: NetworkSpec,
    *,
    shards: Path,
    folder: Path,
    augmentation: AugmentationConfig | None = None,
    teacher_input: TeacherInputConfig | None = None,
    label_noise: LabelNoiseConfig | None = None,
    log: MetricsLog | None = None,
    device: Device = "auto",
) -> TrainingResult:
    """Train a network to reproduce label maps.

    Args:
        config: settings of the training.
        network: network of the student or another one; its input is replaced by the encoded label map.
        shards: directory of the packed data set.
        folder: directory of the result.
        augmentation: augmentation of the batches, of which only the geometry is used; None for the defaults.
        teacher_input: encoding and corruption of the label map that the teacher reads; None for the defaults.
        label_noise: noise that is added to the labels of the training split, or None; for studies.
        log: function that is called with the metrics and the step.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.

    Raises:
        LgadError: shards are missing or do not fit the network, or a loss is not finite.
    """
    plan = TrainingPlan.for_teacher(
        config=config,
        network=network,
        shards=shards,
        folder=folder,
        augmentation=augmentation or AugmentationConfig(),
        teacher_input=teacher_input or TeacherInputConfig(),
        label_noise=label_noise,
    )
    return train(plan, log=log, device=device)


def train_student(
    config: TrainingConfig,
    network: NetworkSpec,
    *,
    shards: Path,
    folder: Path,
    augmentation: AugmentationConfig | None = None,
    distillation: DistillationSpec | None = None,
    pretrained: Path | None = None,
    label_noise: LabelNoiseConfig | None = None,
    log: MetricsLog | None = None,
    device: Device = "auto",
) -> TrainingResult:
    """Train a student, alone or with distillation losses.

    Students of the same seed have the same initial weights, batches, augmentation and dropout masks.

    Args:
        config: settings of the training.
        network: network to train.
        shards: directory of the packed data set.
        folder: directory of the result.
        augmentation: augmentation of the batches; None for the defaults.
        distillation: distillation losses and their networks; None for a student alone.
        pretrained: file of ImageNet weights to start from, see `load_imagenet`; None for random weights.
        label_noise: noise that is added to the labels of the training split, or None; for studies.
        log: function that is called with the metrics and the step.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.

    Raises:
        LgadError: as `train_teacher`; a layer of a mimicking path does not exist; or cached attention does
            not fit the augmentation.
    """
    plan = TrainingPlan(
        role="student",
        config=config,
        network=network,
        shards=shards,
        folder=folder,
        augmentation=augmentation or AugmentationConfig(),
        distillation=distillation or DistillationSpec(),
        pretrained=pretrained,
        label_noise=label_noise,
    )
    return train(plan, log=log, device=device)


def train(plan: TrainingPlan, *, log: MetricsLog | None = None, device: Device = "auto") -> TrainingResult:
    """Train what a plan describes; a finished training of the same inputs is reused.

    Args:
        plan: all inputs of the training.
        log: function that is called with the metrics and the step.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.

    Raises:
        LgadError: see `train_teacher` and `train_student`.
    """
    config, spec, distillation = plan.config, plan.network, plan.distillation
    if distillation.teacher is not None and distillation.lgad.maps == "cached":
        check_geometry(plan.augmentation)
        if config.cuda_graphs:
            raise LgadError(
                "Cached attention maps are read from disk at every step, which a CUDA graph cannot contain; "
                "set cuda_graphs: false or maps: computed."
            )

    # Open the data and compare the fingerprint of all inputs with that of a finished training.
    shards = ShardSet.open(plan.shards)
    if tuple(shards.view.image_size) != spec.image_size:
        raise LgadError(
            f"{plan.shards} holds images of {list(shards.view.image_size)} px but image_size of the "
            f"network is {list(spec.image_size)}; pack the shards again or correct the recipe."
        )
    if plan.label_noise is not None:
        shards = with_label_noise(shards, plan.label_noise)
    training_device = resolve_device(device)
    precision = resolve_precision(config.precision, training_device)
    description = plan.description(
        shards.fingerprint, code_fingerprint(f"{__name__}:train"), precision=precision
    )
    fingerprint = blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=16).hexdigest()
    if is_finished(plan.folder, fingerprint):
        return read_result(plan.folder, reused=True)

    gpus = [torch.cuda.current_device()] if training_device == "cuda" else []
    with (
        torch.random.fork_rng(gpus),
        torch_threads(config.threads),
        device_arithmetic(training_device, precision),
    ):
        # Build the network first, so that its initial weights depend on the seed alone.
        torch.manual_seed(config.seed)
        network = build_network(spec)
        check_source_is_imported(spec.name)
        if plan.pretrained:
            load_imagenet(network, plan.pretrained)
        fabric = Fabric(accelerator=training_device, devices=1, precision=precision)
        data = training_data(shards, config, plan.augmentation, fabric)

        # `trained` is the network, or the network together with a joint teacher or label heads.
        if plan.role == "teacher":
            trained, task = network, TeacherTask(config, spec.slots, plan.teacher_input)
        else:
            trained, task = set_up_student(network, plan, shards, fabric.device)
        state = fit(
            fabric,
            task,
            trained,
            config=config,
            data=data,
            checkpoint=plan.folder / CHECKPOINT,
            fingerprint=fingerprint,
            log=log,
        )

    trained.load_state_dict(state.final_weights())
    return write_result(
        plan.folder, network, spec, state=state, fingerprint=fingerprint, description=description
    )


def fit(
    fabric: Fabric,
    task: Task,
    network: nn.Module,
    *,
    config: TrainingConfig,
    data: TrainingData,
    checkpoint: Path,
    fingerprint: str,
    log: MetricsLog | None = None,
) -> TrainingState:
    """Train a network and return the final state of the training.

    A checkpoint of the same fingerprint is resumed: the result is, bit for bit, that of an uninterrupted run
    on the same machine. Metrics go to `log` and into the state's history: `train/<term>` (unweighted),
    `train/loss`, `learning_rate`, `steps_per_second`, `data_wait` (share of the time that the loop waited
    for batches), `memory_gb` (the highest so far); at validations `val/miou`, `val/existence_accuracy`.

    Args:
        fabric: training device and precision.
        task: inputs and losses of the network.
        network: network to train.
        config: settings of the training.
        data: training and validation batches.
        checkpoint: file of the checkpoint.
        fingerprint: digest of all inputs of the training.
        log: function that is called with the metrics and the step.

    Raises:
        LgadError: a loss term or a gradient is not finite (the message lists the step, the frames, and the
            terms or layers), or a checkpoint cannot be written. The last checkpoint stays valid.
    """
    network = network.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = build_optimizer(config.optimizer, network.parameters())
    average = (
        {name: value.clone() for name, value in network.state_dict().items()} if config.ema_decay else None
    )
    state = TrainingState(network, optimizer, average)
    state.restore(checkpoint, fingerprint)
    runnable = torch.compile(network) if config.compile else network
    wrapped, wrapped_optimizer = fabric.setup(runnable, optimizer)
    train_step = TrainingStep(
        fabric, task, wrapped, wrapped_optimizer, config=config, state=state, augment=data.augment
    )
    clock, checkpoints = TrainingClock(state, fabric.device), CheckpointTimer(config.checkpoint_seconds)
    with closing(cast(Generator[Batch], data.batches(state.step, config.steps))) as batches:
        while state.step < config.steps:
            with clock.waiting():
                batch = next(batches)
            rate = learning_rate(config.optimizer, state.step, config.steps)
            for group in optimizer.param_groups:
                group["lr"] = rate
            train_step(batch)

            # state.step now counts this step: log, validate and save where that is due.
            metrics: Metrics = {}
            last = state.step == config.steps
            if last or state.step % config.log_every == 0:
                metrics |= state.pop_means() | {"learning_rate": rate} | clock.metrics()
            if last or state.step % config.validate_every == 0:
                metrics |= validate(fabric, task, state, data.validation())
            if metrics:
                state.history.append({"step": state.step, **metrics})
                if log is not None:
                    log(metrics, state.step)
            if last or checkpoints.due():
                train_step.finish()
                state.seconds = clock.total()
                with checkpoints.saving():
                    state.save(checkpoint, fingerprint)
    return state
