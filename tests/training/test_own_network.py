"""The example of docs/own_network.md, read from the page and trained."""

import re
import sys
from pathlib import Path

import pytest
import torch
import yaml
from lightning_fabric import Fabric

from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.losses import LgadLoss, SadLoss
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.settings import Recipe
from lgad_pipeline.training.checkpoint import Checkpoint
from lgad_pipeline.training.loop import fit
from lgad_pipeline.training.tasks import StudentTask
from lgad_pipeline.training.training_data import TrainingData

PAGE = (Path(__file__).parents[2] / "docs" / "own_network.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("other_teacher", [False, True])
def test_the_example_is_trained_with_a_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_teacher: bool
) -> None:
    (tmp_path / "mynets.py").write_text(blocks("python")[0])
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mynets", raising=False)
    entry = yaml.safe_load(blocks("yaml")[0])["recipes"]["plain"]
    if other_teacher:
        entry |= yaml.safe_load(blocks("yaml")[1])
    recipe = Recipe.model_validate(entry)
    spec = recipe.network.spec((32, 64))
    spec_of_teacher = teacher_spec(recipe.teachers_network.spec((32, 64)))
    student, teacher, paths = build_network(spec), build_network(spec_of_teacher), recipe.distillation.paths
    sad = recipe.sad.model_copy(update={"start_step": 0})
    losses = {
        "attention": LgadLoss(student, teacher, paths, recipe.distillation),
        "self_attention": SadLoss(student, recipe.sad.layers, sad),
    }
    config = recipe.student.model_validate({"steps": 2, "batch_size": 2, "optimizer": {"warmup_steps": 1}})
    label = torch.zeros(2, 32, 64, dtype=torch.uint8)
    label[:, :, 20:24] = 2
    image = torch.randint(0, 255, (2, 3, 32, 64), dtype=torch.uint8)
    batch = Batch(["a", "b"], image, label, torch.tensor([[0.0, 1, 0, 0]] * 2))
    data = TrainingData(
        lambda start, stop: (batch for _ in range(start, stop)), lambda b: b, lambda: iter([batch])
    )
    fabric = Fabric(accelerator="cpu", devices=1)
    task = StudentTask(config, losses)
    state = fit(
        fabric,
        task,
        student,
        config=config,
        data=data,
        checkpoint=Checkpoint(tmp_path / "checkpoint.pt", "one"),
    )
    assert state.history[-1]["train/attention"] > 0 and state.history[-1]["train/self_attention"] >= 0
    assert not hasattr(student, "existence")
