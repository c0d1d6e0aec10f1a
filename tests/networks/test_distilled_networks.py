"""LGAD on every kind of network: some steps with finite, falling attention loss."""

import pytest
import torch
from torch.nn import functional

from lgad_pipeline.config.distillation import DistillationConfig, MimickingPath
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.losses import LgadLoss
from lgad_pipeline.distillation.teacher import label_planes, teacher_spec
from lgad_pipeline.networks.registry import attention_layers, build_network

PACKAGES = {"timm": "timm", "smp": "segmentation_models_pytorch"}
NAMES = ["enet", "resnet18", "scnn:erfnet", "scnn:resnet18", "resa:enet", "resa:resnet18"]
NAMES += ["timm:efficientnet_lite0", "scnn:timm:resnet18", "smp:Unet:resnet18", "smp:FPN:resnet18"]
SIZE = (64, 96)


def scene() -> tuple[torch.Tensor, torch.Tensor]:
    """Return four frames with two bright lanes, (4, 3, H, W), and their label maps, uint8 (4, H, W)."""
    label_map = torch.zeros(4, *SIZE, dtype=torch.uint8)
    rows = torch.arange(SIZE[0])
    for frame in range(4):
        for slot, bottom, slope in ((2, 20 + 5 * frame, 0.3), (3, 75 - 4 * frame, -0.3)):
            columns = (bottom + slope * (SIZE[0] - rows)).long()
            for offset in range(-2, 3):
                label_map[frame, rows, (columns + offset).clamp(0, SIZE[1] - 1)] = slot
    noise = torch.rand(4, 3, *SIZE) * 0.5
    return noise + (label_map > 0)[:, None] * 1.5, label_map


@pytest.mark.parametrize("name", NAMES)
def test_attention_loss_falls(name: str) -> None:
    for prefix, package in PACKAGES.items():
        if f"{prefix}:" in name:
            pytest.importorskip(package, reason="needs the packages of lgad-pipeline[networks]")
    torch.manual_seed(0)
    spec = NetworkSpec(name=name, image_size=SIZE, zero_init_residual=False)
    student, teacher = build_network(spec), build_network(teacher_spec(spec))
    image, label_map = scene()
    planes = label_planes(label_map, spec.slots + 1)
    optimizer = torch.optim.Adam(teacher.parameters(), 1e-3)
    for _ in range(5):
        loss = functional.cross_entropy(teacher(planes).logits, label_map.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    paths = [MimickingPath(student=layer, teacher=layer) for layer in attention_layers(spec)]
    lgad = LgadLoss(student, teacher, paths, DistillationConfig(weight=1.0))
    optimizer = torch.optim.Adam(student.parameters(), 1e-3)
    values = []
    for _ in range(10):
        segmentation = functional.cross_entropy(student(image).logits, label_map.long())
        attention = lgad(label_map)
        optimizer.zero_grad()
        (segmentation + attention).backward()
        optimizer.step()
        values.append(float(attention.detach()))
    assert all(0 < value < float("inf") for value in values), values
    assert sum(values[-3:]) < 0.9 * sum(values[:3]), values
