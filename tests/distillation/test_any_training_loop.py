"""Distillation losses in a training loop that uses nothing else of this project."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, LogitsConfig, MimickingPath, SadConfig
from lgad_pipeline.distillation.losses import LgadLoss, LogitsLoss, SadLoss, StudentForward
from lgad_pipeline.errors import LgadError

IMPORTS = """
import sys


class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pandas", "cv2", "pyarrow", "filelock", "scipy", "yaml"}:
            raise ImportError(f"{name} is blocked")


sys.meta_path.insert(0, Blocked())
import lgad_pipeline.distillation.controls
import lgad_pipeline.distillation.joint_teacher
import lgad_pipeline.distillation.registry
from lgad_pipeline.distillation.losses import LgadLoss

allowed = {"code_fingerprint", "code_tokens", "code_modules", "errors", "_version", "config", "distillation"}
loaded = {name.split(".")[1] for name in sys.modules if name.startswith("lgad_pipeline.")}
assert loaded <= allowed, loaded
"""
PATHS = [MimickingPath(student="0", teacher="1")]


def network(planes: int, classes: int) -> nn.Sequential:
    body = nn.Conv2d(planes, 6, 3, stride=2, padding=1)
    return nn.Sequential(
        body, nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, classes, 1), nn.Upsample(scale_factor=2)
    )


def test_distillation_needs_torch_and_pydantic_only() -> None:
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", IMPORTS], cwd=root, check=True)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_lgad_in_a_loop_with_other_networks_and_classes(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    student, teacher = network(3, 8), network(8, 8)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    lgad = LgadLoss(student, teacher, PATHS, DistillationConfig(weight=1.0))
    optimizer = torch.optim.SGD(student.parameters(), 0.05)
    image, label_map = torch.rand(2, 3, 16, 32), torch.randint(0, 8, (2, 16, 32))
    values = []
    for _ in range(20):
        seg_loss = nn.functional.cross_entropy(student(image), label_map)
        distillation_loss = lgad(label_map.to(dtype))
        optimizer.zero_grad()
        (seg_loss + distillation_loss).backward()
        optimizer.step()
        values.append(distillation_loss.item())
    assert values[-1] < values[0]
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_the_weight_follows_the_settings() -> None:
    torch.manual_seed(0)
    student, image = network(3, 5), torch.rand(1, 3, 8, 16)
    config = DistillationConfig(weight=0.5, start_step=10)
    lgad, label_map = LgadLoss(student, network(5, 5), PATHS, config), torch.zeros(1, 8, 16, dtype=torch.long)

    def value(**step: int) -> float:
        student(image)
        return lgad(label_map, **step).item()  # type: ignore[arg-type]

    student.eval()
    unweighted = lgad.compute(StudentForward(image, student(image), label_map)).item()
    assert value() == pytest.approx(0.5 * unweighted) and value(step=10) == pytest.approx(0.5 * unweighted)
    assert value(step=9) == 0


def test_no_teacher_runs_at_steps_without_its_loss() -> None:
    torch.manual_seed(0)
    student, teacher, model = network(3, 5), network(5, 5), network(3, 5)
    runs: list[str] = []
    teacher[0].register_forward_hook(lambda *_: runs.append("teacher"))
    model.register_forward_hook(lambda *_: runs.append("model"))
    lgad = LgadLoss(student, teacher, PATHS, DistillationConfig(balance=0.3, stop_step=2))
    sad = SadLoss(student, ["0", "2"], SadConfig(balance=0.3, start_step=0, stop_step=2))
    logits_loss = LogitsLoss(model, LogitsConfig(stop_step=2))
    image, label_map = torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))
    for step in range(5):
        logits = student(image)
        losses = lgad(label_map, step), sad(step), logits_loss(logits, image, step)
        (nn.functional.cross_entropy(logits, label_map) + sum(losses)).backward()
        assert all((loss.item() == 0) == (step >= 2) for loss in losses)
    assert runs == ["teacher", "model"] * 2
    assert all(loss.control is not None and loss.control.calls == 2 for loss in (lgad, sad))


def test_pixels_with_an_ignore_index_belong_to_no_class() -> None:
    inputs_of_teacher: list[torch.Tensor] = []
    teacher = network(3, 3)
    teacher[0].register_forward_pre_hook(lambda module, inputs: inputs_of_teacher.append(inputs[0]))
    student = network(3, 3)
    lgad = LgadLoss(student, teacher, PATHS, DistillationConfig())
    label_map = torch.tensor([[[0, 2], [255, -1]]]).repeat(1, 2, 4)
    student(torch.rand(1, 3, 4, 8))
    lgad(label_map)
    assert inputs_of_teacher[0].sum(dim=1)[0, :2, :2].tolist() == [[1, 1], [0, 0]]


def test_wrong_label_maps_and_teachers_are_errors() -> None:
    student = network(3, 3)
    lgad = LgadLoss(student, network(3, 3), PATHS, DistillationConfig())
    for wrong in (torch.rand(1, 4, 8), torch.zeros(1, 3, 4, 8, dtype=torch.long)):
        with pytest.raises(LgadError, match=r"A label map is an integer tensor \(B, H, W\)"):
            lgad(wrong)
    with pytest.raises(LgadError, match="give the argument classes"):
        LgadLoss(student, nn.Sequential(nn.Identity(), nn.Identity()), PATHS, DistillationConfig())
    with pytest.raises(LgadError, match="give at least one"):
        LgadLoss(student, network(3, 3), [], DistillationConfig())


def test_sad_and_logits_in_the_same_loop() -> None:
    student, model, image = network(3, 5), network(3, 5), torch.rand(2, 3, 8, 16)
    sad = SadLoss(student, ["0", "3"], SadConfig(weight=0.1))
    logits_loss = LogitsLoss(model, LogitsConfig())
    logits = student(image)
    (logits.mean() + sad() + logits_loss(logits, image)).backward()
    assert student[0].weight.grad is not None and model[0].weight.grad is None  # type: ignore[union-attr]
