import copy

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, MimickingPath, SadConfig, default_paths
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.attention import attention_map
from lgad_pipeline.distillation.losses import LgadLoss, SadLoss, StudentForward
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import FrozenTeacher, label_planes, teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.networks.registry import attention_layers, build_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


def lgad(student: nn.Module, teacher: nn.Module, paths, config: DistillationConfig) -> LgadLoss:
    return LgadLoss(student, teacher, paths, config)


def run_student(network: nn.Module, planes: torch.Tensor, label: torch.Tensor) -> StudentForward:
    return StudentForward(planes, network(planes).logits, label)


def test_a_forward_of_an_averaged_copy_does_not_change_the_taps() -> None:
    torch.manual_seed(0)
    student, teacher = build_network(SPEC), build_network(teacher_spec(SPEC))
    loss = lgad(student, teacher, default_paths(attention_layers(SPEC)), DistillationConfig())
    averaged = torch.optim.swa_utils.AveragedModel(student)
    image, label = torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))
    forward = run_student(student, image, label)
    with torch.no_grad():
        averaged(image)
    value = loss.compute(forward)
    value.backward()
    assert value > 0 and student.get_parameter("encoder.stage1.0.residual.0.weight").grad is not None


def test_frozen_layers_of_the_student_are_an_error() -> None:
    student, teacher = build_network(SPEC), build_network(teacher_spec(SPEC))
    loss = lgad(student, teacher, default_paths(attention_layers(SPEC)), DistillationConfig())
    sad = SadLoss(student, ["encoder.stage2", "encoder.stage3"], SadConfig())
    student.get_submodule("encoder").requires_grad_(False)
    image, label = torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))
    sentence = r"learns nothing from the attention of encoder\.stage2.*requires_grad"
    for distillation_loss in (loss, sad):
        with pytest.raises(LgadError, match=sentence):
            distillation_loss.compute(run_student(student, image, label))
        with torch.no_grad():
            assert distillation_loss.compute(
                run_student(student, image, label)
            ).isfinite()  # evaluation without training
    student.get_submodule("encoder.stage3").requires_grad_(True)
    with pytest.raises(LgadError, match=r"attention of encoder\.stage2:"):
        loss.compute(run_student(student, image, label))


def test_label_planes() -> None:
    planes = label_planes(torch.tensor([[[0, 2]]], dtype=torch.uint8), classes=3)
    assert planes.tolist() == [[[[1.0, 0.0]], [[0.0, 0.0]], [[0.0, 1.0]]]] and planes.dtype == torch.float32
    no_class = torch.tensor([[[0, 2, 3, 255, -1]]])
    for values in (no_class, no_class.to(torch.int16), no_class.to(torch.uint8)):
        planes = label_planes(values, classes=3, dtype=torch.bfloat16)
        assert planes.dtype == torch.bfloat16
        assert planes.sum(dim=1).tolist() == [[[1.0, 1.0, 0.0, 0.0, 0.0]]] and planes[0, 2, 0, 1] == 1


