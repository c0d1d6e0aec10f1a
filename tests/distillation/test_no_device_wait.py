"""A training step reads no value of a tensor, so that the CPU never waits for a GPU, also inside CUDA graphs.

Tensors on the device `meta` have shapes, but no values: an operation that needs a value raises an error.
"""

import pytest
import torch

from lgad_pipeline.config.distillation import DistillationConfig, LabelHeadConfig, MimickingPath, SadConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.base import LayerLoss, StudentForward
from lgad_pipeline.distillation.controls import BlurredLabelsLoss, LabelHead
from lgad_pipeline.distillation.losses import LgadLoss, SadLoss
from lgad_pipeline.distillation.taps import layer_shapes
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.registry import build_network

SPEC = NetworkSpec(image_size=(16, 32), width=0.25)
LAYERS = ["encoder.stage2", "decoder.stage4"]
PATHS = [MimickingPath(student=layer, teacher=layer, pool=2) for layer in LAYERS]
CONFIG = DistillationConfig(
    balance=0.3, gate=True, floor=0.2, adapter=True, per_slot=True, frame_weight="error"
)


def lgad(student: torch.nn.Module) -> LgadLoss:
    channels = {layer: shape[0] for layer, shape in layer_shapes(student, LAYERS, SPEC).items()}
    teacher = build_network(teacher_spec(SPEC)).to("meta")
    return LgadLoss(student, teacher, PATHS, CONFIG, classes=5, channels=channels)


@pytest.mark.parametrize(
    "build",
    [
        lgad,
        lambda student: BlurredLabelsLoss(student, SPEC, PATHS, CONFIG),
        lambda student: LabelHead(student, SPEC, LAYERS, LabelHeadConfig(balance=0.2, gate=True)),
        lambda student: SadLoss(student, LAYERS, SadConfig(balance=0.2)),
    ],
    ids=["lgad", "blurred", "label-head", "sad"],
)
def test_no_value_is_read(build) -> None:
    student = build_network(SPEC)
    loss: LayerLoss = build(student)
    student.to("meta")
    assert loss.companion is not None
    loss.companion.to("meta")
    image = torch.rand(2, 3, 16, 32, device="meta")
    label = torch.ones(2, 16, 32, dtype=torch.long, device="meta")
    weight = torch.full((), 0.3, device="meta")
    for _ in range(2):
        logits = student(image).logits
        value = loss.compute(StudentForward(image, logits, label, weight=weight))
        (torch.nn.functional.cross_entropy(logits, label) + weight * value).backward()
    assert student.get_parameter("encoder.stage2.0.residual.0.weight").grad is not None
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(value.isfinite())
