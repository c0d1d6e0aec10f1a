"""What a student learns from beside the labels: which lessons, of which other networks."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    MimickingPath,
    SadConfig,
    TeacherInputConfig,
    default_paths,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import in_order
from lgad_pipeline.data.shards import ShardSet
from lgad_pipeline.distillation.controls import BlurredLabels, LabelHead, layer_shapes
from lgad_pipeline.distillation.lessons import Lesson
from lgad_pipeline.distillation.lgad import LgadLoss
from lgad_pipeline.distillation.logits import LogitsLoss
from lgad_pipeline.distillation.sad import SadLoss
from lgad_pipeline.distillation.stored import CachedAttention, store_attention
from lgad_pipeline.distillation.teacher import JointTeacherAttention, TeacherAttention, teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import NETWORK, load_network, read_model
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.training.tasks import Pair, StudentTask, Task

TRAINING = "training.json"
LABELS: Literal["labels"] = "labels"
ATTENTION = "attention"

Prepared = tuple[nn.Module, Task]
"""What the loop trains, and the task that says how."""


@dataclass(frozen=True)
class Lessons:
    """What a student learns from beside the labels; nothing of it for a student alone.

    Attributes:
        teacher: for LGAD, the folder of a trained teacher, or the network of one that is trained together
            with the student, or `LABELS` for blurred label maps in a teacher's place.
        lgad: how the teacher's attention is mimicked; read only with a teacher.
        label_input: what a teacher that is trained together reads.
        sad: self attention distillation, or None for none.
        model: for logits distillation, the folder of a trained network that reads the same frames.
        logits: how its probabilities are mimicked; read only with a model.
        label_head: auxiliary label heads at the student's layers, or None for none.
    """

    teacher: Path | NetworkSpec | Literal["labels"] | None = None
    lgad: DistillationConfig = field(default_factory=DistillationConfig)
    label_input: TeacherInputConfig = field(default_factory=TeacherInputConfig)
    sad: SadConfig | None = None
    model: Path | None = None
    logits: LogitsConfig = field(default_factory=LogitsConfig)
    label_head: LabelHeadConfig | None = None


def describe(lessons: Lessons) -> dict[str, Any]:
    """Return all that the lessons' effect follows from, for a training's fingerprint."""
    found: dict[str, Any] = {}
    if lessons.teacher is not None:
        found["distillation"] = lessons.lgad.model_dump(mode="json")
        if isinstance(lessons.teacher, Path):
            found["teacher"] = _trained_fingerprint(lessons.teacher)
        elif lessons.teacher == LABELS:
            found["teacher"] = LABELS
        else:
            found["teacher_source"] = source_digest(lessons.teacher.name)
            found["teacher"] = lessons.teacher.model_dump(mode="json")
            found["label_input"] = lessons.label_input.model_dump(mode="json")
    if lessons.sad is not None:
        found["sad"] = lessons.sad.model_dump(mode="json")
    if lessons.model is not None:
        found["logits"] = lessons.logits.model_dump(mode="json")
        found["model"] = _trained_fingerprint(lessons.model)
    if lessons.label_head is not None:
        found["label_head"] = lessons.label_head.model_dump(mode="json")
        found["label_head_layers"] = [path.student for path in lessons.lgad.paths]
    return found


def _trained_fingerprint(folder: Path) -> list[str]:
    """The fingerprint of a training, and that of its network's code as it is now, which reads the weights."""
    return [fingerprint_of(folder), source_digest(read_model(folder / NETWORK, NetworkSpec).name)]


