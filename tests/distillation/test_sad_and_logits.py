import math

import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import LogitsConfig, SadConfig
from lgad_pipeline.distillation.losses import LogitsLoss, SadLoss, StudentForward, soft_target_divergence
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.layers import LaneOutput

LABEL_MAP = torch.zeros(1, 1, 2, dtype=torch.uint8)


class Chain(nn.Module):
    """Two layers of one channel each that multiply their input."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 1, 1, bias=False)
        self.second = nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
        nn.init.constant_(self.first.weight, first)
        self.second.weight.data.copy_(torch.tensor([0, second, second]))  # a pixel and the one right of it

    def forward(self, image: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.second(self.first(image)))


def test_sad_by_hand_and_without_gradient_to_the_deeper_layer() -> None:
    network = Chain(1.0, 2.0)
    config = SadConfig(normalization="sum", divergence="squared_sum", start_step=0)
    loss = SadLoss(network, ["first", "second"], config)
    image = torch.tensor([[[[1.0, 2.0]]]])
    value = loss.compute(StudentForward(image, network(image).logits, LABEL_MAP))
    # first: 1, 2 squared over their sum: 1/5, 4/5; second: 2 (1 + 2), 2 (2 + 0) squared: 36/52, 16/52.
    assert value.item() == pytest.approx((1 / 5 - 36 / 52) ** 2 + (4 / 5 - 16 / 52) ** 2, rel=1e-5)
    value.backward()
    assert network.second.weight.grad is None and network.first.weight.grad is not None


def test_sad_sums_over_neighbouring_layers() -> None:
    network = nn.Sequential(*[nn.Conv2d(2, 2, 3, padding=1) for _ in range(3)])
    image = torch.rand(2, 2, 4, 5)

    def value(layers: list[str]) -> float:
        loss = SadLoss(network, layers, SadConfig())
        network(image)
        return loss.compute(StudentForward(image, torch.zeros(0), LABEL_MAP)).item()

    assert value(["0", "1", "2"]) == pytest.approx(value(["0", "1"]) + value(["1", "2"]), rel=1e-5)


def test_sad_of_one_layer_is_refused() -> None:
    with pytest.raises(LgadError, match=r"sad\.layers"):
        SadLoss(Chain(1, 1), ["first"], SadConfig())


def test_soft_targets_by_hand() -> None:
    student = torch.tensor([0.0, math.log(3.0) * 2]).view(1, 2, 1, 1)  # at T = 2: 1/4, 3/4
    teacher = torch.zeros(1, 2, 1, 1)  # 1/2, 1/2
    expected = 4 * (0.5 * math.log(2.0) + 0.5 * math.log(2 / 3))
    assert soft_target_divergence(student, teacher, 2.0).item() == pytest.approx(expected, rel=1e-5)
    assert soft_target_divergence(teacher, teacher, 2.0).item() == 0
    generous = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda logits: soft_target_divergence(logits, torch.ones(2, 3, 2, 2), 3.0).double(),
        (generous,),
        atol=1e-3,
        eps=1e-3,
    )


def test_model_whose_logits_are_mimicked_is_frozen() -> None:
    model, student, image = Chain(1.0, 2.0), Chain(0.5, 1.0), torch.rand(1, 1, 2, 2)
    loss = LogitsLoss(model, LogitsConfig())
    loss.compute(StudentForward(image, student(image).logits, LABEL_MAP)).backward()
    assert not model.training and all(parameter.grad is None for parameter in model.parameters())
    assert student.first.weight.grad is not None


class _LikeTorchvision(nn.Module):
    """Returns the logits in a dictionary."""

    def forward(self, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"out": inputs}


@pytest.mark.parametrize(
    ("model", "logits", "kind"),
    [
        (_LikeTorchvision(), torch.zeros(2, 5, 4, 6), "dict"),
        (nn.Conv2d(5, 1, 1), torch.zeros(2, 5, 4, 6), r"\(2, 1, 4, 6\)"),
        (nn.Identity(), torch.zeros(1, 5, 4, 6), r"\(2, 5, 4, 6\)"),
    ],
)
def test_logits_of_another_form_are_an_error(model: nn.Module, logits: torch.Tensor, kind: str) -> None:
    with pytest.raises(LgadError, match=f"and those of the other network {kind}; both have to be tensors"):
        LogitsLoss(model, LogitsConfig())(logits, torch.zeros(2, 5, 4, 6))


def test_sad_of_one_layer_that_is_named_twice_is_an_error() -> None:
    with pytest.raises(LgadError, match="SAD needs two layers, of which one mimics the other"):
        SadLoss(nn.Sequential(nn.Conv2d(3, 3, 1)), ["0", "0"], SadConfig())
