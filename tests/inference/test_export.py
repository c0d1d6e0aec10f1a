import numpy as np
import torch

from lgad_pipeline.inference.export import difference, export_onnx
from lgad_pipeline.models.registry import build
from lgad_pipeline.models.spec import NetworkSpec
from lgad_pipeline.models.store import save_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)


def network(folder, seed: int):
    """ENet with weights as after a training: none of its batch norms is the identity."""
    torch.manual_seed(seed)
    made = build(SPEC)
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    save_network(folder, made, SPEC)
    return folder


def test_graph_says_what_torch_says_for_any_batch_and_another_network_does_not(tmp_path):
    one, other = network(tmp_path / "one", 1), network(tmp_path / "other", 2)
    export_onnx(one, tmp_path / "student.onnx")
    for batch in (1, 3):
        images = np.random.default_rng(batch).integers(0, 256, (batch, 16, 32, 3), np.uint8)
        same = difference(one, tmp_path / "student.onnx", images)
        assert same.equal and same.largest < 1e-5
        another = difference(other, tmp_path / "student.onnx", images)
        assert not another.equal and another.largest > 1e-3