def set_lessons(
    student: nn.Module,
    spec: NetworkSpec,
    config: TrainingConfig,
    lessons: Lessons,
    shards: ShardSet,
    place: torch.device,
) -> Prepared:
    """Read the other networks, tap the layers, and return what is trained and how.

    Args:
        student: just built, so that its initial weights are those of a student alone.
        spec: of the student.
        config: of the training.
        lessons: see `Lessons`.
        shards: whose training frames get stored attention.
        place: where the networks run.
    """
    terms: dict[str, Lesson] = {}
    learner, joint = student, None
    if lessons.teacher == LABELS:
        layers = _student_layers(lessons.lgad, spec)
        shapes = layer_shapes(student, layers, spec)
        source = BlurredLabels({layer: (shape[1], shape[2]) for layer, shape in shapes.items()})
        paths = [MimickingPath(student=layer, teacher=layer) for layer in layers]
        terms["attention"] = LgadLoss(student, source, paths, lessons.lgad)
    elif lessons.teacher is not None:
        trained = None
        if isinstance(lessons.teacher, Path):
            trained = load_network(lessons.teacher)
            theirs = trained[1]
        else:
            theirs = teacher_spec(lessons.teacher, lessons.label_input.form)
        paths = mimicking_paths(lessons.lgad, spec, theirs)
        layers = [path.teacher for path in paths]
        if trained is not None:
            source = _trained_teacher(trained, layers, lessons, shards, config.batch_size, place)
        else:
            source = joint = JointTeacherAttention(
                _placed(build_network(theirs), place), theirs, layers, lessons.lgad
            )
            learner = Pair(student, joint.teacher)
        terms["attention"] = LgadLoss(student, source, paths, lessons.lgad)
    if lessons.label_head is not None:
        layers = lessons.label_head.layers or _student_layers(lessons.lgad, spec)
        head = LabelHead(student, spec, layers, lessons.label_head)
        learner = Pair(learner, head.heads)
        terms["label_head"] = head
    if lessons.sad is not None:
        layers = lessons.sad.layers or attention_layers(spec)
        terms["self_attention"] = SadLoss(student, layers, lessons.sad)
    if lessons.model is not None:
        terms["logits"] = LogitsLoss(_model(lessons.model, spec, place), lessons.logits)
    for name, lesson in terms.items():
        if lesson.config.start_step >= config.steps:
            raise LgadError(
                f"The lesson {name} starts at step {lesson.config.start_step} of a training of "
                f"{config.steps} steps and would never be given; set an earlier start_step."
            )
    return learner, StudentTask(config, terms, joint)


def fingerprint_of(folder: Path) -> str:
    """Return the fingerprint that a finished training noted.

    Raises:
        LgadError: the folder holds none.
    """
    try:
        return json.loads((folder / TRAINING).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError) as error:
        raise LgadError(f"{folder / TRAINING} is missing or damaged; train that network again.") from error


def mimicking_paths(
    config: DistillationConfig, student: NetworkSpec, teacher: NetworkSpec
) -> tuple[MimickingPath, ...]:
    """Return the paths that the settings name, else those between the networks' own choices of layers."""
    return config.paths or default_paths(attention_layers(student), attention_layers(teacher))


def _student_layers(config: DistillationConfig, student: NetworkSpec) -> tuple[str, ...]:
    """The student's layers of the mimicking paths, without a look at any teacher."""
    return tuple(path.student for path in config.paths) or attention_layers(student)


def _trained_teacher(
    trained: tuple[nn.Module, NetworkSpec],
    layers: list[str],
    lessons: Lessons,
    shards: ShardSet,
    batch_size: int,
    place: torch.device,
) -> TeacherAttention | CachedAttention:
    network, spec = _placed(trained[0], place), trained[1]
    config, folder = lessons.lgad, lessons.teacher
    if config.maps == "computed":
        return TeacherAttention(network, spec, layers, config)
    assert isinstance(folder, Path)
    stored = store_attention(
        network,
        spec,
        layers,
        config,
        lambda: in_order(shards["train"], batch_size),
        folder / ATTENTION,
        fingerprint_of(folder) + shards.fingerprint,
        place,
    )
    return CachedAttention(stored, place)


def _model(folder: Path, spec: NetworkSpec, place: torch.device) -> nn.Module:
    network, theirs = load_network(folder)
    if (theirs.in_channels, theirs.slots, theirs.image_size) != (
        spec.in_channels,
        spec.slots,
        spec.image_size,
    ):
        raise LgadError(
            f"{folder} holds a network of other planes, slots or image size than the student's; "
            "name a network that was trained on the same frames."
        )
    return _placed(network, place)


def _placed(network: nn.Module, place: torch.device) -> nn.Module:
    return network.to(place, memory_format=torch.channels_last)  # type: ignore[call-overload]
