"""Distillation losses of a user's own package."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import LossSchedule
from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.registry import (
    LossContext,
    RegisteredLoss,
    build_loss,
    loss_class,
    register_loss,
)
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
FORWARD = StudentForward(torch.zeros(1, 3, 2, 2), torch.full((1, 5, 2, 2), -2.0), torch.zeros(1, 2, 2))


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "mylosses.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield "mylosses:LogitSize"
    sys.modules.pop("mylosses", None)


def test_a_loss_is_built_from_its_import_path(module: str) -> None:
    loss = build_loss(module, {"power": 3, "weight": 0.5, "start_step": 2}, LossContext(nn.Identity()))
    assert loss.compute(FORWARD).item() == pytest.approx(8.0)
    assert (loss.weight(1), loss.weight(2)) == (0, 0.5)


def test_a_registered_loss_is_built_by_name() -> None:
    @register_loss("logit_mean")
    class LogitMean(RegisteredLoss):
        def compute(self, forward: StudentForward) -> torch.Tensor:
            return forward.logits.mean()

    loss = build_loss("logit_mean", {}, LossContext(nn.Identity()))
    assert isinstance(loss, LogitMean) and isinstance(loss.config, LossSchedule)
    assert loss.compute(FORWARD).item() == -2
    with pytest.raises(LgadError, match="registered already"):
        register_loss("logit_mean")(RegisteredLoss)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nothing", r"'nothing' is not registered.*mypackage\.losses:MyLoss"),
        ("nomodule:Loss", "cannot be imported"),
        ("torch.nn:Linear", "is not a subclass of RegisteredLoss"),
    ],
)
def test_an_unknown_loss_is_an_error(name: str, sentence: str) -> None:
    with pytest.raises(LgadError, match=sentence):
        loss_class(name)


def test_a_wrong_setting_is_an_error(module: str) -> None:
    with pytest.raises(LgadError, match=r"mylosses:LogitSize\.wieght: Extra inputs"):
        build_loss(module, {"wieght": 1}, LossContext(nn.Identity()))
