"""Settings of recipes: networks, trainings, distillation, decoding."""

from typing import Any

from pydantic import Field

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    SadConfig,
    TeacherInputConfig,
)
from lgad_pipeline.config.network import NetworkChoice
from lgad_pipeline.config.training import TrainingConfig


class Recipe(BaseConfig):
    """Settings of one model: network, teacher, trainings, distillation and decoding.

    Attributes:
        network: network of the student, and of the teacher unless `teacher_network` is given.
        teacher: training of the teacher; not used if `distillation.teacher` is `together`.
        student: training of both students, alone and with LGAD; they differ in nothing but the distillation.
        teacher_network: network of the teacher, if it is another than the student's.
        teacher_input: encoding of the label map that the teacher reads, and its corruption in training.
        distillation: LGAD: attention maps, mimicking paths and the weight of their loss.
        sad: self attention distillation, for comparison.
        logits: logits distillation, for comparison.
        losses: further losses of the student with LGAD: settings by registered name or import path
            (`mypackage.losses:MyLoss`).
        label_head: auxiliary label heads, a control of studies.
        augmentation: augmentation of the students' batches.
        decode: conversion of probability maps to lanes.
    """

    network: NetworkChoice = NetworkChoice()
    teacher_network: NetworkChoice | None = None
    teacher: TrainingConfig
    teacher_input: TeacherInputConfig = TeacherInputConfig()
    student: TrainingConfig
    distillation: DistillationConfig = DistillationConfig()
    sad: SadConfig = SadConfig()
    logits: LogitsConfig = LogitsConfig()
    losses: dict[str, dict[str, Any]] = Field(default={})
    label_head: LabelHeadConfig = LabelHeadConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    decode: DecodeConfig = DecodeConfig()

    @property
    def teachers_network(self) -> NetworkChoice:
        """The teacher's network: its own, or the student's."""
        return self.teacher_network or self.network

    @property
    def trains_teacher_first(self) -> bool:
        """True if the teacher is a training of its own; False if it is trained together with the student."""
        return self.distillation.teacher == "before"
