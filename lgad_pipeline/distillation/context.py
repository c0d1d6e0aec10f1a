"""Networks from which a recipe's distillation losses are built."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from lgad_pipeline.config.distillation import (
    DistillationConfig,
    MimickingPath,
    attention_layers_of,
    default_paths,
)
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.distillation.taps import layer_shapes
from lgad_pipeline.distillation.teacher import FrozenTeacher, label_encoding, label_stride
from lgad_pipeline.errors import LgadError


class AttentionCache(Protocol):
    """Stored attention maps of a teacher."""

    def maps(
        self,
        frames: Sequence[str],
        flipped: torch.Tensor | None = None,
        affine: torch.Tensor | None = None,
    ) -> Mapping[str, torch.Tensor]:
        """Return the attention maps (B, h, w) of frames by layer name of the teacher.

        Args:
            frames: paths of the frames, B of them.
            flipped: mask of the mirrored frames, bool (B,); None for none.
            affine: maps from output to input of the warp after the mirroring, float32 (B, 2, 3), in the
                coordinates of `grid_sample`; None for none.
        """
        ...


class LossContext(NamedTuple):
    """Networks that a loss may use.

    Attributes:
        student: network in training, not compiled or wrapped yet.
        spec: specification of the student.
        teacher: trained teacher of label maps, frozen; None if the student has no trained teacher.
        joint_teacher: teacher of label maps that is trained in the same loop, or None.
        teacher_spec: specification of either teacher, or None.
        model: trained network of frames for logits distillation, or None.
        cached: function of layer names of the teacher and of the settings that returns its stored attention
            maps; None if the teacher runs at every step.
    """

    student: nn.Module
    spec: NetworkSpec
    teacher: FrozenTeacher | None = None
    joint_teacher: nn.Module | None = None
    teacher_spec: NetworkSpec | None = None
    model: nn.Module | None = None
    cached: Callable[[Sequence[str], DistillationConfig], AttentionCache] | None = None

    def layers(self) -> tuple[str, ...]:
        """Return the default attention layers of the student.

        Raises:
            LgadError: its class names none.
        """
        return attention_layers_of(self.student, self.spec.name)

    def paths(self, config: DistillationConfig) -> tuple[MimickingPath, ...]:
        """Return the paths of the settings, or else those between the default attention layers.

        Without a teacher, the student's layers are paired with themselves.
        """
        if config.paths:
            return config.paths
        teacher = self.joint_teacher if self.teacher is None else self.teacher.network
        if teacher is None or self.teacher_spec is None:
            return default_paths(self.layers())
        return default_paths(self.layers(), attention_layers_of(teacher, self.teacher_spec.name))

    def channels(self, config: DistillationConfig) -> dict[str, int] | None:
        """Return the number of channels of the student's layers of the paths, if the adapters need it."""
        if not config.adapter:
            return None
        shapes = layer_shapes(self.student, [path.student for path in self.paths(config)], self.spec)
        return {layer: shape[0] for layer, shape in shapes.items()}

    def trained_teacher(self) -> tuple[nn.Module, NetworkSpec]:
        """Return the trained teacher of label maps and its specification.

        Raises:
            LgadError: the student has none.
        """
        if self.teacher is None or self.teacher_spec is None:
            raise LgadError(
                "This loss needs a trained teacher, and this student has none; choose the method lgad, set "
                "needs_teacher of a loss of your own, or give the argument teacher."
            )
        return self.teacher.network, self.teacher_spec

    def with_teacher(
        self, teacher: nn.Module, spec: NetworkSpec, *, config: DistillationConfig
    ) -> dict[str, Any]:
        """Return the arguments of an LGAD loss whose teacher runs at each step.

        Args:
            teacher: network of label maps, trained before or together with the student.
            spec: specification of the teacher.
            config: settings of the loss.
        """
        return {
            "student": self.student,
            "teacher": teacher,
            "paths": self.paths(config),
            "config": config,
            "classes": spec.slots + 1,
            "encoding": label_encoding(spec),
            "stride": label_stride(spec, self.spec.image_size),
            "channels": self.channels(config),
        }
