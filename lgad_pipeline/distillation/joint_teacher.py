"""LGAD with a teacher that is trained together with its student."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, LabelEncoding, MimickingPath
from lgad_pipeline.distillation.attention import attention_maps
from lgad_pipeline.distillation.base import AttentionLoss, StudentForward
from lgad_pipeline.distillation.context import LossContext
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import label_planes
from lgad_pipeline.errors import LgadError


class JointLgadLoss(AttentionLoss):
    """LGAD loss with a teacher that is trained in the same loop as the student.

    The teacher's maps are targets and pass no gradient: otherwise the teacher would learn to be easy
    to mimic.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        teacher: network of label maps, trained by the caller.
        paths: mimicking paths, at least one.
        config: settings of the maps, their divergence and the schedule.
        classes: number of classes, background included.
        encoding: encoding of the label map that the teacher reads.
        stride: step of the rows and columns of the label map that the teacher reads.
        channels: number of channels of each tapped layer of the student by name, for the setting `adapter`.
    """

    Config = DistillationConfig

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
        *,
        classes: int,
        encoding: LabelEncoding = "one_hot",
        stride: int = 1,
        channels: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(student, paths, config, channels=channels)
        self.add_companion(teacher)
        self.teacher, self.classes, self.stride = teacher, classes, stride
        self.encoding: LabelEncoding = encoding
        self.teacher_taps = FeatureTaps(teacher, [path.teacher for path in self.paths])

    @classmethod
    def from_context(cls, context: LossContext, config: DistillationConfig) -> "JointLgadLoss":
        """Build the loss with the teacher that a recipe trains together with the student."""
        spec = context.teacher_spec
        if context.joint_teacher is None or spec is None:
            raise LgadError(
                "This loss needs a teacher that is trained together with the student; "
                "set distillation.teacher: together."
            )
        return cls(**context.with_teacher(context.joint_teacher, spec, config=config))

    def teacher_forward(self, label_map: torch.Tensor) -> Any:
        """Run the teacher on label maps (B, H, W), with gradients for its own losses; return its output."""
        planes = label_planes(label_map, self.classes, self.encoding, stride=self.stride)
        return self.teacher(planes.contiguous(memory_format=torch.channels_last))

    def skip(self) -> None:
        """Clear the taps of the student and of the teacher."""
        super().skip()
        self.teacher_taps.clear()

    def teacher_maps(self) -> dict[str, torch.Tensor]:
        """Return the maps (B, h, w) of the latest `teacher_forward` by layer name, without gradients."""
        maps = attention_maps(self.teacher_taps, self.config)
        return {layer: attention.detach() for layer, attention in maps.items()}

    def targets(self, forward: StudentForward) -> Mapping[str, torch.Tensor]:
        """Return the maps of the teacher's latest forward, which was on the same label maps."""
        return self.teacher_maps()
