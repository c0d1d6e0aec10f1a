"""Types of lanes: head, loss and a tiny training, from annotated types to files of types."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from lgad_pipeline.cli import inference
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.training import OptimizerConfig, TrainingConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.datasets.exporting.write import labelled_frames, write_annotations
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import Lane
from lgad_pipeline.inference.input_frames import read_frame
from lgad_pipeline.inference.lane_tracks import LaneTracker
from lgad_pipeline.inference.onnx_export import difference, export_onnx
from lgad_pipeline.inference.onnx_predictor import OnnxPredictor
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.inference.split_prediction import predict_split
from lgad_pipeline.lanes.lane_files import read_lanes, write_lanes
from lgad_pipeline.lanes.lane_types import write_types
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.initial import load_initial
from lgad_pipeline.networks.layers import LaneNetwork, LaneTypeHead
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.training.segmentation_losses import lane_types
from lgad_pipeline.training.trainer import train_student
from lgad_pipeline.view import View
from lgad_pipeline.visualization.overlays import draw_lanes

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
        steps=110,
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
    assert history["train/lane_types"].iloc[-1] < 0.7 * history["train/lane_types"].iloc[0]


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


@pytest.fixture(scope="module")
def student(trained: Path) -> Path:
    """Directory of the trained student, with its settings of prediction."""
    write_predictor(
        trained / "student", VIEW, decode_config=DecodeConfig(row_step=2, existence_threshold=0.3)
    )
    return trained / "student"


def annotated_types(root: Path, frame: str) -> dict[int, str]:
    """Return the types of a frame by slot, in the words of TYPES."""
    left, right = (root / frame).with_suffix(".types.txt").read_text().split("\n")[:2]
    return {2: left.split()[0], 3: right.split()[0]}


def test_predictions_have_types_from_the_network_to_an_annotation_tool(
    trained: Path, student: Path, tmp_path: Path
) -> None:
    source, output = tmp_path / "frames", tmp_path / "lanes"
    source.mkdir()
    names = [f"{number}.jpg" for number in range(64, 96)]
    for name in names:
        shutil.copy(trained / name, source / name)
    inference.predict(str(source), student, output, pictures=True, json_lines=True)
    right, probabilities = [], []
    for line in (output / "frames.lanes.jsonl").read_text().splitlines():
        record = json.loads(line)
        types = (output / record["frame"]).with_suffix(".types.txt").read_text().splitlines()
        assert types == [lane["type"] for lane in record["lanes"]]
        truth = annotated_types(trained, record["frame"])
        right += [lane["type"] == truth[lane["slot"]] for lane in record["lanes"] if lane["slot"] in truth]
        probabilities += [lane["type_probability"] for lane in record["lanes"]]
    assert len(right) >= 40 and np.mean(right) >= 0.85 and all(0.5 <= value <= 1 for value in probabilities)
    # A second run replaces them as its own; the results are a data set for the annotation tools.
    inference.predict(str(source), student, output, pictures=True, json_lines=True)
    for name in names:
        shutil.copy(source / name, output / name)
    frames = list(labelled_frames(output, names, rejected=[]))
    write_annotations(frames, output, tmp_path / "tool", annotations=Format.LABELME)
    convert(tmp_path / "tool", tmp_path / "back", annotations=Format.LABELME)
    kept = [name for name in names if (tmp_path / "back" / name).exists()]
    assert kept
    for file in (Path(name).with_suffix(".types.txt") for name in kept):
        if (output / file).read_text().strip():
            assert (tmp_path / "back" / file).read_text() == (output / file).read_text()


def test_a_predicted_split_has_types_and_loses_those_of_an_earlier_model(
    trained: Path, student: Path, tmp_path: Path
) -> None:
    split = ShardSet.open(trained / "shards")["test"]
    predict_split(student, split, output_root=tmp_path / "lanes", device="cpu")
    files = sorted((tmp_path / "lanes").glob("*.types.txt"))
    assert files
    for file in files:
        lanes = read_lanes(file.with_name(file.name.replace(".types", ".lines")))
        assert len(file.read_text().splitlines()) == len(lanes)
    plain = NetworkSpec(image_size=VIEW.image_size, width=0.25)
    save_network(tmp_path / "plain", build_network(plain), spec=plain)
    write_predictor(tmp_path / "plain", VIEW, decode_config=DecodeConfig())
    predict_split(tmp_path / "plain", split, output_root=tmp_path / "lanes", device="cpu")
    assert not list((tmp_path / "lanes").glob("*.types.txt"))


def test_the_graph_has_the_types_of_torch(trained: Path, student: Path, tmp_path: Path) -> None:
    graph = tmp_path / "student.onnx"
    export_onnx(student, graph, row_maxima=True)
    predictor, runtime = LanePredictor.load(student, "cpu"), OnnxPredictor.load(graph, threads=1)
    assert runtime.lane_types == predictor.lane_types == TYPES
    frames = [read_frame(trained / f"{number}.jpg") for number in range(88, 96)]
    expected, lanes = predictor.predict(frames), runtime.predict(frames)
    assert sum(map(len, expected)) >= 8
    for one, other in zip(expected, lanes, strict=True):
        assert [(lane.slot, lane.type) for lane in one] == [(lane.slot, lane.type) for lane in other]
        np.testing.assert_allclose(
            [lane.type_probability for lane in one], [lane.type_probability for lane in other], atol=1e-3
        )
    images = np.stack([predictor.prepare(frame).image for frame in frames[:2]])
    assert difference(student, graph, images=images).equal
    broken = onnx.load(graph)
    metadata = {entry.key: entry.value for entry in broken.metadata_props} | {"lgad.lane_types": '["solid"]'}
    onnx.helper.set_model_props(broken, metadata)
    onnx.save(broken, graph)
    with pytest.raises(LgadError, match=r"lgad.lane_types does not fit the output types"):
        OnnxPredictor.load(graph)


def test_a_picture_and_a_track_keep_the_type() -> None:
    y = np.arange(99, 20, -2, dtype=np.float32)
    lane = Lane(2, np.stack([y + 40, y], 1), 0.9, 0.8, "dashed", 0.7)
    frame = np.zeros((100, 200, 3), np.uint8)
    plain = Lane(2, lane.points, 0.9, 0.8)
    assert (draw_lanes(frame, [lane]) != draw_lanes(frame, [plain])).any()
    tracker = LaneTracker((100, 200), 2, least_frames=1)
    (shown,) = tracker.update([lane], 0.1)
    assert (shown.type, shown.type_probability, shown.track) == ("dashed", 0.7, 1)
