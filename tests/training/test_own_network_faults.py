"""Networks of other packages that return or take something else than a network should, and tied weights."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.networks.checkpoint import load_network
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.training.trainer import train_student
from lgad_pipeline.view import View
from tests.fixtures.small_net import SmallNet
from tests.support.trainings import CONFIG, IMAGE_SIZE

SHORT = CONFIG.model_copy(update={"steps": 4})


class BareTensor(SmallNet):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return super().forward(image).logits


class BareTensorLater(SmallNet):
    """Returns a tensor alone where it is evaluated, as networks of torchvision do with auxiliary heads."""

    def forward(self, image: torch.Tensor) -> LaneOutput | torch.Tensor:
        output = super().forward(image)
        return output if self.training else output.logits


class WithoutBackground(SmallNet):
    def forward(self, image: torch.Tensor) -> LaneOutput:
        output = super().forward(image)
        return LaneOutput(output.logits[:, 1:], output.existence)


class Coarse(SmallNet):
    def forward(self, image: torch.Tensor) -> LaneOutput:
        output = super().forward(image)
        return LaneOutput(output.logits[:, :, ::8, ::8], output.existence)


class OneExistence(SmallNet):
    def forward(self, image: torch.Tensor) -> LaneOutput:
        output = super().forward(image)
        assert output.existence is not None
        return LaneOutput(output.logits, output.existence[:, :1])


class WithoutWidth(nn.Module):
    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int]) -> None:
        super().__init__()


class Frozen(SmallNet):
    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.requires_grad_(False)


class Tied(SmallNet):
    """Has one convolution under two names."""

    def __init__(self, *arguments, **options) -> None:
        super().__init__(*arguments, **options)
        self.again = self.planes


def trained(network: type[nn.Module], shards: Path, folder: Path) -> NetworkSpec:
    spec = NetworkSpec(name=f"{__name__}:{network.__name__}", image_size=IMAGE_SIZE)
    train_student(SHORT, spec, shards=shards, folder=folder, device="cpu")
    return spec


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (BareTensor, "The network returns Tensor and no LaneOutput; let its forward return LaneOutput"),
        (BareTensorLater, "The network returns Tensor and no LaneOutput; let its forward return LaneOutput"),
        (
            WithoutBackground,
            "The network's logits have the shape (4, 4, 32, 88) in place of (4, 5, 32, 88), (B, slots + 1, "
            "H, W), sizes of the input; correct its forward.",
        ),
        (Coarse, "The network's logits have the shape (4, 5, 4, 11) in place of (4, 5, 32, 88)"),
        (OneExistence, "The network's existence logits have the shape (4, 1) in place of (4, 4)"),
        (
            WithoutWidth,
            f"Network {__name__}:WithoutWidth cannot be built (got an unexpected keyword argument",
        ),
        (Frozen, f"Network {__name__}:Frozen has no parameter with requires_grad, so it cannot be trained."),
    ],
)
def test_another_form_of_a_network_is_one_sentence(
    packed_road: Path, tmp_path: Path, network, sentence
) -> None:
    with pytest.raises(LgadError) as error:
        trained(network, packed_road, tmp_path)
    assert str(error.value).startswith(sentence)


def test_a_predictor_of_another_form_of_network_is_one_sentence() -> None:
    network = OneExistence(3, 4, (32, 88))
    predictor = LanePredictor(
        network, View((590, 1640), (32, 88)), decode_config=DecodeConfig(), device="cpu"
    )
    with pytest.raises(LgadError, match="existence logits have the shape"):
        predictor.predict([np.zeros((590, 1640, 3), np.uint8)])


def test_a_network_with_tied_weights_is_trained_saved_and_loaded(packed_road: Path, tmp_path: Path) -> None:
    spec = trained(Tied, packed_road, tmp_path)
    write_predictor(tmp_path, View((590, 1640), IMAGE_SIZE, 240), decode_config=DecodeConfig())
    network, loaded = load_network(tmp_path)
    assert loaded == spec and network.planes is network.again
    state = network.state_dict()
    assert torch.equal(state["planes.weight"], state["again.weight"])
    LanePredictor.load(tmp_path, "cpu").predict([np.zeros((590, 1640, 3), np.uint8)])
