"""Settings of recipes: networks, trainings, distillation, decoding."""

from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.datasets import Entry
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    SadConfig,
    TeacherInputConfig,
)
from lgad_pipeline.config.network import NetworkSpec, Width, allow_networks
from lgad_pipeline.config.training import TrainingConfig


class NetworkChoice(Entry):
    """Architecture and width of a network.

    Attributes:
        name: a network of this package (enet), with a spatial module (scnn:enet, resa:erfnet), an encoder of
            timm (timm:resnet18), a network of segmentation_models_pytorch (smp:Unet:resnet18), or the import
            path of your own, `package.module:Class`.
        width: factor of the channels of every layer.
        zero_init_residual: residual branches start at zero, which learns several times faster; False for the
            start that ENet and ERFNet were published with.
        pretrained: file with ImageNet weights of torchvision's resnet18 or resnet34, or of timm's model, for
            students.
    """

    name: str = "enet"
    width: Width = 1.0
    zero_init_residual: bool = True
    pretrained: Path | None = None

    @field_validator("name")
    @classmethod
    def _allowed(cls, name: str) -> str:
        allow_networks(name)  # folders of trained networks may name the class now, too
        return name

    def spec(self, image_size: tuple[int, int], slots: int = 4) -> NetworkSpec:
        """Return the network for an input of a size (H, W), pixels, and a number of lane slots."""
        return NetworkSpec(
            name=self.name,
            slots=slots,
            width=self.width,
            image_size=image_size,
            zero_init_residual=self.zero_init_residual,
        )


class Recipe(Entry):
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
