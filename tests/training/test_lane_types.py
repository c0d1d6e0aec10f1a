"""Types of lanes: head, loss and a tiny training, from annotated types to files of types."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import write_lanes
from lgad_pipeline.lanes.lane_types import write_types
from lgad_pipeline.networks.initial import load_initial
from lgad_pipeline.networks.layers import LaneNetwork, LaneTypeHead
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.training.segmentation_losses import lane_types
from lgad_pipeline.training.trainer import train_student
from lgad_pipeline.view import View

TYPES = ("solid", "dashed")


def test_the_head_equals_its_formula_in_numpy() -> None:
    torch.manual_seed(0)
    head = LaneTypeHead(5, 3)
    features = torch.randn(2, 5, 4, 6, requires_grad=True)
    logits = torch.randn(2, 3, 16, 24, requires_grad=True)
    output = head(features, logits)
    planes = np.exp(logits.detach().numpy())
    probability = (planes / planes.sum(1, keepdims=True))[:, 1:]
    pooled = probability.reshape(2, 2, 4, 4, 6, 4).mean((3, 5))
    weighted = np.einsum("bshw,bchw->bsc", pooled, features.detach().numpy())
    mean = weighted / pooled.sum((2, 3))[..., None]
    expected = mean @ head.linear.weight.detach().numpy().T + head.linear.bias.detach().numpy()
    np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    output.sum().backward()
    assert features.grad is not None and features.grad.abs().sum() > 0
    assert logits.grad is None


@pytest.mark.parametrize(
    "name", ["enet", "erfnet", "resnet18", "scnn:enet", "scnn:resnet18", "resa:resnet18"]
)
def test_a_head_adds_its_own_weights_and_no_others(name: str) -> None:
    spec = NetworkSpec(name=name, image_size=(32, 64), width=0.25)
    typed = spec.model_copy(update={"lane_types": TYPES})
    torch.manual_seed(0)
    plain = build_network(spec).eval()
    torch.manual_seed(0)
    network = build_network(typed).eval()
    added = network.state_dict().keys() - plain.state_dict().keys()
    assert added == {"types.linear.weight", "types.linear.bias"}
    image = torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        expected, output = plain(image), network(image)
    assert torch.equal(output.logits, expected.logits) and torch.equal(output.existence, expected.existence)
    assert output.types.shape == (2, 4, 2) and expected.types is None
    assert teacher_spec(typed) == teacher_spec(spec)


class OwnNet(nn.Module):
    def __init__(self, **sizes: object) -> None:
        super().__init__()


def test_a_network_without_types_is_refused() -> None:
    spec = NetworkSpec(name=f"{__name__}:OwnNet", image_size=(32, 64), lane_types=TYPES)
    with pytest.raises(
        LgadError, match="OwnNet predicts no types of lanes; leave lane_types out of the data"
    ):
        build_network(spec)


def test_the_loss_by_hand_leaves_unknown_and_absent_lanes_out() -> None:
    logits = torch.tensor(
        [[[0.0, 1.0], [2.0, 0.0], [3.0, -3.0], [1.0, 1.0]]], dtype=torch.float32, requires_grad=True
    )
    types, flags = torch.tensor([[1, 0, 1, -1]]), torch.tensor([[1.0, 1.0, 0.0, 1.0]])
    loss = lane_types(logits, types, flags)
    # -log softmax of the right class: log(1 + e^-1) and log(1 + e^-2).
    assert loss.item() == pytest.approx((np.log1p(np.exp(-1)) + np.log1p(np.exp(-2))) / 2, rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad[0, :2].abs().min() > 0 and not logits.grad[0, 2:].any()
    nothing = lane_types(logits, torch.full((1, 4), -1), flags)
    assert nothing.item() == 0 and not torch.autograd.grad(nothing, logits)[0].any()


SIZE = (118, 328)
VIEW = View(SIZE, (48, 128), 22)


def write_frame(root: Path, number: int, generator: np.random.Generator) -> None:
    """Write a grey frame with a left and a right lane, each solid or dashed."""
    image = generator.integers(70, 100, (*SIZE, 3), dtype=np.uint8)
    y = np.arange(117, 40, -1, dtype=np.float32)
    dashed = generator.random(2) < 0.5
    lanes = []
    for side, is_dashed in zip((-1, 1), dashed, strict=True):
        x = 164 + generator.uniform(-10, 10) + side * (y - 25) * generator.uniform(0.8, 1.3)
        lane = np.stack([x, y], 1).astype(np.float32)
        lanes.append(lane)
        painted = (y + generator.uniform(0, 20)) % 20 < (10 if is_dashed else 20)
        for first, second in zip(lane[:-1][painted[:-1]], lane[1:][painted[:-1]], strict=True):
            cv2.line(image, first.astype(int).tolist(), second.astype(int).tolist(), (230, 230, 230), 5)
    cv2.imwrite(str(root / f"{number}.jpg"), image)
    write_lanes(root / f"{number}.lines.txt", lanes)
    write_types(root / f"{number}.lines.txt", ["dashed white" if flag else "solid" for flag in dashed])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with frames, shards and a student that was trained on 64 frames of two lanes."""
    root = tmp_path_factory.mktemp("types")
    generator = np.random.default_rng(0)
    for number in range(96):
        write_frame(root, number, generator)
    (root / "list").mkdir()
    for split, chosen in (("train", range(64)), ("val", range(64, 88)), ("test", range(88, 96))):
        (root / "list" / f"{split}.txt").write_text("".join(f"{number}.jpg\n" for number in chosen))
    frames = ingest(root, SIZE).frames
    labels = assign_lane_slots(frames, lane_types=TYPES)
    pack_shards(frames, labels, root=root, output=root / "shards", view=VIEW, lane_width=8, lane_types=TYPES)
    config = TrainingConfig(
        steps=140,
        batch_size=8,
        threads=1,
        lane_type_weight=1.0,
        ema_decay=0.9,
        optimizer=OptimizerConfig(learning_rate=0.01, warmup_steps=20),
    )
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25, lane_types=TYPES)
    train_student(config, spec, shards=root / "shards", folder=root / "student", device="cpu")
    return root


def test_a_student_learns_the_types(trained: Path) -> None:
    import pandas as pd

    history = pd.read_parquet(trained / "student" / "history.parquet")
    assert history["val/type_accuracy"].iloc[-1] >= 0.85  # of 48 lanes; a guess is right for half of them
    assert history["train/lane_types"].iloc[-1] < 0.5 * history["train/lane_types"].iloc[0]


def test_types_must_be_those_of_the_shards(trained: Path, tmp_path: Path) -> None:
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25, lane_types=("dashed", "solid"))
    config = TrainingConfig(steps=1, optimizer=OptimizerConfig(warmup_steps=0))
    with pytest.raises(
        LgadError, match="types solid, dashed but the network has dashed, solid; pack the shards"
    ):
        train_student(config, spec, shards=trained / "shards", folder=tmp_path, device="cpu")


def test_a_head_for_other_types_starts_from_random_weights(trained: Path) -> None:
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25, lane_types=("double", "single"))
    network = build_network(spec)
    assert isinstance(network, LaneNetwork) and network.types is not None
    before = network.types.linear.weight.clone()
    sentence = load_initial(network, trained / "student", spec=spec)
    assert "types.linear starts from random weights" in sentence and "the types double, single" in sentence
    assert torch.equal(network.types.linear.weight, before)
    plain = spec.model_copy(update={"lane_types": ()})
    assert load_initial(build_network(plain), trained / "student", spec=plain) == ""
