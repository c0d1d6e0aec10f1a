"""Label-guided attention distillation: the student's attention is led to that of a teacher of label maps."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

from lgad_pipeline.config.distillation import DistillationConfig, MimickingPath
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.distillation.attention import divergence
from lgad_pipeline.distillation.lessons import Seen
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import check_gradient, taken

AttentionSource = Callable[[Batch], dict[str, torch.Tensor]]
"""Gives the teacher's attention maps (B, h, w) by layer for the label maps of a batch."""


class LgadLoss:
    """Compares what a student has just seen with what the teacher sees in the label map.

    Not a module and no part of the student: nothing of it is saved with the student's weights.

    Args:
        student: the network that is trained; tapped, otherwise unchanged. Set up the loss before the student
            is compiled or wrapped for distribution.
        source: the teacher's attention; it has the layers that the paths name.
        paths: mimicking paths, at least one.
        config: maps, normalization, divergence and schedule.
    """

    def __init__(
        self,
        student: nn.Module,
        source: AttentionSource,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
    ) -> None:
        self.source = source
        self.paths = tuple(paths)
        self.config = config
        self.taps = FeatureTaps(student, [path.student for path in self.paths])
        self.total = sum(path.weight for path in self.paths)

    def __call__(self, seen: Seen) -> torch.Tensor:
        """Return the mean over paths of the divergence, weighted by the paths' weights, one number.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        teacher, student = self.source(seen.batch), taken(self.taps, self.config)
        check_gradient({path.student: student[path.student] for path in self.paths})
        terms = [
            path.weight
            / self.total
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
