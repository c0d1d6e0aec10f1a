"""What is trained: a teacher that reproduces label maps, or a student that finds lanes in frames.

A task names its losses, so that one loop trains both.
"""

from typing import Protocol

import torch
from torch import nn

from lgad_pipeline.data.loader import Batch, normalize
from lgad_pipeline.distillation.lgad import LgadLoss
from lgad_pipeline.distillation.teacher import label_planes
from lgad_pipeline.models.layers import LaneOutput
from lgad_pipeline.training import losses
from lgad_pipeline.training.config import TrainingConfig


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
    """Label map in, label map out (LGAD, section 3): the teacher attends to nothing but the lanes."""

    def __init__(self, config: TrainingConfig, slots: int) -> None:
        self.config = config
        self.slots = slots

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return the label map as planes, (B, slots + 1, H, W)."""
        return label_planes(batch.label, self.slots)

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Return `cross_entropy`, `iou` and, with an existence head, `existence`."""
        return lane_losses(network(_fast(self.inputs(batch))), batch, self.config)

    def weights(self, step: int) -> dict[str, float]:
        """Return the weights of the configuration."""
        return lane_weights(self.config)


class StudentTask:
    """Frame in, label map out; with `lgad`, the attention of a teacher is mimicked besides."""

    def __init__(self, config: TrainingConfig, lgad: LgadLoss | None = None) -> None:
        self.config = config
        self.lgad = lgad

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return the normalized image, (B, 3, H, W)."""
        return normalize(batch.image)

    def losses(self, network: nn.Module, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        """Return the terms of `TeacherTask` and, while the student distils, `attention`."""
        terms = lane_losses(network(_fast(self.inputs(batch))), batch, self.config)
        if self.weights(step).get("attention"):
            assert self.lgad is not None
            terms["attention"] = self.lgad(batch.label)
        return terms

    def weights(self, step: int) -> dict[str, float]:
        """Return the weights of the configuration, that of `attention` by its schedule."""
        weights = lane_weights(self.config)
        if self.lgad is not None:
            weights["attention"] = self.lgad.config.weight_at(step)
        return weights


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
