"""Construction of a student's distillation losses from a `DistillationSpec`."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, MimickingPath, default_paths
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.data.loader import in_order
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.base import DistillationLoss
from lgad_pipeline.distillation.controls import BlurredLabelsLoss, LabelHead
from lgad_pipeline.distillation.joint_teacher import JointLgadLoss
from lgad_pipeline.distillation.losses import LgadLoss, LogitsLoss, SadLoss
from lgad_pipeline.distillation.registry import LossContext, build_loss
from lgad_pipeline.distillation.taps import layer_shapes
from lgad_pipeline.distillation.teacher import FrozenTeacher, label_encoding, label_stride, teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.training.cached_attention import CachedAttention, CachedLgadLoss, cache_attention
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.tasks import StudentTask, TrainedPair
from lgad_pipeline.training.training_folder import fingerprint_of

ATTENTION = "attention"


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
    spec, distillation = plan.network, plan.distillation
    losses: dict[str, DistillationLoss] = {}
    trained, joint, teacher = student, None, None

    # LGAD: with a trained teacher, with one that is trained in the same loop, or with blurred label maps.
    if distillation.teacher is not None:
        teacher, loaded_spec = load_network(distillation.teacher)
        teacher = _moved(teacher, device)
        losses["attention"] = _lgad_loss(student, teacher, loaded_spec, plan, shards, device)
    elif distillation.joint_teacher is not None:
        encoding, stride = distillation.teacher_input.encoding, distillation.teacher_input.stride
        joint_spec = teacher_spec(distillation.joint_teacher, encoding, stride=stride)
        paths = mimicking_paths(distillation.lgad, spec, joint_spec)
        joint = JointLgadLoss(
            student,
            _moved(build_network(joint_spec), device),
            paths,
            distillation.lgad,
            classes=joint_spec.slots + 1,
            encoding=encoding,
            stride=stride,
            channels=_channels(student, paths, plan),
        )
        losses["attention"] = joint
    elif distillation.blurred_labels:
        paths = mimicking_paths(distillation.lgad, spec, spec)  # no teacher is needed
        losses["attention"] = BlurredLabelsLoss(student, spec, paths, distillation.lgad)

    # Losses without a teacher of label maps.
    if distillation.label_head is not None:
        paths = mimicking_paths(distillation.lgad, spec, spec)
        layers = distillation.label_head.layers or [path.student for path in paths]
        losses["label_head"] = LabelHead(student, spec, layers, distillation.label_head)
    if distillation.sad is not None:
        layers = distillation.sad.layers or attention_layers(spec)
        losses["self_attention"] = SadLoss(student, layers, distillation.sad)
    if distillation.model is not None:
        model = _moved(_model_of_frames(distillation.model, spec), device)
        losses["logits"] = LogitsLoss(model, distillation.logits)

    # Losses of the user's own packages.
    context = LossContext(student, FrozenTeacher(teacher) if teacher is not None else None)
    for name, settings in distillation.losses.items():
        losses[name] = build_loss(name, settings, context)

    # Modules that are trained with the student: a joint teacher, label heads, adapters.
    for loss in losses.values():
        if loss.companion is not None:
            trained = TrainedPair(trained, _moved(loss.companion, device))

    _check_start_steps(losses, plan.config.steps)
    return StudentSetup(trained, StudentTask(plan.config, losses, joint))


def mimicking_paths(
    config: DistillationConfig, student: NetworkSpec, teacher: NetworkSpec
) -> tuple[MimickingPath, ...]:
    """Return the paths of the settings, or else those between the networks' default attention layers."""
    return config.paths or default_paths(attention_layers(student), attention_layers(teacher))


def _channels(
    student: nn.Module, paths: Sequence[MimickingPath], plan: TrainingPlan
) -> dict[str, int] | None:
    """Return the number of channels of the student's tapped layers if the adapters need it."""
    if not plan.distillation.lgad.adapter:
        return None
    shapes = layer_shapes(student, [path.student for path in paths], plan.network)
    return {layer: shape[0] for layer, shape in shapes.items()}


def _lgad_loss(
    student: nn.Module,
    teacher: nn.Module,
    spec: NetworkSpec,
    plan: TrainingPlan,
    shards: ShardSet,
    device: torch.device,
) -> LgadLoss | CachedLgadLoss:
    """Return the LGAD loss with a trained teacher, which runs at every step or whose maps are cached."""
    config, folder = plan.distillation.lgad, plan.distillation.teacher
    encoding, stride = label_encoding(spec), label_stride(spec, plan.network.image_size)
    paths = mimicking_paths(config, plan.network, spec)
    channels = _channels(student, paths, plan)
    if config.maps == "computed":
        classes = spec.slots + 1
        return LgadLoss(
            student,
            teacher,
            paths,
            config,
            classes=classes,
            encoding=encoding,
            stride=stride,
            channels=channels,
        )
    assert folder is not None
    cached = cache_attention(
        teacher,
        spec,
        layers=[path.teacher for path in paths],
        config=config,
        batches=lambda: in_order(shards["train"], plan.config.batch_size),
        root=folder / ATTENTION,
        fingerprint=fingerprint_of(folder) + shards.fingerprint,
        stride=stride,
        device=device,
    )
    return CachedLgadLoss(student, CachedAttention(cached, device), paths, config, channels=channels)


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


def _check_start_steps(losses: dict[str, DistillationLoss], steps: int) -> None:
    for name, loss in losses.items():
        if loss.config.start_step >= steps:
            raise LgadError(
                f"The loss {name} starts at step {loss.config.start_step} of a training of {steps} steps and "
                "would never be active; set an earlier start_step."
            )


def _moved(network: nn.Module, device: torch.device) -> nn.Module:
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