def test_teacher_stays_frozen_while_a_student_learns() -> None:
    torch.manual_seed(0)
    student, teacher = build_network(SPEC), build_network(teacher_spec(SPEC))
    before = copy.deepcopy(teacher.state_dict())
    config = DistillationConfig()
    loss = lgad(student, teacher, default_paths(attention_layers(SPEC)), config)
    parent = nn.ModuleList([student, loss.teacher.network])
    optimizer = torch.optim.SGD((p for p in parent.parameters() if p.requires_grad), 0.1)
    weights = {name: value.clone() for name, value in student.named_parameters()}
    for _ in range(3):
        parent.train()
        assert student.training and not any(module.training for module in teacher.modules())
        value = loss.compute(run_student(student, torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    name = "encoder.stage1.0.residual.0.weight"
    assert not torch.equal(student.state_dict()[name], weights[name])


class Toy(nn.Module):
    def __init__(self, planes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(planes, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout2d(0.5), nn.Conv2d(4, 5, 1)
        )

    def forward(self, planes: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.body(planes))


def test_teacher_is_the_same_after_a_hundred_steps() -> None:
    """No gradient, no drift of the batch norms, no dropout, though the optimizer was given all parameters."""
    torch.manual_seed(0)
    student, teacher = Toy(3), Toy(5)
    before = copy.deepcopy(teacher.state_dict())
    config = DistillationConfig(paths=(MimickingPath(student="body.2", teacher="body.2"),))
    loss = lgad(student, teacher, config.paths, config)
    parent = nn.ModuleList([student, teacher])  # the network itself, which train() reaches
    optimizer = torch.optim.SGD(parent.parameters(), 0.1, weight_decay=0.1)
    labels = torch.randint(0, 5, (2, 8, 8))
    first = loss.teacher(labels)["body.2"]
    for _ in range(100):
        parent.train()
        optimizer.zero_grad()
        loss.compute(run_student(student, torch.rand(2, 3, 8, 8), labels)).backward()
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert torch.equal(loss.teacher(labels)["body.2"], first)


def test_loss_is_the_weighted_mean_over_paths_of_unequal_layers() -> None:
    torch.manual_seed(0)
    student, teacher = build_network(SPEC).eval(), build_network(teacher_spec(SPEC)).eval()
    paths = [
        MimickingPath(student="encoder.stage1", teacher="encoder.stage3", weight=2.0),
        MimickingPath(student="encoder.stage3", teacher="encoder.stage3", weight=0.5),
    ]
    config = DistillationConfig(normalization="l2", divergence="squared_sum")
    loss = lgad(student, teacher, paths, config)
    label = torch.randint(0, 5, (1, 16, 32))
    image = torch.rand(1, 3, 16, 32)
    value = loss.compute(run_student(student, image, label))

    def unit(network: nn.Module, layer: str, planes: torch.Tensor) -> torch.Tensor:
        with FeatureTaps(network, [layer]) as taps:
            network(planes)
            cells = attention_map(taps.pop()[layer])[:, None]
        cells = nn.functional.interpolate(cells, size=(2, 4), mode="bilinear", align_corners=False)
        return cells / cells.norm()

    target = unit(teacher, "encoder.stage3", label_planes(label, 5))
    expected = sum(
        weight / 2.5 * (unit(student, layer, image) - target).square().sum()
        for layer, weight in [("encoder.stage1", 2.0), ("encoder.stage3", 0.5)]
    )
    torch.testing.assert_close(value, expected)


def test_student_equal_to_its_teacher_has_no_loss() -> None:
    network = build_network(teacher_spec(SPEC)).eval()
    copied_network = copy.deepcopy(network)
    loss = lgad(copied_network, network, default_paths(attention_layers(SPEC)), DistillationConfig())
    label = torch.randint(0, 5, (2, 16, 32))
    assert loss.compute(run_student(copied_network, label_planes(label, 5), label)).item() == pytest.approx(
        0, abs=1e-6
    )


def test_frozen_teacher_gives_no_gradient_to_its_input() -> None:
    teacher = FrozenTeacher(build_network(teacher_spec(SPEC)))
    assert not teacher(torch.rand(1, 5, 16, 32, requires_grad=True)).logits.requires_grad


def test_weight_follows_the_schedule() -> None:
    config = DistillationConfig(weight=2.0, start_step=2, warmup_steps=2, stop_step=6, decay=True)
    assert [config.weight_at(step) for step in range(7)] == [0, 0, 1.0, 1.5, 1.0, 0.5, 0]
    assert DistillationConfig(weight=0.3).weight_at(10**6) == 0.3


@pytest.mark.parametrize(
    "settings",
    [
        {"divergence": "kl", "normalization": "l2"},
        {"start_step": 5, "stop_step": 5},
        {"decay": True},
        {"wieght": 1.0},
    ],
)
def test_settings_that_disagree_are_refused(settings: dict) -> None:
    with pytest.raises(ValidationError):
        DistillationConfig(**settings)
