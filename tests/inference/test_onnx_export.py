import json
import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lgad_pipeline.cli.export import export
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.onnx_export import difference, export_onnx
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)
KEYS = ("view", "decode", "precision", "usage")


def network(folder, seed: int):
    """ENet with weights as after a training: none of its batch norms is the identity."""
    torch.manual_seed(seed)
    made = build_network(SPEC)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    save_network(folder, made, spec=SPEC)
    write_predictor(folder, View((48, 96), SPEC.image_size, 8), decode_config=DecodeConfig())
    return folder


def test_graph_says_what_torch_says_for_any_batch_and_another_network_does_not(tmp_path):
    one, other = network(tmp_path / "one", 1), network(tmp_path / "other", 2)
    export_onnx(one, tmp_path / "student.onnx")
    for batch in (1, 3):
        images = np.random.default_rng(batch).integers(0, 256, (batch, 16, 32, 3), np.uint8)
        same = difference(one, tmp_path / "student.onnx", images=images)
        assert same.equal and same.largest < 1e-5
        another = difference(other, tmp_path / "student.onnx", images=images)
        assert not another.equal and another.largest > 1e-3


def test_graph_holds_no_paths_of_the_machine_that_wrote_it(tmp_path):
    export_onnx(network(tmp_path / "one", 1), tmp_path / "student.onnx")
    content = (tmp_path / "student.onnx").read_bytes()
    graph = onnx.load(tmp_path / "student.onnx")
    assert {prop.key for prop in graph.metadata_props} == {f"lgad.{name}" for name in KEYS}
    assert not any(node.doc_string or node.metadata_props for node in graph.graph.node)
    for text in (
        b"lgad_pipeline",
        b".py",
        b"site-packages",
        str(Path.cwd()).encode(),
        str(tmp_path).encode(),
    ):
        assert text not in content
    onnx.checker.check_model(graph)


def test_the_metadata_and_the_snippet_of_the_docs_find_the_lane_without_torch(tmp_path, monkeypatch):
    view = View((590, 1640), (64, 176), 240)
    spec = NetworkSpec(name="tests.support.networks:RedIsTheLeftLane", image_size=view.image_size)
    save_network(tmp_path / "net", build_network(spec), spec=spec)
    write_predictor(tmp_path / "net", view, decode_config=DecodeConfig(row_step=5))
    export_onnx(tmp_path / "net", tmp_path / "student.onnx")
    metadata = onnxruntime.InferenceSession(tmp_path / "student.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(metadata["lgad.view"]) == {
        "frame_size": [590, 1640],
        "image_size": [64, 176],
        "crop_top": 240,
    }
    assert DecodeConfig.model_validate_json(metadata["lgad.decode"]) == DecodeConfig(row_step=5)
    # A frame of half the training's size, its lane at x = 350 + 0.3 (294 - y).
    frame = np.full((295, 820, 3), 90, np.uint8)
    line = np.array([[350, 294], [350 + 0.3 * 134, 160]], np.int32)[:, None]
    cv2.polylines(frame, [line], False, (60, 60, 250), 14)  # red in BGR
    cv2.imwrite(str(tmp_path / "frame.jpg"), frame)
    page = (Path(__file__).parents[2] / "docs" / "registry.md").read_text(encoding="utf-8")
    [snippet] = [
        code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "OnnxPredictor" in code
    ]
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(snippet, names)
    [lane] = names["lanes"]
    x, y = lane.points.T
    inside = (y > 165) & (y < 290)
    assert lane.slot == 2 and inside.sum() >= 24
    assert np.abs(x - (350 + 0.3 * (294 - y)))[inside].max() < 820 / 176  # a column of the map


def test_a_graph_replaces_no_other_file(tmp_path):
    folder = network(tmp_path / "one", 1)
    before = (folder / "weights.safetensors").read_bytes()
    with pytest.raises(LgadError, match=r"does not end in \.onnx"):
        export(folder, folder / "weights.safetensors")
    assert (folder / "weights.safetensors").read_bytes() == before
    other = tmp_path / "other.onnx"
    other.write_bytes(b"another program's graph")
    with pytest.raises(
        LgadError, match=r"other\.onnx is a file that lgad export did not write; name another"
    ):
        export(folder, other)
    assert other.read_bytes() == b"another program's graph"
    for _ in range(2):  # its own graph is replaced
        export(folder, tmp_path / "student.onnx")
