"""Encoders of timm and networks of segmentation_models_pytorch; skipped where the packages are missing."""

import sys
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import load_network, save_network
from lgad_pipeline.networks.complexity import parameters
from lgad_pipeline.networks.pretrained import load_imagenet
from lgad_pipeline.networks.registry import attention_layers, build_network
from lgad_pipeline.networks.smp_net import smp_network
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.networks.timm_net import timm_network

REASON = "needs the packages of lgad-pipeline[networks]"


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture
def timm():
    return pytest.importorskip("timm", reason=REASON)


@pytest.fixture
def smp():
    return pytest.importorskip("segmentation_models_pytorch", reason=REASON)


@pytest.mark.parametrize(("name", "published", "head"), [("resnet18", 11_689_512, 513_000)])
def test_an_encoder_of_timm_has_the_published_number_of_weights(timm, name, published, head) -> None:
    network = build_network(NetworkSpec(name=f"timm:{name}", image_size=(32, 64)))
    assert size(network.encoder) == published - head  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "mobilenetv3_small_100", "convnext_atto"])
@pytest.mark.parametrize("prefix", ["", "scnn:"])
def test_encoders_of_timm_are_lane_networks(timm, prefix, name, tmp_path) -> None:
    spec = NetworkSpec(name=f"{prefix}timm:{name}", image_size=(64, 96), in_channels=5, slots=6)
    network = build_network(spec).eval()
    output = network(torch.rand(2, 5, 64, 96))
    assert output.logits.shape == (2, 7, 64, 96) and output.existence.shape == (2, 6)
    assert all(layer in dict(network.named_modules()) for layer in attention_layers(spec))
    save_network(tmp_path, network, spec=spec)
    image = torch.rand(1, 5, 64, 96)
    assert torch.equal(load_network(tmp_path)[0](image).logits, network(image).logits)


def test_weights_of_timm_are_loaded_from_a_file(timm, tmp_path) -> None:
    published = timm.create_model("resnet18", pretrained=False)
    safetensors.torch.save_model(published, str(tmp_path / "resnet18.safetensors"))
    network = build_network(NetworkSpec(name="timm:resnet18", image_size=(32, 64)))
    before = network.lateral[0][0].weight.clone()  # type: ignore[index]
    load_imagenet(network, tmp_path / "resnet18.safetensors")
    state = network.encoder.state_dict()  # type: ignore[union-attr]
    assert torch.equal(state["layer3.0.conv1.weight"], published.layer3[0].conv1.weight)
    assert torch.equal(network.lateral[0][0].weight, before)  # type: ignore[index]
    with pytest.raises(LgadError, match=r"no\.safetensors does not exist; download"):
        load_imagenet(network, tmp_path / "no.safetensors")
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(LgadError, match=r"text\.pth cannot be loaded into timm:resnet18"):
        load_imagenet(network, tmp_path / "text.pth")


def test_faults_of_timm_networks_are_one_sentence(timm) -> None:
    for name, message in {
        "timm:resnet1": "timm has no model 'resnet1'; choose a name of timm.list_models",
        "timm:hf-hub:somebody/model": "timm has no model 'hf-hub:somebody/model'",
        "timm:vit_tiny_patch16_224": "choose another encoder",
        "timm:swin_tiny_patch4_window7_224": "takes no images of 64 x 96 px, its own are 224 x 224",
    }.items():
        with pytest.raises(LgadError, match=message):
            build_network(NetworkSpec(name=name, image_size=(64, 96)))
    build_network(
        NetworkSpec(name="timm:resnet50_clip", image_size=(64, 96))
    )  # 224 px for its classifier alone
    with pytest.raises(LgadError, match=r"width 0\.5 does not fit timm:resnet18"):
        build_network(NetworkSpec(name="timm:resnet18", image_size=(64, 96), width=0.5))


@pytest.mark.parametrize("architecture", ["Unet", "FPN", "DeepLabV3Plus", "Linknet", "UPerNet", "Segformer"])
def test_architectures_of_smp_are_lane_networks(smp, architecture, tmp_path) -> None:
    spec = NetworkSpec(name=f"smp:{architecture}:resnet18", image_size=(64, 96), in_channels=5)
    network = build_network(spec).eval()
    output = network(torch.rand(2, 5, 64, 96))
    assert output.logits.shape == (2, 5, 64, 96) and output.existence.shape == (2, 4)
    assert all(layer in dict(network.named_modules()) for layer in attention_layers(spec))
    save_network(tmp_path, network, spec=spec)
    image = torch.rand(1, 5, 64, 96)
    assert torch.equal(load_network(tmp_path)[0](image).logits, network(image).logits)


def test_an_encoder_that_needs_real_tensors_is_loaded_and_counted(smp, tmp_path) -> None:
    spec = NetworkSpec(name="smp:Unet:mit_b0", image_size=(64, 96))
    network = build_network(spec).eval()
    save_network(tmp_path, network, spec=spec)
    image = torch.rand(1, 3, 64, 96)
    assert torch.equal(load_network(tmp_path)[0](image).logits, network(image).logits)
    assert parameters(spec) == size(network)


def test_unet_has_the_published_number_of_weights(smp) -> None:
    network = build_network(NetworkSpec(name="smp:Unet:resnet34", image_size=(64, 96)))
    one_class = 24_436_369  # Unet with resnet34 and one class, three input planes
    assert size(network.model) == one_class + 4 * (16 * 9 + 1)  # type: ignore[arg-type]


def test_faults_of_smp_networks_are_one_sentence(smp) -> None:
    for name, image_size, message in (
        ("smp:FPN:resnet18", (80, 256), r"\[80, 256\] does not fit smp:FPN:resnet18.*multiples of 32"),
        ("smp:Nonsense:resnet18", (64, 96), "smp:Nonsense:resnet18 cannot be built"),
        ("smp:Unet:nonsense", (64, 96), "smp:Unet:nonsense cannot be built"),
        ("smp:Unet:hub/x", (64, 96), "smp:Unet:hub/x is not a name of a network"),
    ):
        with pytest.raises(LgadError, match=message):
            build_network(NetworkSpec(name=name, image_size=image_size))


def test_the_version_of_the_package_is_part_of_the_fingerprint(timm, smp) -> None:
    digests = {source_digest(name) for name in ("timm:resnet18", "scnn:timm:resnet18", "smp:Unet:resnet18")}
    assert len(digests) == 2 and "" not in digests


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    timm_network.cache_clear()
    smp_network.cache_clear()
    for package, name in (("timm", "timm:resnet18"), ("segmentation_models_pytorch", "smp:Unet")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(LgadError, match=rf"{package} cannot be imported.*lgad-pipeline\[networks\]"):
            build_network(NetworkSpec(name=name))
