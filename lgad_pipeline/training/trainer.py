"""Training of teachers and students: its inputs, the networks and losses, and the result."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.augmentation import AugmentationConfig, LabelNoiseConfig
from lgad_pipeline.config.distillation import TeacherInputConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.label_noise import with_label_noise
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.initial import load_initial
from lgad_pipeline.networks.pretrained import load_imagenet
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.networks.source import check_source_is_imported
from lgad_pipeline.training.batch_norm import synchronize_batch_norm
from lgad_pipeline.training.checkpoint import Checkpoint
from lgad_pipeline.training.device import Device, device_arithmetic, resolve_device, resolve_precision
from lgad_pipeline.training.distillation_spec import DistillationSpec
from lgad_pipeline.training.fabric import build_fabric
from lgad_pipeline.training.loop import MetricsLog, fit
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.processes import on_rank_zero, rank_zero_first
from lgad_pipeline.training.stop import StopRequest
from lgad_pipeline.training.student_losses import set_up_student
from lgad_pipeline.training.tasks import TeacherTask
from lgad_pipeline.training.threads import torch_threads
from lgad_pipeline.training.training_data import training_data
from lgad_pipeline.training.training_folder import (
    CHECKPOINT,
    TrainingResult,
    is_finished,
    read_result,
    remove_unfinished,
    write_result,
)


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
    init: Path | None = None,
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
        init: directory of a trained network to start from, see `load_initial`; None for random weights.
        label_noise: noise that is added to the labels of the training split, or None; for studies.
        log: function that is called with the metrics and the step.
        device: `cpu`, `cuda`, or `auto` for a GPU if there is one.

    Raises:
        LgadError: as `train_teacher`; a layer of a mimicking path does not exist; or cached attention is
            used in a CUDA graph.
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
        init=init,
        label_noise=label_noise,
    )
    return train(plan, log=log, device=device)


def train(
    plan: TrainingPlan,
    *,
    log: MetricsLog | None = None,
    device: Device = "auto",
    stop: StopRequest | None = None,
) -> TrainingResult:
    """Train what a plan describes; a finished training of the same inputs is reused.

    Args:
        plan: all inputs of the training.
        log: function that is called with the metrics and the step.
        device: `cpu`, `cuda`, `cuda:<index>`, or `auto` for a GPU if there is one.
        stop: function that returns True when the training should save its checkpoint and stop.

    Raises:
        LgadError: see `train_teacher` and `train_student`.
        TrainingStopped: `stop` returned True.
    """
    config, spec, distillation = plan.config, plan.network, plan.distillation
    if distillation.teacher is not None and distillation.lgad.maps == "cached" and config.cuda_graphs:
        raise LgadError(
            "Cached attention maps are read from disk at every step, which a CUDA graph cannot contain; "
            "set cuda_graphs: false or maps: computed."
        )

    # Open the data and compare the fingerprint of all inputs with that of a finished training.
    shards = ShardSet.open(plan.shards)
    stride = plan.teacher_input.stride if plan.role == "teacher" else 1
    if tuple(shards.view.image_size) != tuple(side * stride for side in spec.image_size):
        raise LgadError(
            f"{plan.shards} holds images of {list(shards.view.image_size)} px but image_size of the "
            f"network is {list(spec.image_size)}; pack the shards again or correct the recipe."
        )
    packed_slots = next(iter(shards.splits.values())).slots
    if packed_slots != spec.slots:
        raise LgadError(
            f"{plan.shards} holds labels of {packed_slots} slots but the network has {spec.slots}; pack the "
            "shards again or correct slots of the data set."
        )
    packed_types = next(iter(shards.splits.values())).lane_types
    if spec.lane_types and packed_types != spec.lane_types:
        raise LgadError(
            f"{plan.shards} holds labels of the types {', '.join(packed_types) or 'none'} but the network "
            f"has {', '.join(spec.lane_types)}; pack the shards again or correct lane_types of the data set."
        )
    if plan.label_noise is not None:
        shards = with_label_noise(shards, plan.label_noise)
    training_device = resolve_device(device)
    precision = resolve_precision(config.precision, training_device)
    fabric = build_fabric(training_device, precision)
    if fabric.world_size > 1 and config.cuda_graphs:
        raise LgadError("CUDA graphs are for a training on one device; set cuda_graphs: false.")
    description = plan.description(
        shards.fingerprint, code_fingerprint(f"{__name__}:train"), precision=precision
    )
    inputs = _digest(description)
    normalized_in = plan.normalized_in(fabric.world_size)
    if normalized_in > 1:
        description["processes"] = normalized_in
    fingerprint = _digest(description)
    finished = on_rank_zero(lambda: is_finished(plan.folder, fingerprint))
    on_rank_zero(lambda: remove_unfinished(plan.folder, finished=finished))
    if finished:
        return read_result(plan.folder, reused=True)

    gpus = [] if training_device.index is None else [training_device.index]
    with (
        torch.random.fork_rng(gpus),
        torch_threads(config.threads),
        device_arithmetic(training_device, precision),
    ):
        # Build the network first, so that its initial weights depend on the seed alone.
        torch.manual_seed(config.seed)
        network = build_network(spec)
        check_source_is_imported(spec.name)
        if not any(parameter.requires_grad for parameter in network.parameters()):
            raise LgadError(
                f"Network {spec.name} has no parameter with requires_grad, so it cannot be trained."
            )
        if plan.pretrained:
            load_imagenet(network, plan.pretrained)
        if plan.init:
            description["init_adaptation"] = load_initial(network, plan.init, spec=spec)
        data = training_data(shards, config, plan.augmentation, fabric)

        # `trained` is the network, or the network together with a joint teacher or label heads.
        if plan.role == "teacher":
            trained, task = network, TeacherTask(config, spec.slots, plan.teacher_input)
        else:
            trained, task = rank_zero_first(lambda: set_up_student(network, plan, shards, fabric.device))
        if fabric.world_size > 1 and config.sync_batch_norm:
            synchronize_batch_norm(trained, fabric.device)
        state = fit(
            fabric,
            task,
            trained,
            config=config,
            data=data,
            checkpoint=Checkpoint(plan.folder / CHECKPOINT, inputs, normalized_in),
            log=log,
            stop=stop,
        )

    trained.load_state_dict(state.final_weights())
    return on_rank_zero(
        lambda: write_result(
            plan.folder, network, spec, state=state, fingerprint=fingerprint, description=description
        )
    )


def _digest(description: Mapping[str, Any]) -> str:
    return blake2b(json.dumps(description, sort_keys=True).encode(), digest_size=16).hexdigest()
