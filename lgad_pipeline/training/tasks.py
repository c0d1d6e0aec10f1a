"""What is trained: a teacher that reproduces label maps, or a student that finds lanes in frames.

A task names its losses, so that one loop trains both.
"""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import nn

from lgad_pipeline.config.distillation import TeacherInputConfig
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch, normalize
from lgad_pipeline.distillation.lessons import Lesson, Seen
from lgad_pipeline.distillation.teacher import JointTeacherAttention, label_planes, spoiled
from lgad_pipeline.networks.layers import LaneOutput
from lgad_pipeline.training import losses


class Task(Protocol):
    """What the training loop asks of a task."""

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return what the network reads of a batch, float32 (B, in_channels, H, W)."""
        ...

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Run the network on a batch and return the loss terms, unweighted."""
        ...

    def weights(self, step: int) -> dict[str, float]:
        """Return the weight of each loss term at a step; a term of weight 0 need not be among the losses."""
        ...


class TeacherTask:
    """Label map in, label map out : the teacher attends to nothing but the lanes."""

    def __init__(
        self, config: TrainingConfig, slots: int, label_input: TeacherInputConfig | None = None
    ) -> None:
        self.config = config
        self.slots = slots
        self.label_input = label_input or TeacherInputConfig()

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return what the teacher reads of the label map, unspoiled."""
        return label_planes(batch.label, self.slots, self.label_input.form)

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Return `cross_entropy`, `iou` and, with an existence head, `existence`."""
        return lane_losses(network(_fast(spoiled(self.inputs(batch), self.label_input))), batch, self.config)

    def weights(self, step: int) -> dict[str, float]:
        """Return the weights of the configuration."""
        return lane_weights(self.config)


class StudentTask:
    """Frame in, label map out; lessons besides.

    Args:
        config: of the training.
        lessons: by the name of their loss term, such as `attention`; none for a student alone.
        teacher: learns in the same loop, from the same batches; its terms are called `teacher/<term>`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        lessons: Mapping[str, Lesson] | None = None,
        teacher: JointTeacherAttention | None = None,
    ) -> None:
        self.config = config
        self.lessons = dict(lessons or {})
        self.teacher = teacher

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return the normalized image, (B, 3, H, W)."""
        return normalize(batch.image)

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Return the terms of `TeacherTask` and those of the lessons that are on at this step."""
        planes = _fast(self.inputs(batch))
        output = network(planes)  # before the teacher: students drop the same channels with one and without
        terms = lane_losses(output, batch, self.config)
        if self.teacher is not None:
            theirs = lane_losses(self.teacher.learn(batch), batch, self.config)
            terms |= {f"teacher/{name}": term for name, term in theirs.items()}
        seen = Seen(batch, planes, output)
        return terms | {
            name: lesson(seen) for name, lesson in self.lessons.items() if lesson.config.weight_at(step)
        }

    def weights(self, step: int) -> dict[str, float]:
        """Return the weights of the configuration, those of the lessons by their schedules."""
        weights = lane_weights(self.config)
        if self.teacher is not None:
            weights |= {f"teacher/{name}": weight for name, weight in weights.items()}
        return weights | {name: lesson.config.weight_at(step) for name, lesson in self.lessons.items()}


class Pair(nn.Module):
    """A student and its companion in training, a teacher or label heads; reads what the student reads."""

    def __init__(self, student: nn.Module, companion: nn.Module) -> None:
        super().__init__()
        self.student, self.companion = student, companion

    def forward(self, planes: torch.Tensor) -> LaneOutput:
        """Run the student."""
        return self.student(planes)


def lane_losses(output: LaneOutput, batch: Batch, config: TrainingConfig) -> dict[str, torch.Tensor]:
    """Return the segmentation terms of one forward, unweighted."""
    log_probability = losses.log_probabilities(output.logits)
    label = batch.label.long()
    terms = {
        "cross_entropy": losses.cross_entropy(log_probability, label, config.background_weight),
        "iou": losses.soft_iou(log_probability, label),
    }
    if output.existence is not None:
        terms["existence"] = losses.existence(output.existence, batch.existence)
    return terms


def lane_weights(config: TrainingConfig) -> dict[str, float]:
    """Return the weights of `lane_losses`."""
    return {"cross_entropy": 1.0, "iou": config.iou_weight, "existence": config.existence_weight}


def _fast(planes: torch.Tensor) -> torch.Tensor:
    return planes.contiguous(memory_format=torch.channels_last)
