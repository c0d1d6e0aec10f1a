"""Distillation losses: LGAD, self attention distillation (SAD), and logits distillation.

Each loss works in any training loop. Build it before the student is compiled or wrapped for distributed
training, run the student, then call the loss and add it to the segmentation loss:

    lgad = LgadLoss(student, teacher, paths, DistillationConfig())
    for image, label_map in loader:
        loss = criterion(student(image), label_map) + lgad(label_map)

A call returns the weighted loss: with the argument `step` the weight follows the schedule of the settings,
without it the weight is `config.weight`. The losses are not modules: nothing of them is saved with the
student's weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.distillation import (
    AttentionConfig,
    DistillationConfig,
    LabelEncoding,
    LogitsConfig,
    LossSchedule,
    MimickingPath,
    SadConfig,
)
from lgad_pipeline.distillation.attention import attention_maps, check_gradient, divergence_of
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import FrozenTeacher, TeacherAttention
from lgad_pipeline.errors import LgadError


class StudentForward(NamedTuple):
    """Inputs and outputs of one forward of the student.

    Attributes:
        inputs: input of the student (B, C, H, W), normalized frames.
        logits: class logits (B, classes, H, W).
        label_map: label maps of the frames (B, H, W), integers.
        frames: paths of the frames, B of them.
        flipped: mask of the frames that augmentation has mirrored, bool (B,); None for none.
    """

    inputs: torch.Tensor
    logits: torch.Tensor
    label_map: torch.Tensor
    frames: Sequence[str] = ()
    flipped: torch.Tensor | None = None


class DistillationLoss(ABC):
    """Loss that a student is trained with in addition to the segmentation loss.

    Attributes:
        config: weight and schedule.
    """

    config: LossSchedule

    @abstractmethod
    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss, a scalar tensor, for the student's latest forward."""

    def weight(self, step: int | None) -> float:
        """Return the weight at a step, counted from 0; without a step, the weight without its schedule."""
        return self.config.weight if step is None else self.config.weight_at(step)


