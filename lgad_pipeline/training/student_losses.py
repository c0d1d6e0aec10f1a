"""Construction of a student's distillation losses from a `DistillationSpec`."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, LossSchedule, MimickingPath, default_paths
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.data.loader import in_order
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.context import LossContext
from lgad_pipeline.distillation.joint_teacher import JointLgadLoss
from lgad_pipeline.distillation.registry import BUILT_IN as LOSSES
from lgad_pipeline.distillation.registry import build_loss, loss_settings
from lgad_pipeline.distillation.teacher import FrozenTeacher, label_stride, teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.networks.folding import fold_batch_norms
from lgad_pipeline.networks.registry import BUILT_IN, attention_layers, build_network
from lgad_pipeline.training.cached_attention import CachedAttention, cache_attention
from lgad_pipeline.training.distillation_spec import ATTENTION, DistillationSpec
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.tasks import StudentTask, TrainedPair
from lgad_pipeline.training.training_folder import fingerprint_of


class StudentSetup(NamedTuple):
    """Trained module and task of a student.

    Attributes:
        trained: module whose parameters are trained: the student, or a pair of it and a second module.
        task: task with the student's losses.
    """

    trained: nn.Module
    task: StudentTask


def set_up_student(
    student: nn.Module, plan: TrainingPlan, shards: ShardSet, device: torch.device
) -> StudentSetup:
    """Load the other networks, tap the student's layers and build its losses.

    Args:
        student: newly built network. It is built before all others, so that its initial weights are those of
            a student alone.
        plan: inputs of the training.
        shards: packed data set; cached attention covers its training frames.
        device: device of the training.

    Raises:
        LgadError: a network or layer does not exist or does not fit, or a loss would never be active.
    """
    distillation = plan.distillation
    context = _context(student, plan, shards, device)
    losses = {
        term: build_loss(name, settings, context) for term, (name, settings) in distillation.chosen().items()
    }
    joint = losses.get(ATTENTION) if distillation.joint_teacher is not None else None
    assert joint is None or isinstance(joint, JointLgadLoss)

    # Modules that are trained with the student: a joint teacher, label heads, adapters.
    trained = student
    for loss in losses.values():
        if loss.companion is not None:
            trained = TrainedPair(trained, _moved(loss.companion, device))

    _check_start_steps({name: loss.config for name, loss in losses.items()}, plan.config.steps)
    return StudentSetup(trained, StudentTask(plan.config, losses, joint))


def check_losses(recipe: Recipe, method: str, *, image_size: tuple[int, int], slots: int) -> None:
    """Check that the losses of a recipe fit its networks, before the first of them is trained.

    Args:
        recipe: settings of networks, trainings and losses.
        method: losses of a student; see `TrainingPlan.from_recipe`.
        image_size: size (H, W) of the packed frames, pixels.
        slots: number of lane slots.

    Raises:
        LgadError: a network, layer or loss does not exist, or a loss would never be active.
    """
    untrained = Path("untrained")
    distillation = DistillationSpec.from_recipe(
        recipe, method, image_size=image_size, slots=slots, teacher=untrained, model=untrained
    )
    configs: dict[str, LossSchedule] = {}
    with torch.random.fork_rng([]):
        context = _untrained_context(recipe, distillation, image_size=image_size, slots=slots)
        for term, (name, settings) in distillation.chosen().items():
            config = settings if isinstance(settings, LossSchedule) else loss_settings(name, settings)
            configs[term] = config
            if name in LOSSES:  # a user's loss may read what only a trained network has
                # Maps are stored by the trained teacher; here its layers are looked up.
                build_loss("lgad" if name == "lgad_cached" else name, config, context)
    _check_start_steps(configs, recipe.student.steps)


def _untrained_context(
    recipe: Recipe, distillation: DistillationSpec, *, image_size: tuple[int, int], slots: int
) -> LossContext:
    """Return the networks that the losses of a recipe need, with random weights."""
    spec = recipe.network.spec(image_size, slots)
    context = LossContext(build_network(spec), spec)
    if distillation.teacher is not None or distillation.joint_teacher is not None:
        reading = recipe.teacher_input
        reads = teacher_spec(
            recipe.teachers_network.spec(image_size, slots), reading.encoding, stride=reading.stride
        )
        teacher, joint = build_network(reads), distillation.joint_teacher is not None
        trained = {"joint_teacher": teacher} if joint else {"teacher": FrozenTeacher(teacher)}
        context = context._replace(teacher_spec=reads, **trained)
    if distillation.model is not None:
        context = context._replace(model=nn.Identity())
    return context


def mimicking_paths(
    config: DistillationConfig, student: NetworkSpec, teacher: NetworkSpec
) -> tuple[MimickingPath, ...]:
    """Return the paths of the settings, or else those between the networks' default attention layers."""
    return config.paths or default_paths(attention_layers(student), attention_layers(teacher))


def _context(student: nn.Module, plan: TrainingPlan, shards: ShardSet, device: torch.device) -> LossContext:
    """Load or build the networks that the losses of a plan need."""
    distillation = plan.distillation
    context = LossContext(student, plan.network)
    if distillation.teacher is not None:
        teacher, spec = load_network(distillation.teacher)
        # Networks and losses of users may read the batch norms.
        if spec.name in BUILT_IN and not distillation.losses:
            teacher = fold_batch_norms(teacher, keep=[path.teacher for path in distillation.lgad.paths])
        teacher = _moved(teacher, device)
        context = context._replace(teacher=FrozenTeacher(teacher), teacher_spec=spec)
        cached = partial(_cached_attention, teacher, spec, plan, shards, device)
        context = context._replace(cached=cached)
    elif distillation.joint_teacher is not None:
        reading = distillation.teacher_input
        spec = teacher_spec(distillation.joint_teacher, reading.encoding, stride=reading.stride)
        joint = _moved(build_network(spec), device)
        context = context._replace(joint_teacher=joint, teacher_spec=spec)
    if distillation.model is not None:
        model = _moved(_model_of_frames(distillation.model, plan.network), device)
        context = context._replace(model=model)
    return context


def _cached_attention(
    teacher: nn.Module,
    spec: NetworkSpec,
    plan: TrainingPlan,
    shards: ShardSet,
    device: torch.device,
    layers: Sequence[str],
    config: DistillationConfig,
) -> CachedAttention:
    """Return the attention maps of the teacher for all training frames, computed once and kept next to it."""
    folder = plan.distillation.teacher
    assert folder is not None
    cached = cache_attention(
        teacher,
        spec,
        layers=layers,
        config=config,
        batches=lambda: in_order(shards["train"], plan.config.batch_size),
        count=len(shards["train"]),
        root=folder / "attention",
        fingerprint=fingerprint_of(folder) + shards.fingerprint,
        stride=label_stride(spec, plan.network.image_size),
        device=device,
    )
    return CachedAttention(cached, device)


def _model_of_frames(folder: Path, student: NetworkSpec) -> nn.Module:
    network, spec = load_network(folder)
    if (spec.in_channels, spec.slots, spec.image_size) != (
        student.in_channels,
        student.slots,
        student.image_size,
    ):
        raise LgadError(
            f"{folder} holds a network with other input channels, slots or image size than the student's; "
            "name a network that was trained on the same frames."
        )
    return network


def _check_start_steps(losses: Mapping[str, LossSchedule], steps: int) -> None:
    for name, config in losses.items():
        if config.start_step >= steps:
            raise LgadError(
                f"The loss {name} starts at step {config.start_step} of a training of {steps} steps and "
                "would never be active; set an earlier start_step."
            )


def _moved(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
