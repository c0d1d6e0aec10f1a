"""Damaged directories of networks: an error of one sentence, and no code is run."""

import json
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec, allow_networks
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.networks.checkpoint import DamagedNetwork, load_network, save_network
from lgad_pipeline.networks.device import check_device
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    save_network(tmp_path / "net", build_network(SPEC), spec=SPEC)
    write_predictor(tmp_path / "net", View((48, 96), SPEC.image_size, 8), decode_config=DecodeConfig())
    return tmp_path / "net"


def changed(name: str, *keys: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        part = content
        for key in keys[:-1]:
            part = part[key]
        part[keys[-1]] = value
        (folder / name).write_text(json.dumps(content))

    return change


def written(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(data)


def cut(name: str, share: float) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def weight(value: float, ending: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "weights.safetensors"
        state = safetensors.torch.load_file(path)
        name = next(name for name in state if name.endswith(ending))
        state[name].flatten()[0] = value
        safetensors.torch.save_file(state, path)

    return change


def of_dtype(dtype: torch.dtype, value: float = 1.0) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "weights.safetensors"
        state = safetensors.torch.load_file(path)
        name = next(name for name in state if name.endswith("weight"))
        state[name] = torch.full(state[name].shape, value, dtype=torch.float64).to(dtype)
        safetensors.torch.save_file(state, path)

    return change


def foreign(folder: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(2)}, folder / "weights.safetensors")


def in_place_of_a_file(folder: Path) -> None:
    (folder / "predictor.json").unlink()
    (folder / "predictor.json").mkdir()


DAMAGE = {
    "no network.json": (lambda folder: (folder / "network.json").unlink(), "network.json is missing"),
    "no weights": (
        lambda folder: (folder / "weights.safetensors").unlink(),
        "weights.safetensors is missing",
    ),
    "no predictor": (lambda folder: (folder / "predictor.json").unlink(), "holds no predictor.json"),
    "a folder": (in_place_of_a_file, "holds no predictor.json"),
    "cut network": (cut("network.json", 0.5), "network.json is damaged"),
    "empty network": (written("network.json", b""), "network.json is damaged"),
    "binary": (written("network.json", b"\xff\xfe\x00"), "network.json is damaged"),
    "a list": (written("network.json", b"[]"), "network.json is damaged"),
    "nested": (written("network.json", b"[" * 100_000), "network.json is damaged"),
    "newer network": (changed("network.json", "depth", value=3), "the key depth, which this version"),
    "unknown network": (changed("network.json", "name", value="enet9"), "names the class 'enet9'"),
    "a text as width": (changed("network.json", "width", value="1"), "damaged at width"),
    "width": (changed("network.json", "width", value=1e9), "damaged at width"),
    "other width": (changed("network.json", "width", value=8), "does not fit the network"),
    "other slots": (changed("network.json", "slots", value=6), "does not fit the network"),
    "odd size": (changed("network.json", "image_size", value=[17, 32]), "network.json"),
    "size 0": (changed("network.json", "image_size", value=[0, 32]), "damaged at image_size.0"),
    "cut weights": (cut("weights.safetensors", 0.5), "weights.safetensors is damaged"),
    "cut header": (cut("weights.safetensors", 0.001), "weights.safetensors is damaged"),
    "empty weights": (written("weights.safetensors", b""), "weights.safetensors is damaged"),
    "text": (written("weights.safetensors", b"no weights at all"), "weights.safetensors is damaged"),
    "other weights": (foreign, "does not fit the network"),
    "NaN": (weight(float("nan"), "weight"), "not finite"),
    "infinite": (weight(float("inf"), "bias"), "not finite"),
    "float8": (of_dtype(torch.float8_e4m3fn), "holds numbers of float8_e4m3fn"),
    "out of range": (of_dtype(torch.float64, 1e300), "not finite"),
    "variance": (weight(-1.0, "running_var"), "negative variances"),
    "cut predictor": (cut("predictor.json", 0.7), "predictor.json is damaged"),
    "row_step": (changed("predictor.json", "decode", "row_step", value=1e-7), "damaged at decode.row_step"),
    "NaN step": (changed("predictor.json", "decode", "row_step", value=float("nan")), "predictor.json"),
    "method": (changed("predictor.json", "decode", "method", value="magic"), "damaged at decode.method"),
    "newer": (changed("predictor.json", "decode", "tracks", value=1), "decode.tracks, which this version"),
    "view": (changed("predictor.json", "view", value=3), "damaged at view"),
    "negative": (changed("predictor.json", "view", "frame_size", value=[-5, 9]), "view.frame_size.0"),
    "crop": (changed("predictor.json", "view", "crop_top", value=48), "crop_top 48 of 48 rows"),
    "another's view": (changed("predictor.json", "view", "image_size", value=[8, 8]), "does not fit the"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_folder_is_one_sentence_that_names_the_file(folder: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    LanePredictor.load(folder)
    damage(folder)
    with pytest.raises(DamagedNetwork) as raised:
        LanePredictor.load(folder)
    assert reason in str(raised.value) and str(folder) in str(raised.value)
    assert len(str(raised.value)) < 600 and "\n" not in str(raised.value)


def test_loading_leaves_the_random_numbers_as_they_were(folder: Path) -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    LanePredictor.load(folder)
    assert torch.equal(torch.rand(2), expected)


def test_a_missing_folder_and_a_file_are_different_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DamagedNetwork, match="file is a file; train the network first"):
        load_network(tmp_path / "file")
    with pytest.raises(DamagedNetwork, match="nowhere does not exist; train the network first"):
        load_network(tmp_path / "nowhere")
    with pytest.raises(DamagedNetwork, match="is an address of MLflow, not a folder; fetch the model by"):
        load_network(Path("models:/roads-enet@champion"))


def test_a_strangers_folder_imports_no_module_unless_allowed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stranger.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from lgad_pipeline.networks.enet import ENet as Net\n"
    )
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    changed("network.json", "name", value="stranger:Net")(folder)
    with pytest.raises(DamagedNetwork, match=r"names the class 'stranger:Net'.*--trust-network-code"):
        load_network(folder)
    assert not (tmp_path / "ran").exists() and "stranger" not in sys.modules
    allow_networks("stranger:Net")
    load_network(folder)
    assert (tmp_path / "ran").exists()


def test_a_class_that_is_no_network_is_one_sentence() -> None:
    with pytest.raises(LgadError, match=r"pathlib:Path is not a torch\.nn\.Module class"):
        build_network(NetworkSpec(name="pathlib:Path"))


def test_weights_have_the_mode_of_their_neighbours(folder: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    mask = os.umask(0)
    os.umask(mask)
    assert modes == {0o666 & ~mask}


def test_a_device_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(LgadError, match="'gpu' is not a device; give cpu, cuda for a GPU"):
        check_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(LgadError, match="device 'cuda' cannot be used here"):
            check_device("cuda")
    check_device("cpu")


def test_outputs_that_are_no_numbers_are_no_empty_answer(folder: Path) -> None:
    import numpy as np

    predictor = LanePredictor.load(folder)
    for parameter in predictor.network.parameters():
        torch.nn.init.constant_(parameter, 1e38)  # finite, and overflows in the first layer
    with pytest.raises(LgadError, match="not numbers"):
        predictor.predict([np.full((48, 96, 3), 90, np.uint8)])
