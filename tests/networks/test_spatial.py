"""Spatial modules of SCNN and RESA against their formulae, and the networks with one of them."""

import pytest
import torch
from torch.nn import functional

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network, save_network
from lgad_pipeline.networks.complexity import operations, parameters
from lgad_pipeline.networks.registry import attention_layers, build_network, is_registered
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.networks.spatial_modules import RecurrentShifts, SliceConvolutions

# Published at 288 x 800 (PytorchAutoDrive, docs/BENCHMARK.md): millions of parameters, GFLOPs.
PUBLISHED = {
    "scnn:resnet18": (12.42, 89.34),
    "scnn:resnet34": (22.52, 163.72),
    "scnn:erfnet": (3.27, 30.40),
    "resa:resnet18": (6.62, 61.33),
    "resa:resnet34": (12.01, 101.72),
}
NAMES = [*PUBLISHED, "scnn:enet", "resa:enet", "resa:erfnet"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_and_operations_are_the_published_ones(name: str) -> None:
    millions, billions = PUBLISHED[name]
    spec = NetworkSpec(name=name)
    assert parameters(spec) / 1e6 == pytest.approx(millions, abs=0.011)
    # The published count includes normalizations and activations.
    assert 0.88 * billions < operations(spec) / 1e9 < billions


def test_scnn_passes_messages_from_slice_to_slice() -> None:
    torch.manual_seed(0)
    module = SliceConvolutions(4).double()
    features = torch.rand(2, 4, 5, 7, dtype=torch.float64)
    expected = features.numpy().copy()
    down, up, right, left = module.convolutions

    def message(convolution: torch.nn.Module, part) -> object:
        return functional.relu(convolution(torch.from_numpy(part))).detach().numpy()

    for row in range(1, 5):
        expected[:, :, row : row + 1] += message(down, expected[:, :, row - 1 : row].copy())
    for row in range(3, -1, -1):
        expected[:, :, row : row + 1] += message(up, expected[:, :, row + 1 : row + 2].copy())
    for column in range(1, 7):
        expected[..., column : column + 1] += message(right, expected[..., column - 1 : column].copy())
    for column in range(5, -1, -1):
        expected[..., column : column + 1] += message(left, expected[..., column + 1 : column + 2].copy())
    torch.testing.assert_close(module(features), torch.from_numpy(expected))


def test_resa_adds_shifted_maps() -> None:
    torch.manual_seed(0)
    module = RecurrentShifts(4, iterations=2, alpha=2.0).double()
    features = torch.rand(2, 4, 6, 8, dtype=torch.float64)
    expected = features
    for group, (size, sign, dimension) in enumerate([(6, 1, 2), (6, -1, 2), (8, 1, 3), (8, -1, 3)]):
        for iteration in range(2):
            index = (torch.arange(size) + sign * (size // 2 ** (2 - iteration))) % size
            convolution = module.convolutions[group][iteration]  # type: ignore[index]
            shifted = expected.index_select(dimension, index)
            expected = expected + 2.0 * functional.relu(convolution(shifted))
    torch.testing.assert_close(module(features), expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("in_channels", "width"), [(3, 1.0), (5, 0.5)])
def test_networks_return_logits_and_existence_and_learn_everywhere(
    name: str, in_channels: int, width: float
) -> None:
    spec = NetworkSpec(
        name=name, in_channels=in_channels, image_size=(32, 80), width=width, zero_init_residual=False
    )
    network = build_network(spec)
    output = network(torch.rand(2, in_channels, 32, 80))
    assert output.logits.shape == (2, 5, 32, 80)
    assert output.existence is not None and output.existence.shape == (2, 4)
    modules = dict(network.named_modules())
    layers = attention_layers(spec)
    assert layers[-1] == "spatial" and all(layer in modules for layer in layers)
    (output.logits.square().mean() + output.existence.square().mean()).backward()
    without = [name for name, weight in network.named_parameters() if weight.grad is None]
    assert without == []


def test_a_message_reaches_the_whole_map() -> None:
    for name in ("scnn:enet", "resa:enet"):
        torch.manual_seed(0)
        network = build_network(NetworkSpec(name=name, image_size=(32, 512), width=0.25)).eval()
        features = torch.rand(1, 32, 4, 64, requires_grad=True)
        network.spatial(features)[0, :, 0, 0].sum().backward()  # type: ignore[operator]
        assert features.grad is not None and features.grad[0, :, 3, 40:].any(), name


def test_a_network_with_a_spatial_module_is_saved_and_loaded(tmp_path) -> None:
    spec = NetworkSpec(name="resa:resnet18", image_size=(16, 32), width=0.25)
    network = build_network(spec).eval()
    save_network(tmp_path, network, spec=spec)
    loaded, loaded_spec = load_network(tmp_path)
    image = torch.rand(1, 3, 16, 32)
    assert loaded_spec == spec and torch.equal(loaded(image).logits, network(image).logits)


def test_an_unknown_backbone_is_one_sentence() -> None:
    with pytest.raises(LgadError, match="scnn:vgg does not exist; choose the backbone of enet, erfnet"):
        build_network(NetworkSpec(name="scnn:vgg"))
    # The class of another package is never imported through a prefix.
    with pytest.raises(LgadError, match="resa:os:path does not exist"):
        build_network(NetworkSpec(name="resa:os:path"))
    assert is_registered("scnn:enet") and not is_registered("os:path")


def test_the_code_of_spatial_networks_is_that_of_this_package() -> None:
    assert source_digest("scnn:enet") == source_digest("enet") == ""
