"""Distillation losses: LGAD, self attention distillation (SAD), and logits distillation.

Each loss works in any training loop. Build it before the student is compiled or wrapped for distributed
training, run the student, then call the loss and add it to the segmentation loss:

    lgad = LgadLoss(student, teacher, paths, DistillationConfig())
    for image, label_map in loader:
        loss = criterion(student(image), label_map) + lgad(label_map)

A call returns the weighted loss: with the argument `step` the weight follows the schedule of the settings,
without it the weight is `config.weight`. At a weight of 0 no teacher runs, and the result is 0 without a
gradient. The losses are not modules: nothing of them is saved with the student's weights. If a loss has a
module `companion` (settings adapter, balance and gate), give its parameters to the optimizer and save its
state with a checkpoint.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelEncoding,
    LogitsConfig,
    MimickingPath,
    SadConfig,
)
from lgad_pipeline.distillation.attention import attention_map, divergence_of
from lgad_pipeline.distillation.base import AttentionLoss, DistillationLoss, LayerLoss, StudentForward
from lgad_pipeline.distillation.context import AttentionCache, LossContext
from lgad_pipeline.distillation.student_maps import split_slots
from lgad_pipeline.distillation.teacher import FrozenTeacher, TeacherAttention
from lgad_pipeline.errors import LgadError


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
        stride: step of the rows and columns of the label map that the teacher reads, if it was trained so.
        channels: number of channels of each tapped layer of the student by name, for the setting `adapter`.

    Raises:
        LgadError: a layer of a path does not exist.
    """

    Config = DistillationConfig
    config: DistillationConfig

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
        *,
        classes: int | None = None,
        encoding: LabelEncoding = "one_hot",
        stride: int = 1,
        channels: Mapping[str, int] | None = None,
    ) -> None:
        layers = [path.teacher for path in paths]
        self.teacher = TeacherAttention(
            teacher, layers, config, classes=classes, encoding=encoding, stride=stride
        )
        super().__init__(student, paths, config, slots=self.teacher.classes - 1, channels=channels)

    @classmethod
    def from_context(cls, context: LossContext, config: DistillationConfig) -> "LgadLoss":
        """Build the loss with the trained teacher of a recipe."""
        teacher, spec = context.trained_teacher()
        return cls(**context.with_teacher(teacher, spec, config=config))

    def __call__(
        self, label_map: torch.Tensor, step: int | None = None, *, logits: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Run the teacher and return the weighted loss; call it after each forward of the student.

        Args:
            label_map: label map (B, H, W), integers 0..classes - 1. Pixels of another value, such as an
                ignore index of 255 or -1, belong to no class: the teacher reads 0 there in every plane.
            step: number of the training step, from 0, for the schedule of the weight; None for no schedule.
            logits: logits of the student (B, classes, H, W), for the setting `frame_weight: error`.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen; or the settings need
                logits, which are not given.
        """
        if self.by_error and logits is None:
            raise LgadError(
                "The setting frame_weight error needs the student's logits; give the argument logits."
            )
        weight = self.weight(step)
        if not weight:
            return self.no_loss()
        forward = StudentForward(label_map, label_map if logits is None else logits, label_map, weight=weight)
        return weight * self.compute(forward)

    def targets(self, forward: StudentForward) -> Mapping[str, torch.Tensor]:
        """Return the teacher's maps of the label maps, or of each slot of them."""
        label_map = forward.label_map
        return self.teacher(split_slots(label_map, self.groups) if self.groups > 1 else label_map)


class CachedLgadLoss(AttentionLoss):
    """LGAD loss with stored attention maps of the teacher; the teacher does not run.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        cache: attention maps of the teacher for all training frames.
        paths: mimicking paths, at least one.
        config: settings of the maps, their divergence and the schedule.
        channels: number of channels of each tapped layer of the student by name, for the setting `adapter`.
    """

    Config = DistillationConfig

    def __init__(
        self,
        student: nn.Module,
        cache: AttentionCache,
        paths: Sequence[MimickingPath],
        config: DistillationConfig,
        *,
        channels: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(student, paths, config, channels=channels)
        self.cache = cache

    @classmethod
    def from_context(cls, context: LossContext, config: DistillationConfig) -> "CachedLgadLoss":
        """Build the loss with the stored maps of the trained teacher of a recipe."""
        context.trained_teacher()
        assert context.cached is not None
        paths = context.paths(config)
        cache = context.cached([path.teacher for path in paths], config)
        return cls(context.student, cache, paths, config, channels=context.channels(config))

    def targets(self, forward: StudentForward) -> Mapping[str, torch.Tensor]:
        """Return the stored maps of the batch."""
        return self.cache.maps(forward.frames, forward.flipped, forward.affine)


class SadLoss(LayerLoss):
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

    Config = SadConfig
    config: SadConfig

    def __init__(self, student: nn.Module, layers: Sequence[str], config: SadConfig) -> None:
        if len(set(layers)) < 2:
            raise LgadError(
                f"SAD needs two layers, of which one mimics the other, but has {list(layers)}; "
                "name them under sad.layers."
            )
        # The deepest layer is only a target.
        super().__init__(student, layers, config, dict.fromkeys(layers[:-1], 1.0))

    @classmethod
    def from_context(cls, context: LossContext, config: SadConfig) -> "SadLoss":
        """Build the loss on the layers of the settings, or else on the student's attention layers."""
        return cls(context.student, config.layers or context.layers(), config)

    def __call__(self, step: int | None = None) -> torch.Tensor:
        """Return the weighted loss; call it after each forward of the student.

        Args:
            step: number of the training step, from 0, for the schedule of the weight; None for no schedule.
        """
        weight = self.weight(step)
        return weight * self._sum_over_layers(weight) if weight else self.no_loss()

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss for the student's latest forward.

        Raises:
            LgadError: a layer passes no gradient, because it is frozen.
        """
        return self._sum_over_layers(forward.weight)

    def _sum_over_layers(self, weight: float | torch.Tensor) -> torch.Tensor:
        maps = {
            layer: attention_map(features, self.config.reduction, self.config.power)
            for layer, features in self.features(weight).items()
        }
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

    Config = LogitsConfig
    config: LogitsConfig

    def __init__(self, model: nn.Module, config: LogitsConfig) -> None:
        self.model, self.config = FrozenTeacher(model), config

    @classmethod
    def from_context(cls, context: LossContext, config: LogitsConfig) -> "LogitsLoss":
        """Build the loss with the trained network of frames of a recipe."""
        if context.model is None:
            raise LgadError(
                "Logits distillation needs a trained network of frames, and this student has none; choose "
                "the method logits, or give the argument model."
            )
        return cls(context.model, config)

    def __call__(self, logits: torch.Tensor, inputs: torch.Tensor, step: int | None = None) -> torch.Tensor:
        """Run the other network and return the weighted loss.

        Args:
            logits: logits of the student (B, classes, H, W).
            inputs: input of the student (B, C, H, W).
            step: number of the training step, from 0, for the schedule of the weight; None for no schedule.
        """
        weight = self.weight(step)
        return weight * self._divergence(logits, inputs) if weight else torch.zeros((), device=logits.device)

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
        temperature: temperature T, by which the logits are divided.

    Raises:
        LgadError: they are no tensors of one shape.
    """
    kinds = [tuple(x.shape) if isinstance(x, torch.Tensor) else type(x).__name__ for x in (student, teacher)]
    if kinds[0] != kinds[1] or isinstance(kinds[0], str):
        raise LgadError(
            f"The student's logits are {kinds[0]} and those of the other network {kinds[1]}; both have to be "
            "tensors (B, classes, H, W) of one shape."
        )
    log_student = functional.log_softmax(student.float() / temperature, dim=1)
    log_teacher = functional.log_softmax(teacher.float() / temperature, dim=1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1)
    return temperature**2 * divergence.mean()
