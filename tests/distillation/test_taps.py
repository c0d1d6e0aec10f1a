"""Feature taps: outputs of layers, copies, compiled networks, and layers that cannot be mimicked."""

import copy
import io

import pytest
import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import build_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Conv2d(1, 2, 3, padding=1)
        self.unused = nn.Conv2d(1, 2, 1)
        self.flat = nn.Flatten()
        self.pair = Pair()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.pair(image)
        return self.flat(self.early(image))


class Pair(nn.Module):
    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return image, image


def test_taps_give_the_layers_output() -> None:
    network, image = Branching(), torch.rand(2, 1, 4, 4)
    with FeatureTaps(network, ["early"]) as taps:
        network(image)
        assert torch.equal(taps.pop()["early"], network.early(image))
        taps.pop()
        with pytest.raises(LgadError, match="did not run"):
            taps.pop()
    network(image)
    assert not network.early._forward_hooks


@pytest.mark.parametrize(
    ("layer", "sentence"),
    [("unused", "did not run"), ("flat", r"shape \(1, 32\)"), ("pair", "not a feature map")],
)
def test_a_layer_that_cannot_be_mimicked_is_an_error(layer: str, sentence: str) -> None:
    network = Branching()
    with FeatureTaps(network, [layer]) as taps:
        network(torch.rand(1, 1, 4, 4))
        with pytest.raises(LgadError, match=sentence):
            taps.pop()


def test_unknown_layer_lists_the_nearest() -> None:
    with pytest.raises(
        LgadError, match=r"no layer 'encoder\.stage9'; the nearest names are:.*encoder\.stage"
    ):
        FeatureTaps(build_network(SPEC), ["encoder.stage9"])


def test_values_that_are_not_finite_are_an_error() -> None:
    network = Branching()
    with FeatureTaps(network, ["early"]) as taps:
        network(torch.full((1, 1, 4, 4), float("nan")))
        with pytest.raises(LgadError, match="early returned values that are not finite"):
            taps.pop()


def test_taps_survive_compilation() -> None:
    network, image = Branching(), torch.rand(1, 1, 4, 4)
    with FeatureTaps(network, ["early"]) as taps:
        torch.compile(network, backend="eager")(image)
        assert torch.equal(taps.pop()["early"], network.early(image))


def in_place() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 1))


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad])
def test_a_layer_whose_output_is_overwritten_is_an_error(mode) -> None:
    network, image = in_place(), torch.randn(2, 3, 6, 6)
    with mode(), FeatureTaps(network, ["2"]) as taps:
        network(image)
        assert taps.pop()["2"].min() == 0
    with mode(), FeatureTaps(network, ["1"]) as taps:
        network(image)
        with pytest.raises(LgadError, match=r"layer 1 is overwritten in place.*choose the later layer"):
            taps.pop()


@pytest.mark.parametrize(
    ("mode", "backend"),
    [
        (torch.inference_mode, None),
        (torch.inference_mode, "eager"),
        (torch.no_grad, "eager"),
        (torch.enable_grad, "eager"),
        (torch.enable_grad, "aot_eager"),
    ],
)
def test_where_changes_are_not_counted_the_output_is_exact(mode, backend: str | None) -> None:
    network, image = in_place().eval(), torch.randn(2, 3, 6, 6)
    forward = torch.compile(network, backend=backend) if backend else network
    with mode(), FeatureTaps(network, ["1"]) as taps:
        forward(image)
        torch.testing.assert_close(taps.pop()["1"], network[1](network[0](image)))


def test_taps_do_not_break_the_graph_of_a_compiled_network() -> None:
    network, image = Branching(), torch.rand(1, 1, 4, 4)
    with FeatureTaps(network, ["early"]) as taps:
        torch.compile(network, backend="aot_eager", fullgraph=True)(image)
        taps.pop()["early"].square().sum().backward()
        gradient = network.early.weight.grad
    network.zero_grad()
    network.early(image).square().sum().backward()
    torch.testing.assert_close(gradient, network.early.weight.grad)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda network: pickled(network)])
def test_a_copy_of_a_tapped_network_leaves_the_taps_alone(copied) -> None:
    network, image = Branching(), torch.rand(2, 1, 4, 4)
    with FeatureTaps(network, ["early"]) as taps:
        copied_network = copied(network)
        network(image)
        with torch.no_grad():
            copied_network(image + 1)
            copy.copy(network.early)(image + 1)  # shares the hooks of the original
        kept = taps.pop()["early"]
        assert kept.requires_grad and torch.equal(kept, network.early(image))
        taps.pop()
        with FeatureTaps(copied_network, ["early"]) as copy_taps:  # the copy can be tapped, too
            copied_network.early(image)
            assert torch.equal(copy_taps.pop()["early"], network.early(image))


def pickled(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    return torch.load(file, weights_only=False)