class AttentionLoss(DistillationLoss):
    """Mean over mimicking paths of the divergence of the student's attention from given target maps.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        paths: mimicking paths, at least one.
        config: settings of the maps, their divergence and the schedule.
    """

    config: AttentionConfig

    def __init__(self, student: nn.Module, paths: Sequence[MimickingPath], config: AttentionConfig) -> None:
        if not paths:
            raise LgadError("An attention loss needs a mimicking path; give at least one.")
        self.paths, self.config = tuple(paths), config
        self.taps = FeatureTaps(student, [path.student for path in self.paths])
        self.total_weight = sum(path.weight for path in self.paths)

    def compare(self, targets: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the mean over paths, weighted by the paths' weights, of the divergence from the targets.

        Args:
            targets: attention maps (B, h, w) by the layer name of the teacher.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        maps = attention_maps(self.taps, self.config)
        check_gradient({path.student: maps[path.student] for path in self.paths})
        terms = [
            path.weight
            / self.total_weight
            * divergence_of(maps[path.student], targets[path.teacher], self.config)
            for path in self.paths
        ]
        return torch.stack(terms).sum()


class LgadLoss(AttentionLoss):
    """Label-guided attention distillation: the student mimics the attention of a teacher of label maps.

    Example:
        >>> student = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
        >>> teacher = nn.Sequential(nn.Conv2d(5, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 5, 1))
        >>> lgad = LgadLoss(student, teacher, [MimickingPath(student="1", teacher="1")], DistillationConfig())
        >>> image, label_map = torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))
        >>> logits = student(image)
        >>> lgad(label_map).shape
        torch.Size([])

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        teacher: trained network that reads one-hot planes (B, classes, H, W), on the student's device. It is
            frozen here: evaluation mode, no gradients, no change of its batch norms.
        paths: mimicking paths, at least one.
        config: settings of the maps, their divergence and the schedule.
        classes: number of classes, background included; None to read it from the teacher's first convolution.
        encoding: encoding of the label map, if the teacher was trained on another than one-hot planes.

    Raises:
        LgadError: a layer of a path does not exist.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
        *,
        classes: int | None = None,
        encoding: LabelEncoding = "one_hot",
    ) -> None:
        super().__init__(student, paths, config)
        layers = [path.teacher for path in self.paths]
        self.teacher = TeacherAttention(teacher, layers, config, classes=classes, encoding=encoding)

    def __call__(self, label_map: torch.Tensor, step: int | None = None) -> torch.Tensor:
        """Run the teacher and return the weighted loss; call it after each forward of the student.

        Args:
            label_map: label map (B, H, W), integers 0..classes - 1. Pixels of another value, such as an
                ignore index of 255 or -1, belong to no class: the teacher reads 0 there in every plane.
            step: number of the training step, from 0, for the schedule of the weight; None for no schedule.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        return self.weight(step) * self.compare(self.teacher(label_map))

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss for the student's latest forward."""
        return self.compare(self.teacher(forward.label_map))


class SadLoss(DistillationLoss):
    """Self attention distillation: each layer mimics the next deeper one (SAD section 3.2, equation 4).

    The deeper layer is the target and gets no gradient: otherwise it would follow the shallower one. (The
    PyTorch rewrite of ENet-SAD in common use does pass that gradient.)

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        layers: dotted names of layers, first to deepest, at least two.
        config: settings of the maps, their divergence and the schedule.

    Raises:
        LgadError: there are fewer than two layers, or a layer does not exist.
    """

    config: SadConfig

    def __init__(self, student: nn.Module, layers: Sequence[str], config: SadConfig) -> None:
        if len(layers) < 2:
            raise LgadError(
                f"SAD needs two layers, of which one mimics the other, but has {list(layers)}; "
                "name them under sad.layers."
            )
        self.config = config
        self.taps = FeatureTaps(student, layers)

    def __call__(self, step: int | None = None) -> torch.Tensor:
        """Return the weighted loss; call it after each forward of the student.

        Args:
            step: number of the training step, from 0, for the schedule of the weight; None for no schedule.
        """
        return self.weight(step) * self._sum_over_layers()

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss for the student's latest forward.

        Raises:
            LgadError: a layer passes no gradient, because it is frozen.
        """
        return self._sum_over_layers()

    def _sum_over_layers(self) -> torch.Tensor:
        maps = attention_maps(self.taps, self.config)
        check_gradient(
            {layer: maps[layer] for layer in self.taps.layers[:-1]}
        )  # the deepest is only a target
        terms = [
            divergence_of(maps[layer], maps[deeper].detach(), self.config)
            for layer, deeper in pairwise(self.taps.layers)
        ]
        return torch.stack(terms).sum()


class LogitsLoss(DistillationLoss):
    """Logits distillation: the student mimics the class probabilities of another trained network.

    Args:
        model: trained network that reads the student's inputs and returns logits (B, classes, H, W), or an
            object with an attribute `logits`; it is frozen here.
        config: temperature and schedule.
    """

    config: LogitsConfig

    def __init__(self, model: nn.Module, config: LogitsConfig) -> None:
        self.model, self.config = FrozenTeacher(model), config

    def __call__(self, logits: torch.Tensor, inputs: torch.Tensor, step: int | None = None) -> torch.Tensor:
        """Run the other network and return the weighted loss.

        Args:
            logits: logits of the student (B, classes, H, W).
            inputs: input of the student (B, C, H, W).
            step: number of the training step, from 0, for the schedule of the weight; None for no schedule.
        """
        return self.weight(step) * self._divergence(logits, inputs)

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss for the student's latest forward."""
        return self._divergence(forward.logits, forward.inputs)

    def _divergence(self, logits: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        output = self.model(inputs)
        return soft_target_divergence(logits, getattr(output, "logits", output), self.config.temperature)


def soft_target_divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return T^2 x KL(softmax(teacher / T) || softmax(student / T)), mean over pixels and batch, in float32.

    The factor T^2 keeps the size of the gradient when T changes (Hinton et al., 2015, arXiv:1503.02531,
    section 2).

    Args:
        student: logits (B, classes, H, W).
        teacher: logits of the same shape.
        temperature: temperature T.
    """
    log_student = functional.log_softmax(student.float() / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)
    return temperature**2 * divergence.mean()
