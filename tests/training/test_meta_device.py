"""The device `meta` in the place of a GPU: reading a value, or mixing devices, raises an error there."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    SadConfig,
    TeacherInputConfig,
    default_paths,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.augmentation import augment_recorded, record_amounts
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.distillation.base import DistillationLoss
from lgad_pipeline.distillation.controls import BlurredLabelsLoss, LabelHead
from lgad_pipeline.distillation.losses import LgadLoss, LogitsLoss, SadLoss
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.training.tasks import StudentTask, Task, TeacherTask, total_loss

CONFIG = TrainingConfig(steps=9, batch_size=2, optimizer={"warmup_steps": 1})  # pyright: ignore[reportArgumentType]
Make = Callable[[nn.Module, NetworkSpec], DistillationLoss]


def lgad(**settings: object) -> Make:
    def make(student: nn.Module, spec: NetworkSpec) -> LgadLoss:
        config = DistillationConfig.model_validate({"weight": 1.0, **settings})
        return LgadLoss(
            student,
            build_network(teacher_spec(spec)).to("meta"),
            default_paths(attention_layers(spec)),
            config,
        )

    return make


LOSSES: dict[str, Make] = {
    "lgad": lgad(),
    "floor": lgad(floor=0.5),
    "frame_weight": lgad(frame_weight="error"),
    "blurred": lambda student, spec: BlurredLabelsLoss(
        student, spec, default_paths(attention_layers(spec)), DistillationConfig(weight=1.0)
    ),
    "label-head": lambda student, spec: LabelHead(student, spec, attention_layers(spec), LabelHeadConfig()),
    "sad": lambda student, spec: SadLoss(student, attention_layers(spec), SadConfig(start_step=0)),
    "logits": lambda student, spec: LogitsLoss(build_network(spec).to("meta"), LogitsConfig()),
}


def one_step(network: nn.Module, task: Task) -> None:
    batch = Batch(
        ["a", "b"],
        torch.zeros(2, 3, 32, 64, dtype=torch.uint8),
        torch.zeros(2, 32, 64, dtype=torch.uint8),
        torch.ones(2, 4),
    )
    config = AugmentationConfig()
    batch = replace(batch, amounts=record_amounts(batch, config, batch_generator(0, 0))).to("meta")
    assert batch.amounts is not None
    augmented = augment_recorded(batch, config, batch.amounts)
    weights = {name: torch.full((), weight, device="meta") for name, weight in task.weights(0).items()}
    terms = task.losses(network.train(), augmented, weights)
    assert set(weights) <= {term.name for term in terms}
    total_loss(terms).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("network", ["enet", "erfnet", "resnet18"])
@pytest.mark.parametrize("method", ["alone", *LOSSES])
def test_a_student_step_reads_nothing_from_the_device(network: str, method: str) -> None:
    spec = NetworkSpec(name=network, image_size=(32, 64), width=0.5)
    student = build_network(spec)
    losses = {} if method == "alone" else {method: LOSSES[method](student, spec)}
    student.to("meta")
    for loss in losses.values():
        if isinstance(companion := getattr(loss, "companion", getattr(loss, "heads", None)), nn.Module):
            companion.to("meta")
    one_step(student, StudentTask(CONFIG, losses))


def test_a_teacher_step_reads_nothing_from_the_device() -> None:
    spec = teacher_spec(NetworkSpec(image_size=(32, 64), width=0.5))
    corrupted = TeacherInputConfig(erasing=0.7, shift=0.02, noise=0.1)
    one_step(build_network(spec).to("meta"), TeacherTask(CONFIG, spec.slots, corrupted))
