import copy

import pytest
import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.networks.folding import fold_batch_norms
from lgad_pipeline.networks.layers import HalvingPool, PReLU, add_residual
from lgad_pipeline.networks.registry import BUILT_IN, build_network

SIZE = (32, 64)


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in network.modules())


def with_statistics(network: nn.Module, seed: int = 0) -> nn.Module:
    """Network as after a training: batch norms that do not start as the identity, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for values, low, high in (
                (layer.running_mean, -0.3, 0.3),
                (layer.running_var, 0.3, 3),
                (layer.weight.data, 0.4, 1.5),
                (layer.bias.data, -0.3, 0.3),
            ):
                assert values is not None
                values.copy_(torch.rand(values.shape, generator=generator) * (high - low) + low)
    return network.eval()


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_probabilities_of_built_in_networks_stay(name):
    network = with_statistics(build_network(NetworkSpec(name=name, image_size=SIZE, width=0.5)))
    plain = copy.deepcopy(network)
    image = torch.rand(2, 3, *SIZE)
    folded = fold_batch_norms(network)
    # The norms behind a concatenation of a convolution and a pooling stay.
    assert norms(folded) == {"enet": 1, "erfnet": 3}.get(name, 0) < norms(plain)
    with torch.no_grad():
        expected = plain(image)
    with torch.inference_mode():
        actual = folded(image)
    for wanted, found in (
        (expected.logits.softmax(dim=1), actual.logits.softmax(dim=1)),
        (expected.existence.sigmoid(), actual.existence.sigmoid()),
    ):
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert norms(network) == norms(plain)  # the network itself is unchanged


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(4, 6, 3, bias=False),
        nn.Conv2d(4, 6, 3, groups=2),
        nn.ConvTranspose2d(4, 6, 3, 2, padding=1, output_padding=1),
        nn.ConvTranspose2d(4, 6, 2, 2, bias=False),
    ],
)
def test_a_norm_after_a_convolution_and_a_dropout_is_folded(convolution):
    layers = with_statistics(nn.Sequential(convolution, nn.Dropout2d(0.5), nn.BatchNorm2d(6), nn.ReLU()))
    image = torch.randn(2, 4, 9, 11)
    folded = fold_batch_norms(layers, image)
    assert norms(folded) == 0
    torch.testing.assert_close(folded(image), layers(image), atol=1e-5, rtol=1e-5)


class OneByOne(nn.Module):
    """Network that uses the layers of a sequence one by one, with another layer in between."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.layers[1](self.layers[0](image).relu())


class Twice(nn.Module):
    """Network in which two sequences share a convolution."""

    def __init__(self) -> None:
        super().__init__()
        shared = nn.Conv2d(3, 3, 1)
        self.first, self.second = nn.Sequential(shared, nn.BatchNorm2d(3)), nn.Sequential(shared)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(image))


@pytest.mark.parametrize(
    "network",
    [
        OneByOne(),
        Twice(),
        nn.Sequential(nn.ConvTranspose2d(4, 4, 3, groups=2), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)),
        nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)),
    ],
)
def test_a_norm_that_cannot_be_folded_stays(network):
    network = with_statistics(network) if norms(network) and hasattr(network, "layers") else network.eval()
    channels = 3 if isinstance(network, OneByOne | Twice) else 4
    image = torch.randn(2, channels, 8, 8)
    folded = fold_batch_norms(network, image)
    assert norms(folded) == 1
    torch.testing.assert_close(folded(image), network(image))


def test_faster_forms_of_layers_compute_the_same():
    features = torch.randn(2, 3, 8, 12)
    assert torch.equal(HalvingPool()(features), nn.MaxPool2d(2)(features))
    with_gradient = features.clone().requires_grad_()
    HalvingPool()(with_gradient).sum().backward()
    assert with_gradient.grad is not None and with_gradient.grad.sum() == 2 * 3 * 4 * 6
    layer = PReLU()
    expected = layer(features).detach()
    with torch.inference_mode():
        torch.testing.assert_close(layer(features.clone()), expected)
        residual = features * 2
        assert torch.equal(add_residual(features, residual), features * 3)
    residual = features * 2
    assert torch.equal(add_residual(features, residual), features * 3)
    assert torch.equal(residual, features * 2)  # outside of inference mode nothing is overwritten


def test_layers_whose_output_is_needed_stay() -> None:
    network = with_statistics(build_network(NetworkSpec(image_size=SIZE, width=0.5)))
    layers = ["encoder.stage1", "encoder.stage2.1.residual.3", "encoder.stage2.1.residual.8"]
    assert type(network.get_submodule(layers[1])) is nn.Conv2d
    assert type(network.get_submodule(layers[2])) is nn.Dropout2d
    image, features = torch.rand(2, 3, *SIZE), []
    for copied in (network, fold_batch_norms(network, keep=layers)):
        with FeatureTaps(copied, layers) as taps, torch.no_grad():
            copied(image)
            features.append(taps.pop())
    torch.testing.assert_close(features[1], features[0], atol=1e-4, rtol=0)
    dropped = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout2d(), nn.BatchNorm2d(4)).eval()
    assert norms(fold_batch_norms(dropped)) == 0 and norms(fold_batch_norms(dropped, keep=["1"])) == 1
    norm = "encoder.stage2.1.residual.4"
    assert type(fold_batch_norms(network, keep=layers).get_submodule(norm)) is nn.BatchNorm2d
    assert type(fold_batch_norms(network).get_submodule(norm)) is nn.Identity
