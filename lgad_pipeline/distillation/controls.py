"""Control losses: they guide a student by labels without a teacher network.

They show which part of a gain is due to the teacher. `BlurredLabelsLoss` is LGAD with a blurred label map in
place of the teacher's attention; `LabelHead` uses the same layers and labels, but no attention maps.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.distillation import DistillationConfig, LabelHeadConfig, MimickingPath
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.base import AttentionLoss, LayerLoss, StudentForward
from lgad_pipeline.distillation.context import LossContext
from lgad_pipeline.distillation.processes import mean_over_processes
from lgad_pipeline.distillation.student_maps import split_slots
from lgad_pipeline.distillation.taps import layer_shapes


class BlurredLabelsLoss(AttentionLoss):
    """LGAD loss without a teacher: the targets are the lanes of the label map, pooled to cells and blurred.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        spec: specification of the student.
        paths: mimicking paths, at least one; their layers of the teacher are not used.
        config: settings of the maps, their divergence and the schedule.
    """

    Config = DistillationConfig

    def __init__(
        self,
        student: nn.Module,
        spec: NetworkSpec,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
    ) -> None:
        paths = [path.model_copy(update={"teacher": path.student}) for path in paths]
        shapes = layer_shapes(student, [path.student for path in paths], spec)
        self.sizes = {layer: (shape[1], shape[2]) for layer, shape in shapes.items()}
        channels = {layer: shape[0] for layer, shape in shapes.items()}
        super().__init__(student, paths, config, slots=spec.slots, channels=channels)

    @classmethod
    def from_context(cls, context: LossContext, config: DistillationConfig) -> "BlurredLabelsLoss":
        """Build the loss on the student's layers of the paths."""
        return cls(context.student, context.spec, context.paths(config), config)

    def targets(self, forward: StudentForward) -> Mapping[str, torch.Tensor]:
        """Return the blurred lanes by the layer name of the student."""
        label_map = forward.label_map
        if self.groups > 1:
            label_map = split_slots(label_map, self.groups)
        return {layer: blurred_lanes(label_map, size) for layer, size in self.sizes.items()}


def blurred_lanes(label_map: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Return the share of lane pixels of each cell, mean over the cell and its neighbors (3 x 3).

    Args:
        label_map: label map (B, H, W), integers, 0 is the background.
        size: number of cells (h, w).

    Returns:
        Shares in 0..1, float32 (B, h, w).
    """
    share = functional.adaptive_avg_pool2d((label_map > 0).float()[:, None], size)
    return functional.avg_pool2d(share, 3, stride=1, padding=1, count_include_pad=False)[:, 0]


class LabelHead(LayerLoss):
    """Auxiliary classifiers: a 1 x 1 convolution on each tapped layer predicts the slots of its cells.

    `heads` are trained with the student, but are not part of the student that is saved.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        spec: specification of the student.
        layers: dotted names of its layers, at least one.
        config: weight of the background, weight and schedule of the loss.
    """

    Config = LabelHeadConfig
    config: LabelHeadConfig

    def __init__(
        self, student: nn.Module, spec: NetworkSpec, layers: Sequence[str], config: LabelHeadConfig
    ) -> None:
        self.classes = spec.slots + 1
        shapes = layer_shapes(student, layers, spec)
        super().__init__(student, layers, config)
        self.heads = nn.ModuleList(nn.Conv2d(shape[0], self.classes, 1) for shape in shapes.values())
        self.add_companion(self.heads)

    @classmethod
    def from_context(cls, context: LossContext, config: LabelHeadConfig) -> "LabelHead":
        """Build the heads on the layers of the settings, or else on the student's attention layers."""
        return cls(context.student, context.spec, config.layers or context.layers(), config)

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the mean over layers of the pooled cross entropy, unweighted.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        features = self.features(forward.weight)
        losses = [
            pooled_cross_entropy(head(values), forward.label_map, self.config.background_weight)
            for head, values in zip(self.heads, features.values(), strict=True)
        ]
        return torch.stack(losses).mean()


def pooled_cross_entropy(
    logits: torch.Tensor, label_map: torch.Tensor, background_weight: float
) -> torch.Tensor:
    """Return the cross entropy of cells against the shares of the classes in them.

    With y the shares, p the softmax of the logits and w the weight of a class (of the background, or 1):
    - sum over cells and classes of w y log p, divided by the sum of w y.

    Args:
        logits: class logits of the cells (B, classes, h, w).
        label_map: label map (B, H, W), integers 0..classes - 1.
        background_weight: weight of class 0.
    """
    classes = logits.shape[1]
    planes = functional.one_hot(label_map.long(), classes).movedim(3, 1).float()
    share = functional.adaptive_avg_pool2d(planes, (logits.shape[-2], logits.shape[-1]))
    share = torch.cat([share[:, :1] * background_weight, share[:, 1:]], dim=1)
    return -(share * functional.log_softmax(logits.float(), dim=1)).sum() / mean_over_processes(share.sum())
