"""Graphs in float16 and int8: close to torch, smaller, and read by the ONNX Runtime predictor."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from lgad_pipeline.cli.export import export
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.onnx_export import difference, export_onnx
from lgad_pipeline.inference.onnx_predictor import OnnxPredictor
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.networks.checkpoint import load_network, save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View
from tests.support.trainings import pack_road

SPEC = NetworkSpec(name="erfnet", image_size=(32, 88), width=0.25)
FRAMES = np.random.default_rng(0).integers(0, 256, (8, *SPEC.image_size, 3), np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    save_network(folder, build_network(SPEC), spec=SPEC)
    write_predictor(folder, View((590, 1640), SPEC.image_size, 240), decode_config=DecodeConfig())
    return folder


def precision_of(graph: Path) -> str:
    return {entry.key: entry.value for entry in onnx.load(graph).metadata_props}["lgad.precision"]


def test_int8_has_8_bit_weights_for_each_channel_but_in_the_outermost_layers(model, tmp_path):
    graph = tmp_path / "int8.onnx"
    export_onnx(model, graph, precision="int8", calibration=FRAMES)
    read = onnx.load(graph)
    writer = {output: node for node in read.graph.node for output in node.output}
    shapes = {entry.name: list(entry.dims) for entry in read.graph.initializer}
    convolutions = [node for node in read.graph.node if node.op_type in ("Conv", "ConvTranspose")]
    floats = []
    for node in convolutions:
        weight = writer.get(node.input[1])
        if weight is None:
            floats.append(node)
            continue
        assert weight.op_type == "DequantizeLinear" and len(shapes[weight.input[1]]) == 1
        assert shapes[weight.input[1]][0] in shapes[weight.input[0]][:2]
    assert len(convolutions) > 20 and len(floats) == 2
    assert floats[0] is convolutions[0] and shapes[floats[1].input[1]][1] == SPEC.slots + 1
    result = difference(model, graph, images=FRAMES)
    assert 0 < result.mean < 0.02
    assert precision_of(graph) == "int8"
    predictor = OnnxPredictor.load(graph, threads=1)
    assert predictor.predict([np.zeros((590, 1640, 3), np.uint8)]) is not None


def test_float16_has_half_the_size_and_float32_outputs(model, tmp_path):
    single, half = tmp_path / "single.onnx", tmp_path / "half.onnx"
    export_onnx(model, single)
    export_onnx(model, half, precision="float16")
    assert half.stat().st_size < 0.65 * single.stat().st_size
    result = difference(model, half, images=FRAMES)
    assert 1e-6 < result.mean < 2e-3
    assert (precision_of(single), precision_of(half)) == ("float32", "float16")
    outputs = onnx.load(half).graph.output
    assert {entry.type.tensor_type.elem_type for entry in outputs} == {onnx.TensorProto.FLOAT}


def test_an_unknown_precision_and_frames_of_another_form_are_errors(model, tmp_path):
    with pytest.raises(LgadError, match="precision 'fp16' is unknown; choose one of float32, float16, int8"):
        export_onnx(model, tmp_path / "a.onnx", precision="fp16")  # type: ignore[arg-type]
    height, width = load_network(model)[1].image_size
    for frames in (
        np.zeros((2, height, width), np.uint8),
        np.zeros((2, height, width, 3), np.float32),
        np.zeros((2, 8, 8, 3), np.uint8),
    ):
        with pytest.raises(LgadError, match=rf"calibration are .*; give uint8 \(N, {height}, {width}, 3\)"):
            export_onnx(model, tmp_path / "a.onnx", precision="int8", calibration=frames)
    assert not (tmp_path / "a.onnx").exists()


def test_int8_needs_training_frames_of_the_network(model, tmp_path):
    with pytest.raises(LgadError, match="calibrated on training frames; add --shards"):
        export(model, tmp_path / "a.onnx", precision="int8")
    (tmp_path / "road").mkdir()
    shards = pack_road(tmp_path / "road")
    export(model, tmp_path / "a.onnx", precision="int8", shards=shards)
    assert precision_of(tmp_path / "a.onnx") == "int8"
    other = NetworkSpec(name="erfnet", image_size=(16, 88), width=0.25)
    save_network(tmp_path / "other", build_network(other), spec=other)
    with pytest.raises(LgadError, match=r"holds images of \[32, 88\] px and the network reads \[16, 88\]"):
        export(tmp_path / "other", tmp_path / "b.onnx", precision="int8", shards=shards)
