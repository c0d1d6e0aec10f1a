"""Balance and gate, compared with gradients that autograd computes separately for each loss."""

import io

import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, LabelHeadConfig, MimickingPath, SadConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.controls import LabelHead
from lgad_pipeline.distillation.gradient_control import DECAY, MEASURING_PERIOD, GradientControl
from lgad_pipeline.distillation.losses import LgadLoss, SadLoss
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.training.tasks import StudentTask, total_loss

PATHS = [MimickingPath(student="1", teacher="1"), MimickingPath(student="3", teacher="3", weight=3.0)]


def network(planes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(planes, 6, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.Softplus(),
        nn.Conv2d(8, 5, 1),
        nn.Upsample(scale_factor=4),
    ).double()


class Setting:
    """Student, teacher and one batch, with the gradients of each loss at the tapped layers by autograd."""

    def __init__(self, **config) -> None:
        torch.manual_seed(0)
        self.student, self.teacher = network(3), network(5)
        self.teacher.float()
        self.image = torch.rand(2, 3, 16, 16, dtype=torch.float64)
        self.label = torch.randint(0, 5, (2, 16, 16))
        self.loss = LgadLoss(self.student, self.teacher, PATHS, DistillationConfig(**config))
        self.plain = LgadLoss(self.student, self.teacher, PATHS, DistillationConfig(weight=1.0))

    def features(self) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Run the student; return the tapped layers and the logits."""
        values, tapped = self.image, {}
        for name, layer in self.student.named_children():
            values = tapped[name] = layer(values)
        return {name: tapped[name] for name in ("1", "3")}, values

    def seg_loss(self, logits: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(logits, self.label)

    def separate(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Return the gradients of the segmentation loss, and of each path's own loss at its own layer."""
        tapped, logits = self.features()
        names = list(tapped)
        self.loss.taps.pop()
        segmentation = torch.autograd.grad(self.seg_loss(logits), list(tapped.values()), retain_graph=True)
        own = {}
        targets = self.teacher_maps()
        for path in PATHS:
            leaf = tapped[path.student].detach().requires_grad_()
            share = leaf.square().sum(1).flatten(1)
            share = share / share.sum(1, keepdim=True)
            target = targets[path.teacher].double().flatten(1)
            target = target / target.sum(1, keepdim=True)
            value = path.weight / 4 * (target * (target / share).log()).sum(1).mean()
            own[path.student] = torch.autograd.grad(value, leaf)[0]
        self.plain.taps.pop()
        return dict(zip(names, segmentation, strict=True)), own

    def teacher_maps(self) -> dict[str, torch.Tensor]:
        return {layer: value.detach() for layer, value in self.loss.teacher(self.label).items()}

    def arriving(self, step: int) -> dict[str, torch.Tensor]:
        """Return the gradients of the sum of both losses at the tapped layers at a step."""
        tapped, logits = self.features()
        self.plain.taps.pop()
        total = self.seg_loss(logits) + self.loss(self.label, step)
        gradients = torch.autograd.grad(total, list(tapped.values()))
        return dict(zip(tapped, gradients, strict=True))


def test_the_attention_gradient_has_the_given_share_of_that_of_the_labels() -> None:
    """Paths weigh 1 and 3: with a balance of 0.4 their shares are 0.2 and 0.6, whatever the weight."""
    case = Setting(balance=0.4, weight=123.0, stop_step=11, decay=True)
    segmentation, own = case.separate()
    # A measuring step: the labels alone.
    first = case.arriving(0)
    for layer in ("1", "3"):
        torch.testing.assert_close(first[layer], segmentation[layer])
    # The deepest layer receives its own attention gradient alone, the one before also that of layer 3.
    second = case.arriving(1)
    schedule = 10 / 11
    expected = own["3"] * (0.6 * schedule * segmentation["3"].norm() / own["3"].norm())
    assert_same(second["3"] - segmentation["3"], expected)
    tapped, _ = case.features()
    through = torch.autograd.grad(tapped["3"], tapped["1"], second["3"])[0]
    direct = own["1"] * (0.2 * schedule * segmentation["1"].norm() / own["1"].norm())
    assert_same(second["1"] - through, direct)
    assert (second["1"] - through).norm() / segmentation["1"].norm() == pytest.approx(
        0.2 * schedule, rel=1e-5
    )


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert (actual - expected).norm() <= 1e-5 * expected.norm()  # the teacher computes in float32


def test_running_means_and_the_factor_that_follows() -> None:
    control = GradientControl({"a": 1.0}, DistillationConfig(balance=0.5, gate=True))
    sums = torch.zeros(3, dtype=torch.float64)
    torch.manual_seed(0)
    for number in range(4):
        features = torch.randn(2, 3, 4, 5, dtype=torch.float64).requires_grad_() * 1
        other, own = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
        out = control({"a": features}, 0.25)["a"]
        ((other * features).sum() + 0.25 * (own * out).sum()).backward()
        skip(control)
        new = torch.stack([other.square().sum(), own.square().sum(), (other * own).sum()])
        sums = new if number == 0 else DECAY * sums + (1 - DECAY) * new
    torch.testing.assert_close(control.means[0].double(), sums, atol=1e-5, rtol=1e-5)
    cosine = (sums[2] / (sums[0] * sums[1]).sqrt()).item()
    expected = (sums[0] / sums[1]).sqrt().item() if cosine >= 0 else 0.0
    assert control.factors().item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_gate_is_closed_while_the_gradients_disagree(sign: int) -> None:
    control = GradientControl({"a": 1.0}, DistillationConfig(gate=True))
    direction = torch.randn(1, 2, 3, 3)

    def gradient(own: torch.Tensor) -> torch.Tensor:
        leaf = torch.ones(1, 2, 3, 3, requires_grad=True)
        features = leaf * 1
        ((direction * features).sum() + (own * control({"a": features}, 1.0)["a"]).sum()).backward()
        assert leaf.grad is not None
        return leaf.grad - direction

    own = 2.0 * sign * direction
    assert gradient(own).norm() == 0  # measures
    torch.testing.assert_close(gradient(own), own if sign > 0 else torch.zeros_like(own))
    # The gate opens again after measurements in which they agree.
    for _ in range(5 * MEASURING_PERIOD - 1):
        gradient(2 * direction)
    torch.testing.assert_close(gradient(own), own)


def skip(control: GradientControl) -> None:
    """Count the forwards up to the next one that measures."""
    while control.calls % MEASURING_PERIOD:
        control({"a": torch.ones(1, 1, 1, 1, requires_grad=True) * 1}, 1.0)


class Lanes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = network(3).float()

    def forward(self, image: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.body(image))


def test_a_loss_that_starts_later_measures_without_the_gradient_of_another_one() -> None:
    torch.manual_seed(0)
    student, spec = Lanes(), NetworkSpec(image_size=(16, 16))
    heads = {
        str(start): LabelHead(student, spec, ["body.1"], LabelHeadConfig(balance=0.3, start_step=start))
        for start in (0, 3)
    }
    task = StudentTask(TrainingConfig(), heads)
    image, label = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8), torch.randint(0, 5, (2, 16, 16))
    batch = Batch(["a", "b"], image, label, torch.ones(2, 4))
    norms = []  # squared gradient of the segmentation loss, the same at each step: no weight is changed
    for step in range(12):
        total_loss(task.losses(student, batch, task.weights(step))).backward()
        norms.append([head.control.means[0, 0].item() for head in heads.values() if head.control])
    assert norms[0][1] == 0 and norms[3][1] == pytest.approx(norms[0][0], rel=1e-6)
    assert norms[11] == pytest.approx([norms[0][0]] * 2, rel=1e-6)


