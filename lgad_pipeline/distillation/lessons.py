"""What a lesson is: a loss that a student learns from beside the labels."""

from typing import NamedTuple, Protocol

import torch

from lgad_pipeline.config.distillation import LessonConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.networks.layers import LaneOutput


class Seen(NamedTuple):
    """One forward of the student.

    Attributes:
        batch: the frames.
        planes: what the student read of them, (B, C, H, W).
        output: what it made of it.
    """

    batch: Batch
    planes: torch.Tensor
    output: LaneOutput


class Lesson(Protocol):
    """A loss that a student learns from beside the labels, called right after the student's forward."""

    @property
    def config(self) -> LessonConfig:
        """How strongly and when."""
        ...

    def __call__(self, seen: Seen) -> torch.Tensor:
        """Return the loss, one number, unweighted."""
        ...
