import os
import sys
from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    MimickingPath,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.distillation_spec import DistillationSpec
from lgad_pipeline.training.trainer import train_student, train_teacher
from tests.support.trainings import AUGMENTATION, CONFIG, SPEC, weights

NETWORK = """
import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.networks.layers import LaneOutput
from myblocks import Middle


class Net(nn.Module):
    def __init__(self, in_channels, slots, image_size, width):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, 4, 3, 4, 1), nn.{activation}(), Middle())
        self.planes = nn.Conv2d(4, slots + 1, 1)

    def forward(self, image):
        return LaneOutput(functional.interpolate(self.planes(self.body(image)), size=image.shape[-2:]))
"""
BLOCKS = """
from torch import nn


class Middle(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(4, 4, 1), nn.{activation}())
"""


@pytest.fixture
def write_network(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch):
    """Write the modules of a user's network, as an editor does between two processes."""
    folder = tmp_path_factory.mktemp("own")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(net: str = "ReLU", block: str = "ReLU", comment: str = "", forget: bool = True) -> str:
        (folder / "mynet.py").write_text(NETWORK.replace("{activation}", net) + comment)
        (folder / "myblocks.py").write_text(BLOCKS.replace("{activation}", block) + comment)
        os.utime(folder / "mynet.py", ns=(write.calls, write.calls))  # pyright: ignore
        os.utime(folder / "myblocks.py", ns=(write.calls, write.calls))  # pyright: ignore
        write.calls += 10**9  # pyright: ignore
        if forget:
            for name in ("mynet", "myblocks"):
                monkeypatch.delitem(sys.modules, name, raising=False)
        return "mynet:Net"

    write.calls = 10**18  # pyright: ignore
    yield write
    for name in ("mynet", "myblocks"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("file", ["weights.safetensors", "network.json", "history.parquet", "training.json"])
def test_training_with_missing_or_empty_files_is_repeated(
    packed_road: Path, tmp_path: Path, file: str
) -> None:
    train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)
    before = (tmp_path / file).read_bytes() if file == "weights.safetensors" else None
    (tmp_path / file).write_bytes(b"")
    assert not train_student(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION
    ).reused
    (tmp_path / file).unlink()
    assert not train_student(
        CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION
    ).reused
    assert before is None or (tmp_path / file).read_bytes() == before
    assert train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION).reused


def test_a_finished_training_is_reused_until_its_inputs_change(packed_road: Path, tmp_path: Path) -> None:
    first = train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)
    assert not first.reused
    assert train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION).reused
    other = CONFIG.model_copy(update={"seed": 1})
    assert not train_student(
        other, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION
    ).reused


def test_the_source_of_a_users_network_is_part_of_the_fingerprint(
    packed_road: Path, tmp_path: Path, write_network
) -> None:
    spec = NetworkSpec(name=write_network(), image_size=SPEC.image_size)

    def reused() -> bool:
        return train_student(
            CONFIG, spec, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION
        ).reused

    assert not reused()
    assert reused()
    write_network(comment="\n# a comment\n")
    assert reused()
    write_network(net="Tanh")
    assert not reused()
    write_network(net="Tanh", block="Tanh")  # in a module that the network's module imports
    assert not reused()
    write_network(net="GELU", block="Tanh", forget=False)
    with pytest.raises(LgadError, match=r"mynet:Net was changed after this process had imported it"):
        reused()


def test_the_source_of_a_teachers_network_is_part_of_the_students_fingerprint(
    packed_road: Path, tmp_path: Path, write_network
) -> None:
    own = NetworkSpec(name=write_network(), image_size=SPEC.image_size)
    train_teacher(CONFIG, own, shards=packed_road, folder=tmp_path / "teacher", augmentation=AUGMENTATION)
    paths = (MimickingPath(student="encoder.stage3", teacher="body"),)
    before, together = (
        DistillationConfig(paths=paths, teacher="before"),
        DistillationConfig(paths=paths, teacher="together"),
    )
    for distillation in (
        DistillationSpec(teacher=tmp_path / "teacher", lgad=before),
        DistillationSpec(joint_teacher=own, lgad=together),
    ):

        def reused(distillation: DistillationSpec) -> bool:
            return train_student(
                CONFIG,
                SPEC,
                shards=packed_road,
                folder=tmp_path / "student",
                augmentation=AUGMENTATION,
                distillation=distillation,
            ).reused

        write_network()
        assert not reused(distillation) and reused(distillation)
        write_network(block="Tanh")
        assert not reused(distillation)


def test_settings_without_effect_on_the_weights_do_not_repeat_a_training(
    packed_road: Path, tmp_path: Path
) -> None:
    train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)
    before = weights(tmp_path)
    other = CONFIG.model_copy(update={"log_every": 1, "validate_every": 2, "checkpoint_seconds": 60})
    assert train_student(other, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION).reused
    train_student(other, SPEC, shards=packed_road, folder=tmp_path / "other", augmentation=AUGMENTATION)
    after = weights(tmp_path / "other")
    assert all(np.array_equal(value, after[name]) for name, value in before.items())


@pytest.mark.parametrize("name", ["weights.safetensors", "network.json", "history.parquet", "training.json"])
@pytest.mark.parametrize("damage", ["missing", "empty", "changed"])
def test_a_finished_training_with_damaged_files_is_repeated(
    packed_road: Path, tmp_path: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    first = train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)
    good = weights(tmp_path)
    content = (tmp_path / name).read_bytes()
    if damage == "missing":
        (tmp_path / name).unlink()
    elif damage == "empty":
        (tmp_path / name).write_bytes(b"")
    else:
        middle = len(content) // 2
        (tmp_path / name).write_bytes(content[:middle] + b"\xff" + content[middle + 1 :])
    again = train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION)
    assert not again.reused and again.fingerprint == first.fingerprint
    assert all(np.array_equal(value, weights(tmp_path)[key]) for key, value in good.items())
    assert name in caplog.text or (name, damage) == ("training.json", "missing")
    assert train_student(CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION).reused


def test_label_noise_is_part_of_a_training(packed_road: Path, tmp_path: Path) -> None:
    noise = LabelNoiseConfig(drop=0.5, shift=0.02)

    def reused(noise: LabelNoiseConfig | None) -> bool:
        return train_student(
            CONFIG, SPEC, shards=packed_road, folder=tmp_path, augmentation=AUGMENTATION, label_noise=noise
        ).reused

    assert not reused(None)
    clean = weights(tmp_path)
    assert not reused(noise)
    assert any(not np.array_equal(value, clean[name]) for name, value in weights(tmp_path).items())
    assert reused(noise)
    assert not reused(noise.model_copy(update={"seed": 1}))
