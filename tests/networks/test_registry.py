import pytest
import torch
from torch.nn import functional

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network, save_network
from lgad_pipeline.networks.enet import Bottleneck
from lgad_pipeline.networks.layers import LaneOutput, PReLU
from lgad_pipeline.networks.registry import attention_layers, build_network, register_network
from lgad_pipeline.networks.source import source_digest

# Millions of parameters at 288 x 800; published (PytorchAutoDrive): 0.96, 2.68, 11.8, 21.9.
PUBLISHED = {"enet": 0.96, "erfnet": 2.68, "resnet18": 11.82, "resnet34": 21.93}


class Plain(torch.nn.Module):
    """Network of another package, without an existence head."""

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__()
        self.body = torch.nn.Conv2d(in_channels, slots + 1, 3, padding=1)

    def forward(self, image: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.body(image))


@pytest.mark.parametrize("name", PUBLISHED)
def test_networks_may_start_as_published(name: str) -> None:
    states = []
    for zero in (True, False):
        torch.manual_seed(0)
        spec = NetworkSpec(name=name, image_size=(16, 32), width=0.25, zero_init_residual=zero)
        states.append(build_network(spec).state_dict())
    ours, published = states
    changed = [key for key in ours if not torch.equal(ours[key], published[key])]
    assert changed and all(not ours[key].any() and bool((published[key] == 1).all()) for key in changed)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_count_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        network = build_network(NetworkSpec(name=name))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert round(count / 1e6, 2) == PUBLISHED[name]


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize(("in_channels", "width"), [(3, 1.0), (5, 0.5)])
def test_networks_return_logits_and_existence(name: str, in_channels: int, width: float) -> None:
    spec = NetworkSpec(name=name, in_channels=in_channels, image_size=(32, 80), width=width)
    network = build_network(spec)
    output = network(torch.rand(2, in_channels, 32, 80))
    assert output.logits.shape == (2, 5, 32, 80)
    assert output.existence is not None and output.existence.shape == (2, 4)
    modules = dict(network.named_modules())
    assert all(layer in modules for layer in attention_layers(spec))


def undo_identity_start(network: torch.nn.Module) -> None:
    """Set the normalizations to 1, because from the identity the first step changes little."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)


def test_blocks_start_as_the_identity() -> None:
    block = Bottleneck(8, relu=True).eval()
    features = torch.rand(1, 8, 4, 4)
    assert torch.equal(block(features), features)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_parameter_has_a_gradient(name: str) -> None:
    network = build_network(NetworkSpec(name=name, image_size=(32, 80), width=0.5))
    undo_identity_start(network)
    output = network(torch.rand(2, 3, 32, 80))
    (output.logits.square().mean() + output.existence.square().mean()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_enet_has_a_wide_receptive_field() -> None:
    """With dilated and asymmetric convolutions a pixel depends on one 100 columns away."""
    torch.manual_seed(0)
    network = build_network(NetworkSpec(image_size=(32, 256), width=0.5)).eval()
    undo_identity_start(network)
    image = torch.rand(1, 3, 32, 256, requires_grad=True)
    network(image).logits[0, :, 16, 128].sum().backward()
    assert image.grad is not None and image.grad[0, :, :, 28].any()


def test_prelu_equals_the_one_of_torch() -> None:
    torch.manual_seed(0)
    ours, features = PReLU().double(), torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    ours(features).sin().sum().backward()
    gradient, slope = features.grad, ours.weight.grad
    features.grad, ours.weight.grad = None, None
    theirs = functional.prelu(features, ours.weight)
    theirs.sin().sum().backward()
    torch.testing.assert_close(ours(features), theirs)
    torch.testing.assert_close(features.grad, gradient)
    torch.testing.assert_close(ours.weight.grad, slope)


class WithoutWeights(torch.nn.Module):
    """A network whose batch norm has no weights."""

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(in_channels, affine=False)


def test_batch_norms_without_weights_start_as_published() -> None:
    spec = NetworkSpec(name=f"{__name__}:WithoutWeights", image_size=(16, 32), zero_init_residual=False)
    assert isinstance(build_network(spec), WithoutWeights)


def test_an_image_too_small_for_the_existence_head_is_one_sentence() -> None:
    with pytest.raises(LgadError, match="image_size is too small for an existence head; give 16 px"):
        build_network(NetworkSpec(name="enet", image_size=(8, 128)))


def test_same_seed_same_weights() -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build_network(NetworkSpec(image_size=(32, 80), width=0.5)).state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_a_network_of_another_package_is_found_by_import_path() -> None:
    spec = NetworkSpec(name=f"{__name__}:Plain", image_size=(16, 32))
    assert build_network(spec)(torch.rand(1, 3, 16, 32)).existence is None
    with pytest.raises(LgadError, match=r"distillation\.paths"):
        attention_layers(spec)


def test_a_registered_network_is_built_saved_and_loaded_by_name(tmp_path) -> None:
    assert register_network("plain")(Plain) is Plain
    assert register_network("plain")(Plain) is Plain  # as when its module is imported again
    spec = NetworkSpec(name="plain", image_size=(16, 32))
    save_network(tmp_path, build_network(spec), spec=spec)
    network, _ = load_network(tmp_path)
    assert isinstance(network, Plain) and source_digest("plain")


def test_a_name_is_registered_once() -> None:
    with pytest.raises(LgadError, match=r"The name enet is that of lgad_pipeline\.networks\.enet:ENet"):
        register_network("enet")(Plain)
    with pytest.raises(LgadError, match="'my nets:Net' is not a name"):
        register_network("my nets:Net")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("unet", "choose one of enet, erfnet, resnet18, resnet34"),
        ("nowhere.nets:Net", "No module named 'nowhere'"),
        ("lgad_pipeline.networks.enet:Enet", "correct the import path"),
    ],
)
def test_an_unknown_network_is_an_error_of_one_sentence(name: str, sentence: str) -> None:
    with pytest.raises(LgadError, match=sentence):
        build_network(NetworkSpec(name=name))


@pytest.mark.parametrize("name", PUBLISHED)
def test_sizes_that_cannot_be_halved_three_times_are_errors(name: str) -> None:
    with pytest.raises(LgadError, match="multiples of 8"):
        build_network(NetworkSpec(name=name, image_size=(36, 80)))


def test_a_saved_network_loads_equal(tmp_path) -> None:
    spec = NetworkSpec(image_size=(32, 80), width=0.5)
    network = build_network(spec)
    save_network(tmp_path, network, spec=spec)
    loaded, loaded_spec = load_network(tmp_path)
    assert loaded_spec == spec and not loaded.training
    image = torch.rand(1, 3, 32, 80)
    assert torch.equal(loaded(image).logits, network.eval()(image).logits)
    with pytest.raises(LgadError, match=r"weights\.safetensors does not fit"):
        (tmp_path / "network.json").write_text(spec.model_copy(update={"width": 1.0}).model_dump_json())
        load_network(tmp_path)
    with pytest.raises(LgadError, match="train the network first"):
        load_network(tmp_path / "empty")
