from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.evaluation.inference_parity import differences, forward_seconds
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.networks.registry import build_network

TINY = NetworkSpec(name=f"{__name__}:Tiny", image_size=(8, 16))


class Tiny(nn.Module):
    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(in_channels, slots + 1, 3, padding=1), nn.BatchNorm2d(slots + 1))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.body(image))


def saved(folder: Path, spec: NetworkSpec) -> Path:
    save_network(folder, build_network(spec), spec=spec)
    return folder


def test_networks_that_differ_in_their_weights_alone_are_the_same(tmp_path: Path) -> None:
    assert differences(saved(tmp_path / "a", TINY), saved(tmp_path / "b", TINY)) == []


def test_what_inference_would_pay_for_is_found(tmp_path: Path) -> None:
    plain = saved(tmp_path / "plain", TINY)
    (saved(tmp_path / "more", TINY) / "teacher.safetensors").touch()
    assert differences(plain, tmp_path / "more") == ["files differ: teacher.safetensors"]
    wide = TINY.model_copy(update={"slots": 6})
    found = differences(plain, saved(tmp_path / "wide", wide))
    assert [sentence.split()[0] for sentence in found] == ["settings", "tensors"]


def test_both_networks_run_when_they_are_timed(tmp_path: Path) -> None:
    wide = TINY.model_copy(update={"image_size": (16, 32)})
    assert all(
        seconds > 0 for seconds in forward_seconds(saved(tmp_path / "a", TINY), saved(tmp_path / "b", wide))
    )
