"""Label-guided attention distillation: the student's attention is led to that of a teacher of label maps."""

from collections.abc import Sequence

import torch
from torch import nn

from lgad_pipeline.distillation.attention import attention_map, divergence
from lgad_pipeline.distillation.config import DistillationConfig, MimickingPath
from lgad_pipeline.distillation.taps import Taps
from lgad_pipeline.distillation.teacher import FrozenTeacher, label_planes


class LgadLoss:
    """Compares what a student has just seen with what the teacher sees in the label map (LGAD, section 3).

    Not a module and no part of the student: nothing of it is saved with the student's weights.

    Args:
        student: the network that is trained; tapped, otherwise unchanged. Set up the loss before the student
            is compiled or wrapped for distribution.
        teacher: a trained network of label maps; it is frozen here and must be on the student's device.
        paths: mimicking paths, at least one.
        config: maps, normalization and divergence.
        slots: lane slots of the label maps.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
        slots: int,
    ) -> None:
        self.paths = tuple(paths)
        self.config = config
        self.slots = slots
        self.teacher = FrozenTeacher(teacher)
        self.student_taps = Taps(student, [path.student for path in self.paths])
        self.teacher_taps = Taps(teacher, [path.teacher for path in self.paths])

    def __call__(self, label: torch.Tensor) -> torch.Tensor:
        """Return sum over paths of path weight x divergence, one number, after the student's forward.

        Args:
            label: (B, H, W), integers, the label maps of the images that the student has just seen.
        """
        self.teacher(label_planes(label, self.slots).contiguous(memory_format=torch.channels_last))
        student, teacher = self._maps(self.student_taps), self._maps(self.teacher_taps)
        terms = [
            path.weight
            * divergence(
                student[path.student],
                teacher[path.teacher],
                self.config.divergence,
                self.config.normalization,
                self.config.temperature,
            )
            for path in self.paths
        ]
        return torch.stack(terms).sum()

    def _maps(self, taps: Taps) -> dict[str, torch.Tensor]:
        return {
            layer: attention_map(features, self.config.reduction, self.config.power)
            for layer, features in taps.take().items()
        }
