import copy

import pytest
import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, LabelHeadConfig, MimickingPath
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.controls import (
    BlurredLabelsLoss,
    LabelHead,
    blurred_lanes,
    pooled_cross_entropy,
)
from lgad_pipeline.distillation.taps import layer_shapes
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import build_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


def test_blurred_lanes_by_hand() -> None:
    label = torch.zeros(1, 4, 6, dtype=torch.uint8)
    label[0, 0:2, 0:2] = 3  # one cell of 2 x 3 full of a lane
    label[0, 2, 5] = 1  # a quarter of another
    maps = blurred_lanes(label, (2, 3))
    # Means over the neighbours that exist: 4 at the corners, 6 in the middle column.
    expected = torch.tensor([[[1 / 4, 1.25 / 6, 0.25 / 4], [1 / 4, 1.25 / 6, 0.25 / 4]]])
    torch.testing.assert_close(maps, expected)


def test_layer_shapes_do_not_change_the_network() -> None:
    torch.manual_seed(0)
    network = build_network(SPEC)
    before = copy.deepcopy(network.state_dict())
    generator = torch.get_rng_state()
    shapes = layer_shapes(network, ["encoder.stage2", "encoder.stage1"], SPEC)
    assert {layer: tuple(shape) for layer, shape in shapes.items()} == {
        "encoder.stage2": (32, 2, 4),
        "encoder.stage1": (16, 4, 8),
    }
    assert network.training and torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())


def test_the_gradient_of_the_blurred_control_is_that_of_the_divergence_of_shares() -> None:
    """dKL/dF = 2 F (1 - t / s) / S with s = |F|^2 / S, t the shares of the blurred label map."""
    torch.manual_seed(0)
    first = nn.Conv2d(3, 4, 3, 2, 1)
    student = nn.Sequential(first, nn.Conv2d(4, 5, 1))
    label = torch.zeros(1, 8, 8, dtype=torch.uint8)
    label[0, :, 3:5] = 2
    # The student computes in float64; its layer shapes are found with a float32 copy.
    loss = BlurredLabelsLoss(
        student,
        NetworkSpec(image_size=(8, 8)),
        [MimickingPath(student="0", teacher="0")],
        DistillationConfig(),
    )
    student.double()
    outputs: list[torch.Tensor] = []
    first.register_forward_hook(lambda module, inputs, output: outputs.append(output))  # type: ignore
    image = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    output = student(image)
    outputs[0].retain_grad()
    loss.compute(StudentForward(image, output, label)).backward()
    features = outputs[0].detach()
    energy = features.square().sum()
    student_share = features.square().sum(dim=1, keepdim=True) / energy
    target = blurred_lanes(label, (4, 4)).double()[:, None]
    target = target / target.sum()
    expected = 2 * features * (1 - target / student_share) / energy
    assert outputs[0].grad is not None
    torch.testing.assert_close(outputs[0].grad, expected, atol=1e-6, rtol=1e-5)


def test_pooled_cross_entropy_by_hand() -> None:
    """Two cells: one all background, one half background and half slot 1; background weighs 0.4."""
    label = torch.tensor([[[0, 0, 0, 1]]])
    logits = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]], dtype=torch.float64, requires_grad=True)
    value = pooled_cross_entropy(logits, label, 0.4)
    probability = logits.detach().softmax(dim=1)
    share = torch.tensor([[[[0.4, 0.2]], [[0.0, 0.5]]]], dtype=torch.float64)
    assert value.item() == pytest.approx(float(-(share * probability.log()).sum() / share.sum()), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, logits)
    expected = (probability * share.sum(dim=1, keepdim=True) - share) / share.sum()
    torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=1e-5)


def test_cells_of_one_pixel_have_the_weighted_cross_entropy_of_the_labels() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(2, 5, 4, 6), torch.randint(0, 5, (2, 4, 6))
    weight = torch.tensor([0.4, 1, 1, 1, 1])
    torch.testing.assert_close(
        pooled_cross_entropy(logits, label, 0.4), nn.functional.cross_entropy(logits, label, weight)
    )


def test_label_heads_pass_gradients_to_the_layers_up_to_them() -> None:
    torch.manual_seed(0)
    student = build_network(SPEC)
    head = LabelHead(student, SPEC, ["encoder.stage1", "encoder.stage2"], LabelHeadConfig())
    assert [tuple(value.shape) for value in head.heads.parameters() if value.dim() > 1] == [
        (5, 16, 1, 1),
        (5, 32, 1, 1),
    ]
    assert not any(name.startswith("heads") for name in student.state_dict())
    image, label = torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))
    head.compute(StudentForward(image, student(image).logits, label)).backward()
    assert all(parameter.grad is not None for parameter in head.heads.parameters())
    with_gradient = {name for name, value in student.named_parameters() if value.grad is not None}
    assert with_gradient and all(name.startswith("encoder.") for name in with_gradient)
    assert not any(name.startswith("encoder.stage3") for name in with_gradient)
    student.get_submodule("encoder").requires_grad_(False)
    with pytest.raises(LgadError, match=r"learns nothing .* encoder\.stage1, encoder\.stage2"):
        head.compute(StudentForward(image, student(image).logits, label))
