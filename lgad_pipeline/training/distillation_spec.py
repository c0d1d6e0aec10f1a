"""Distillation losses of a student's training, and the networks that they need."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    LossSchedule,
    SadConfig,
    TeacherInputConfig,
)
from lgad_pipeline.config.methods import METHODS, is_import_path, uses_lgad
from lgad_pipeline.config.model_files import NETWORK
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.distillation.registry import import_path, loss_class
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import read_model
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.training.training_folder import fingerprint_of

ATTENTION = "attention"
"""Name of the LGAD loss in the training history, with whatever teacher."""
_METHODS = {part for method in METHODS for part in method.split("+")}


class DistillationSpec(BaseConfig):
    """Distillation losses of one student and the networks that they need; the default is a student alone.

    At most one of `teacher`, `joint_teacher` and `blurred_labels` is given; each of them adds the LGAD loss.
    With a weight of 0 of that loss, `teacher` serves the registered losses alone.

    Attributes:
        teacher: directory of a trained teacher of label maps.
        joint_teacher: network of a teacher that is trained together with the student, without its input.
        blurred_labels: True for blurred label maps in place of a teacher's attention, a control.
        lgad: settings of the LGAD loss.
        teacher_input: encoding of the label map that a joint teacher reads.
        sad: settings of self attention distillation, or None for none.
        model: directory of a trained network of frames, for logits distillation, or None for none.
        logits: settings of logits distillation.
        label_head: settings of auxiliary label heads, a control, or None for none.
        losses: settings of registered losses by name or import path.
    """

    teacher: Path | None = None
    joint_teacher: NetworkSpec | None = None
    blurred_labels: bool = False
    lgad: DistillationConfig = DistillationConfig()
    teacher_input: TeacherInputConfig = TeacherInputConfig()
    sad: SadConfig | None = None
    model: Path | None = None
    logits: LogitsConfig = LogitsConfig()
    label_head: LabelHeadConfig | None = None
    losses: dict[str, dict[str, Any]] = Field(default={})

    @model_validator(mode="after")
    def _has_one_target(self) -> Self:
        given = [key for key in ("teacher", "joint_teacher", "blurred_labels") if getattr(self, key)]
        if len(given) > 1:
            raise ValueError(
                f"{' and '.join(given)} are given together, but the LGAD loss has one target; keep one"
            )
        return self

    @classmethod
    def from_recipe(
        cls,
        recipe: Recipe,
        method: str,
        *,
        image_size: tuple[int, int],
        slots: int,
        teacher: Path | None,
        model: Path | None,
    ) -> Self:
        """Return the losses of a method, with the settings of a recipe; see `TrainingPlan.from_recipe`."""
        if is_import_path(method):
            return cls(
                teacher=teacher if needs_teacher(method, recipe) else None,
                lgad=recipe.distillation.model_copy(update={"weight": 0.0, "balance": None}),
                losses={method: recipe.losses.get(method, {})},
            )
        methods = method.split("+")
        if unknown := set(methods) - _METHODS:
            known = ", ".join(sorted(_METHODS))
            raise LgadError(
                f"The method {', '.join(sorted(unknown))} does not exist; choose of {known}, joined by +, or "
                "give the import path of a loss."
            )
        joint = uses_lgad(method) and not recipe.trains_teacher_first
        return cls(
            teacher=teacher if needs_teacher(method, recipe) else None,
            joint_teacher=recipe.teachers_network.spec(image_size, slots) if joint else None,
            blurred_labels="blurred" in methods,
            lgad=recipe.distillation,
            teacher_input=recipe.teacher_input,
            sad=recipe.sad if "sad" in methods else None,
            model=model if "logits" in methods else None,
            logits=recipe.logits,
            label_head=recipe.label_head if "label-head" in methods else None,
            losses=recipe.losses if uses_lgad(method) else {},
        )

    def chosen(self) -> dict[str, tuple[str, LossSchedule | Mapping[str, Any]]]:
        """Return name and settings of each loss as `build_loss` takes them, by the name of its term."""
        losses: dict[str, tuple[str, LossSchedule | Mapping[str, Any]]] = {}
        if self.teacher is not None and self.lgad.full_weight:
            losses[ATTENTION] = "lgad" if self.lgad.maps == "computed" else "lgad_cached", self.lgad
        elif self.joint_teacher is not None:
            losses[ATTENTION] = "lgad_joint", self.lgad
        elif self.blurred_labels:
            losses[ATTENTION] = "blurred_labels", self.lgad
        if self.label_head is not None:
            layers = self.label_head.layers or tuple(path.student for path in self.lgad.paths)
            losses["label_head"] = "label_head", self.label_head.model_copy(update={"layers": layers})
        if self.sad is not None:
            losses["self_attention"] = "sad", self.sad
        if self.model is not None:
            losses["logits"] = "logits", self.logits
        return losses | {name: (name, settings) for name, settings in self.losses.items()}

    def description(self) -> dict[str, Any]:
        """Return all inputs that the losses depend on, for the fingerprint of a training."""
        content: dict[str, Any] = {}
        if self.teacher is not None:
            content["teacher"] = _trained_network(self.teacher)
        if self.joint_teacher is not None:
            content["teacher"] = self.joint_teacher.model_dump(mode="json")
            content["teacher_source"] = source_digest(self.joint_teacher.name)
            content["teacher_input"] = self.teacher_input.model_dump(mode="json")
        if self.blurred_labels:
            content["teacher"] = "blurred_labels"
        if ATTENTION in self.chosen():
            content["distillation"] = self.lgad.model_dump(mode="json")
        if self.sad is not None:
            content["sad"] = self.sad.model_dump(mode="json")
        if self.model is not None:
            content["logits"] = self.logits.model_dump(mode="json")
            content["model"] = _trained_network(self.model)
        if self.label_head is not None:
            content["label_head"] = self.label_head.model_dump(mode="json")
            if not self.label_head.layers:
                content["label_head_layers"] = [path.student for path in self.lgad.paths]
        if self.losses:
            content["losses"] = {
                name: [settings, source_digest(import_path(name))] for name, settings in self.losses.items()
            }
        return content


def _trained_network(folder: Path) -> list[str]:
    """Return the fingerprint of a training, and that of the present code of its network."""
    return [fingerprint_of(folder), source_digest(read_model(folder / NETWORK, NetworkSpec).name)]


def needs_teacher(method: str, recipe: Recipe) -> bool:
    """Return True if a method needs a teacher that is trained before the student.

    Raises:
        LgadError: the method is the import path of a loss that cannot be imported.
    """
    if is_import_path(method):
        return loss_class(method).needs_teacher
    return uses_lgad(method) and recipe.trains_teacher_first
