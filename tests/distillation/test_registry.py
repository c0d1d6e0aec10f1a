"""Distillation losses of a user's own package."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import LossSchedule
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.context import LossContext
from lgad_pipeline.distillation.registry import (
    BUILT_IN,
    RegisteredLoss,
    build_loss,
    loss_class,
    register_loss,
)
from lgad_pipeline.distillation.teacher import FrozenTeacher
from lgad_pipeline.errors import LgadError

MODULE = """
from lgad_pipeline.config.distillation import LossSchedule
from lgad_pipeline.distillation.registry import RegisteredLoss


class Config(LossSchedule):
    power: float = 2.0


class LogitSize(RegisteredLoss):
    Config = Config

    def compute(self, forward):
        return forward.logits.abs().pow(self.config.power).mean()
"""
CONTEXT = LossContext(nn.Identity(), NetworkSpec())
FORWARD = StudentForward(torch.zeros(1, 3, 2, 2), torch.full((1, 5, 2, 2), -2.0), torch.zeros(1, 2, 2))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mylosses.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mylosses:LogitSize"
    sys.modules.pop("mylosses", None)


def test_a_loss_is_built_from_its_import_path(module: str) -> None:
    loss = build_loss(module, {"power": 3, "weight": 0.5, "start_step": 2}, CONTEXT)
    assert loss.compute(FORWARD).item() == pytest.approx(8.0)
    assert (loss.weight(1), loss.weight(2)) == (0, 0.5)


def test_a_registered_loss_is_built_by_name() -> None:
    @register_loss("logit_mean")
    class LogitMean(RegisteredLoss):
        def compute(self, forward: StudentForward) -> torch.Tensor:
            return forward.logits.mean()

    loss = build_loss("logit_mean", {}, CONTEXT)
    assert isinstance(loss, LogitMean) and isinstance(loss.config, LossSchedule)
    assert loss.compute(FORWARD).item() == -2
    with pytest.raises(LgadError, match="registered already"):
        register_loss("logit_mean")(RegisteredLoss)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", r"'nothing' does not exist; choose one of lgad,.*mypackage\.losses:MyLoss"),
        ("nomodule:Loss", "cannot be imported"),
        ("torch.nn:Linear", "is not a subclass of RegisteredLoss"),
    ],
)
def test_an_unknown_loss_is_an_error(name: str, sentence: str) -> None:
    with pytest.raises(LgadError, match=sentence):
        loss_class(name)


def test_a_wrong_setting_is_an_error(module: str) -> None:
    with pytest.raises(LgadError, match=r"mylosses:LogitSize\.wieght: Extra inputs"):
        build_loss(module, {"wieght": 1}, CONTEXT)


def networks(seed: int, planes: int) -> nn.Module:
    torch.manual_seed(seed)
    layers = (
        nn.Conv2d(planes, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1),
        nn.Conv2d(6, 5, 1),
    )
    network = nn.Sequential(*layers)
    network.attention_layers = ("1", "2")  # type: ignore[assignment]
    return network


@pytest.mark.parametrize("name", sorted({*BUILT_IN} - {"lgad_joint", "lgad_cached"}))
def test_losses_of_the_package_are_built_as_those_of_users_are(name: str) -> None:
    student, spec = networks(0, 3), NetworkSpec(image_size=(8, 12))
    context = LossContext(
        student,
        spec,
        teacher=FrozenTeacher(networks(1, 5)),
        teacher_spec=spec.model_copy(update={"in_channels": 5}),
        model=networks(2, 3),
    )
    loss = build_loss(name, {"weight": 0.5, "start_step": 2}, context)
    assert type(loss) is BUILT_IN[name] and type(loss.config) is BUILT_IN[name].Config
    assert (loss.weight(1), loss.weight(2)) == (0, 0.5)
    frames, label_map = torch.rand(2, 3, 8, 12), torch.randint(0, 5, (2, 8, 12))
    value = loss.compute(StudentForward(frames, student(frames), label_map))
    assert value > 0
    value.backward()
    assert all(parameter.grad is None for parameter in context.teacher.network.parameters())  # type: ignore


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("lgad", "This loss needs a trained teacher"),
        ("lgad_joint", "distillation.teacher: together"),
        ("logits", "needs a trained network of frames"),
        ("sad", "Network enet has no default attention layers"),
    ],
)
def test_a_loss_without_its_network_is_an_error(name: str, sentence: str) -> None:
    with pytest.raises(LgadError, match=sentence):
        build_loss(name, {}, CONTEXT)


def test_a_name_of_the_package_cannot_be_registered_again() -> None:
    with pytest.raises(LgadError, match="'sad' is registered already"):
        register_loss("sad")(RegisteredLoss)
