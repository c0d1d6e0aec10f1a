"""Settings of recipes: networks, trainings, distillation, decoding."""

import re
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

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

REGISTERED = "models:/"
"""Beginning of the address of a registered version in MLflow."""
_VERSION = re.compile(rf"{REGISTERED}[^/@:]+(@[^/@:]+|/[0-9]+)")


def is_address(init: str) -> bool:
    """Return True if initial weights are named by an address, such as models:/NAME@champion or s3://..."""
    return init.startswith("models:") or re.match(r"[a-z][a-z0-9+.-]+:/", init) is not None


class Recipe(BaseConfig):
    """Settings of one model: network, teacher, trainings, distillation and decoding.

    Attributes:
        network: network of the student, and of the teacher unless `teacher_network` is given.
        teacher: training of the teacher; not used if `distillation.teacher` is `together`.
        student: training of both students, alone and with LGAD; they differ in nothing but the distillation.
        init: trained network that both students start from, for fine-tuning: a directory, relative to that of
            this file, or a registered version, `models:/<data set>-<recipe>@champion` or
            `models:/<data set>-<recipe>/<version>`. Layers that do not fit another image size or number of
            slots start from random weights.
        teacher_network: network of the teacher, if it is another than the student's.
        teacher_input: encoding of the label map that the teacher reads, and its corruption in training.
        distillation: LGAD: attention maps, mimicking paths and the weight of their loss.
        sad: self attention distillation, for comparison.
        logits: logits distillation, for comparison.
        losses: further losses of the student with LGAD: settings by registered name or import path
            (`mypackage.losses:MyLoss`).
        label_head: auxiliary label heads, a control of studies.
        augmentation: augmentation of the training batches; a teacher's get the changes of geometry alone.
        decode: conversion of probability maps to lanes.
    """

    network: NetworkChoice = NetworkChoice()
    teacher_network: NetworkChoice | None = None
    teacher: TrainingConfig
    teacher_input: TeacherInputConfig = TeacherInputConfig()
    student: TrainingConfig
    init: str | None = None
    distillation: DistillationConfig = DistillationConfig()
    sad: SadConfig = SadConfig()
    logits: LogitsConfig = LogitsConfig()
    losses: dict[str, dict[str, Any]] = Field(default={})
    label_head: LabelHeadConfig = LabelHeadConfig()
    augmentation: AugmentationConfig = AugmentationConfig()
    decode: DecodeConfig = DecodeConfig()

    @field_validator("init")
    @classmethod
    def _names_a_version(cls, init: str | None) -> str | None:
        if init == "":
            raise ValueError("it names no network; write a registered version or a directory")
        if init is not None and is_address(init) and not _VERSION.fullmatch(init):
            raise ValueError(
                f"{init} names no registered version; write {REGISTERED}NAME@champion or "
                f"{REGISTERED}NAME/VERSION, or a directory"
            )
        return init

    @model_validator(mode="after")
    def _starts_once(self) -> Self:
        if self.init is not None and self.network.pretrained is not None:
            raise ValueError("init and network.pretrained both name initial weights; remove one of them")
        if self.teacher_network is not None and self.teacher_network.pretrained is not None:
            raise ValueError(
                "teacher_network.pretrained has no effect, because ImageNet weights are for frames, and "
                "teachers read label maps; remove it"
            )
        return self

    @property
    def teachers_network(self) -> NetworkChoice:
        """The teacher's network: its own, or the student's."""
        return self.teacher_network or self.network

    @property
    def trains_teacher_first(self) -> bool:
        """True if the teacher is a training of its own; False if it is trained together with the student."""
        return self.distillation.teacher == "before"
