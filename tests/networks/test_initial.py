"""Initial weights from a trained network: equal layers are loaded, others keep their random weights."""

import logging
from pathlib import Path

import pytest
import torch

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import DamagedNetwork, network_digest, save_network
from lgad_pipeline.networks.initial import load_initial
from lgad_pipeline.networks.registry import build_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(SPEC, tmp_path / "net")


def saved(spec: NetworkSpec, folder: Path) -> Path:
    torch.manual_seed(0)
    save_network(folder, build_network(spec), spec=spec)
    return folder


def loaded(folder: Path, spec: NetworkSpec) -> tuple[dict, dict, dict, str]:
    """Weights in the folder, of the network before and after, and the sentence."""
    torch.manual_seed(1)
    network = build_network(spec)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    sentence = load_initial(network, folder, spec=spec)
    torch.manual_seed(0)
    trained = build_network(SPEC.model_copy(update={"name": spec.name})).state_dict()
    return trained, before, network.state_dict(), sentence


@pytest.mark.parametrize("image_size", [(16, 32), (24, 48)])
def test_all_weights_but_those_of_the_existence_head_are_loaded(
    folder: Path, image_size: tuple[int, int]
) -> None:
    """In ENet only the existence head depends on the image size, so there is nothing to report."""
    trained, before, after, sentence = loaded(folder, SPEC.model_copy(update={"image_size": image_size}))
    assert sentence == ""
    head = [name for name in after if name.startswith("existence.")]
    assert len(head) == 12
    for name, value in after.items():
        assert torch.equal(value, (before if name in head else trained)[name]), name
    assert not torch.equal(
        before["encoder.initial.convolution.weight"], after["encoder.initial.convolution.weight"]
    )


def test_layers_of_another_shape_keep_their_random_weights(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        trained, before, after, sentence = loaded(folder, SPEC.model_copy(update={"slots": 6}))
    for name, value in after.items():
        random = name.startswith(("existence.", "decoder.logits."))
        assert torch.equal(value, (before if random else trained)[name]), name
    assert [record.message for record in caplog.records] == [sentence]
    assert sentence == (
        f"{folder} was trained on images of 16 x 32 px with 4 slots, and this network is for images of "
        "16 x 32 px with 6 slots: decoder.logits starts from random weights, as the existence head does, and "
        "all other layers from those of the trained network."
    )


def test_random_numbers_after_loading_are_those_without_it(folder: Path) -> None:
    torch.manual_seed(3)
    network = build_network(SPEC)
    state = torch.get_rng_state()
    load_initial(network, folder, spec=SPEC)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("trained", "sentence"),
    [
        ({"in_channels": 5}, "holds a network that reads 5 planes, not frames, as a teacher does"),
        ({"width": 0.5}, r"write network: \{name: enet, width: 0.5\}, or name another"),
        ({"name": "erfnet"}, r"holds erfnet of width 0.25, but the recipe trains enet of width 0.25"),
    ],
)
def test_a_network_of_another_kind_is_an_error(trained: dict, sentence: str, tmp_path: Path) -> None:
    other = saved(SPEC.model_copy(update=trained), tmp_path / "other")
    with pytest.raises(LgadError, match=sentence):
        load_initial(build_network(SPEC), other, spec=SPEC)


def test_hostile_and_damaged_directories_are_errors(folder: Path) -> None:
    text = (folder / "network.json").read_text()
    (folder / "network.json").write_text(text.replace('"enet"', '"antigravity:Net"'))
    with pytest.raises(DamagedNetwork, match="loading it would run its code"):
        load_initial(build_network(SPEC), folder, spec=SPEC)
    (folder / "network.json").write_text(text)
    (folder / "weights.safetensors").write_bytes((folder / "weights.safetensors").read_bytes()[:-8])
    with pytest.raises(DamagedNetwork, match="is damaged"):
        load_initial(build_network(SPEC), folder, spec=SPEC)
    with pytest.raises(DamagedNetwork, match="address of MLflow"):
        network_digest(Path("models:/roads-enet@champion"))
