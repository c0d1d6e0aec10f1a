"""Losses of a user's package, named in settings by their import paths."""

import torch

from lgad_pipeline.distillation.base import StudentForward
from lgad_pipeline.distillation.registry import RegisteredLoss
from lgad_pipeline.distillation.teacher import label_encoding, label_planes


class LaneShare(RegisteredLoss):
    """Squared difference of the mean lane probability and the share of lane pixels."""

    def compute(self, forward: StudentForward) -> torch.Tensor:
        lane = 1 - forward.logits.softmax(dim=1)[:, 0]
        return (lane.mean() - (forward.label_map > 0).float().mean()).square()


class TeacherAgreement(RegisteredLoss):
    """Mean squared difference of the class probabilities of student and teacher."""

    needs_teacher = True

    def compute(self, forward: StudentForward) -> torch.Tensor:
        teacher, spec = self.context.trained_teacher()
        planes = label_planes(forward.label_map, spec.slots + 1, label_encoding(spec))
        with torch.no_grad():
            target = teacher(planes).logits.softmax(dim=1)
        return (forward.logits.softmax(dim=1) - target).square().mean()
