"""Logits distillation (Hinton et al., 2015, arXiv:1503.02531), pixel by pixel."""

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.distillation import LogitsConfig
from lgad_pipeline.distillation.lessons import Seen
from lgad_pipeline.distillation.teacher import FrozenTeacher


def soft_targets(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 x KL(softmax(teacher / T) || softmax(student / T)), mean over pixels and batch, in float32.

    T^2 keeps the gradient's size where T changes (Hinton et al., section 2).

    Args:
        student: logits (B, classes, H, W).
        teacher: logits of the same shape.
        temperature: T.
    """
    log_student = functional.log_softmax(student.float() / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, dim=1)
    apart = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)
    return temperature**2 * apart.mean()


class LogitsLoss:
    """Compares the student's class probabilities with those of a larger trained network of frames.

    Args:
        teacher: a trained network that reads the same frames; it is frozen here.
        config: temperature and schedule.
    """

    def __init__(self, teacher: nn.Module, config: LogitsConfig) -> None:
        self.teacher = FrozenTeacher(teacher)
        self.config = config

    def __call__(self, seen: Seen) -> torch.Tensor:
        """Return `soft_targets`, one number."""
        return soft_targets(seen.output.logits, self.teacher(seen.planes).logits, self.config.temperature)
