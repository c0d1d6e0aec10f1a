import re
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.pretrained import file_digest, load_imagenet
from lgad_pipeline.networks.registry import build_network

SIZE = (16, 32)
# Parameters of torchvision's resnet18 in the order of its definition: stem, blocks, classes.
BLOCK = ["conv1", "bn1", "conv2", "bn2"]
CHANNELS = {"layer1": (64, 64), "layer2": (64, 128), "layer3": (128, 256), "layer4": (256, 512)}


def norm(name: str, channels: int) -> dict[str, torch.Tensor]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": torch.rand(channels) + 0.5 for part in parts}


def torchvision_resnet18() -> dict[str, torch.Tensor]:
    """The names and shapes of torchvision's file, which came without `num_batches_tracked`."""
    state = {"conv1.weight": torch.rand(64, 3, 7, 7), **norm("bn1", 64)}
    for layer, (before, after) in CHANNELS.items():
        for block in range(2):
            first = before if block == 0 else after
            state[f"{layer}.{block}.conv1.weight"] = torch.rand(after, first, 3, 3)
            state[f"{layer}.{block}.conv2.weight"] = torch.rand(after, after, 3, 3)
            state |= norm(f"{layer}.{block}.bn1", after) | norm(f"{layer}.{block}.bn2", after)
        if before != after:
            state[f"{layer}.0.downsample.0.weight"] = torch.rand(after, before, 1, 1)
            state |= norm(f"{layer}.0.downsample.1", after)
    return state | {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_imagenet_weights_fill_the_encoder(tmp_path: Path, suffix: str) -> None:
    state, path = torchvision_resnet18(), tmp_path / f"resnet18.{suffix}"
    (safetensors.torch.save_file if suffix == "safetensors" else torch.save)(state, path)
    network = build_network(NetworkSpec(name="resnet18", image_size=SIZE))
    before = network.state_dict()["planes.0.weight"].clone()
    load_imagenet(network, path)
    ours = {
        name.removeprefix("encoder."): value
        for name, value in network.state_dict().items()
        if name.startswith("encoder.")
    }
    assert torch.equal(ours["stem.0.weight"], state["conv1.weight"])
    assert torch.equal(ours["stage3.1.residual.3.weight"], state["layer3.1.conv2.weight"])
    assert torch.equal(ours["stage4.0.shortcut.1.running_var"], state["layer4.0.downsample.1.running_var"])
    total = sum(value.double().sum() for name, value in state.items() if not name.startswith("fc."))
    found = sum(value.double().sum() for name, value in ours.items() if "num_batches" not in name)
    assert found == pytest.approx(float(total))  # every tensor has its place
    assert torch.equal(network.state_dict()["planes.0.weight"], before)


def test_files_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    network = build_network(NetworkSpec(name="resnet18", image_size=SIZE))
    with pytest.raises(LgadError, match="does not exist"):
        load_imagenet(network, tmp_path / "nowhere.pth")
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("text.pth", "text.safetensors"):
        with pytest.raises(LgadError, match=rf"{re.escape(name)} is not a file of weights"):
            load_imagenet(network, tmp_path / name)
    torch.save({"layer1.0.conv1.weight": torch.rand(64, 64, 3, 3)}, tmp_path / "part.pth")
    with pytest.raises(LgadError, match="does not fit the network"):
        load_imagenet(network, tmp_path / "part.pth")
    with pytest.raises(LgadError, match="ENet: ImageNet weights are for resnet18"):
        load_imagenet(build_network(NetworkSpec(image_size=SIZE)), tmp_path / "part.pth")


def test_a_files_digest_needs_the_file(tmp_path: Path) -> None:
    assert len(file_digest(Path(__file__))) == 32
    with pytest.raises(LgadError, match="does not exist"):
        file_digest(tmp_path / "nowhere.pth")