def test_a_layer_that_the_labels_do_not_reach_is_an_error() -> None:
    control = GradientControl({"a": 1.0}, DistillationConfig(gate=True))
    features = torch.ones(1, 2, 3, 3, requires_grad=True) * 1
    with pytest.raises(LgadError, match="No gradient of the segmentation loss reaches layer a"):
        control({"a": features}, 1.0)["a"].sum().backward()


def test_measured_gradients_that_are_not_finite_do_not_count() -> None:
    control = GradientControl({"a": 1.0}, DistillationConfig(balance=0.5))
    for factor in (1.0, float("inf")):
        features = torch.ones(1, 2, 3, 3, requires_grad=True) * 1
        (features.sum() + (control({"a": features}, 1.0)["a"] * factor).sum()).backward()
        skip(control)
    assert control.means.tolist() == [[18, 18, 18]]


def test_the_means_are_in_the_checkpoint_of_the_companion() -> None:
    case = Setting(balance=0.4)
    case.arriving(0)
    assert case.loss.companion is not None
    file = io.BytesIO()
    torch.save(case.loss.companion.state_dict(), file)
    file.seek(0)
    other = Setting(balance=0.4)
    assert other.loss.companion is not None
    other.loss.companion.load_state_dict(torch.load(file, weights_only=True))
    for layer, gradient in case.arriving(1).items():
        assert torch.equal(gradient, other.arriving(1)[layer])


def test_balance_needs_the_layers_of_the_network_itself() -> None:
    case = Setting(balance=0.4)
    torch.compile(case.student, backend="aot_eager")(case.image)
    with pytest.raises(LgadError, match=r"gradients of 1, 3 cannot be measured .*balance to null"):
        case.loss(case.label, 0)
    with torch.no_grad():
        case.student(case.image)
        assert case.loss(case.label, 0).isfinite()


def test_sad_and_label_heads_are_balanced_too() -> None:
    torch.manual_seed(0)
    student, image, label = network(3), torch.rand(2, 3, 16, 16).double(), torch.randint(0, 5, (2, 16, 16))
    sad = SadLoss(student, ["1", "3"], SadConfig(balance=0.5, start_step=0))
    student.float()
    spec = NetworkSpec(image_size=(16, 16))
    head = LabelHead(student, spec, ["1"], LabelHeadConfig(balance=0.5))
    student.double()
    head.heads.double()
    kept: list[torch.Tensor] = []
    student[1].register_forward_hook(lambda module, inputs, output: kept.append(output))  # type: ignore

    def gradient(loss: SadLoss | LabelHead | None) -> torch.Tensor:
        logits = student(image)
        value = nn.functional.cross_entropy(logits, label)
        if loss is not None:
            weight = loss.weight(0)
            value = value + weight * loss.compute(StudentForward(image, logits, label, weight=weight))
        return torch.autograd.grad(value, kept[-1])[0]

    alone = gradient(None)
    for loss in (sad, head):
        torch.testing.assert_close(gradient(loss), alone)
        assert (gradient(loss) - alone).norm() / alone.norm() == pytest.approx(0.5, rel=1e-5)
