"""Training plans: all inputs of one training, and their derivation from a recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from lgad_pipeline.config.augmentation import AugmentationConfig, LabelNoiseConfig
from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.distillation import (
    DistillationConfig,
    LabelHeadConfig,
    LogitsConfig,
    LossSchedule,
    SadConfig,
    TeacherInputConfig,
)
from lgad_pipeline.config.model_files import NETWORK
from lgad_pipeline.config.network import NetworkChoice, NetworkSpec
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.config.training import WITHOUT_EFFECT, TrainingConfig
from lgad_pipeline.distillation.registry import import_path
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import network_digest, read_model
from lgad_pipeline.networks.pretrained import file_digest
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.training.training_folder import fingerprint_of

Role = Literal["teacher", "student"]
_GEOMETRY = ("flip", "rotation", "scale", "shift_x", "shift_y", "min_lane_pixels")
ATTENTION = "attention"
"""Name of the LGAD loss in the training history, with whatever teacher."""
_METHODS = {"alone", "blurred", "equal-compute", "label-head", "lgad", "logits", "sad"}


class DistillationSpec(BaseConfig):
    """Distillation losses of one student and the networks that they need; the default is a student alone.

    At most one of `teacher`, `joint_teacher` and `blurred_labels` is given; each of them adds the LGAD loss.

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

    def chosen(self) -> dict[str, tuple[str, LossSchedule | Mapping[str, Any]]]:
        """Return name and settings of each loss as `build_loss` takes them, by the name of its term."""
        losses: dict[str, tuple[str, LossSchedule | Mapping[str, Any]]] = {}
        if self.teacher is not None:
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
        if content:
            content["distillation"] = self.lgad.model_dump(mode="json")
        if self.sad is not None:
            content["sad"] = self.sad.model_dump(mode="json")
        if self.model is not None:
            content["logits"] = self.logits.model_dump(mode="json")
            content["model"] = _trained_network(self.model)
        if self.label_head is not None:
            content["label_head"] = self.label_head.model_dump(mode="json")
            content["label_head_layers"] = [path.student for path in self.lgad.paths]
        if self.losses:
            content["losses"] = {
                name: [settings, source_digest(import_path(name))] for name, settings in self.losses.items()
            }
        return content


def _trained_network(folder: Path) -> list[str]:
    """Return the fingerprint of a training, and that of the present code of its network."""
    return [fingerprint_of(folder), source_digest(read_model(folder / NETWORK, NetworkSpec).name)]


class TrainingPlan(BaseConfig):
    """All inputs of one training of a teacher or a student.

    Attributes:
        role: `teacher` (reads label maps) or `student` (reads frames).
        config: settings of the training.
        network: network to train; that of a teacher has the planes of a label map as input.
        shards: directory of the packed data set.
        folder: directory of the result.
        augmentation: augmentation of the training batches; for a teacher only its geometry is used.
        teacher_input: encoding and corruption of a teacher's input.
        distillation: distillation losses of a student.
        pretrained: file of ImageNet weights that a student starts from, or None for random weights.
        init: directory of a trained network that a student starts from, or None for random weights.
        label_noise: noise that is added to the labels of the training split, or None; for studies.
    """

    role: Role
    config: TrainingConfig
    network: NetworkSpec
    shards: Path
    folder: Path
    augmentation: AugmentationConfig = AugmentationConfig()
    teacher_input: TeacherInputConfig = TeacherInputConfig()
    distillation: DistillationSpec = DistillationSpec()
    pretrained: Path | None = None
    init: Path | None = None
    label_noise: LabelNoiseConfig | None = None

    @classmethod
    def for_teacher(cls, *, network: NetworkSpec, augmentation: AugmentationConfig, **inputs: Any) -> Self:
        """Return the plan of a teacher: its network reads label maps, its augmentation changes geometry only.

        Args:
            network: network of a student; its input is replaced by the encoded label map.
            augmentation: augmentation of the students; changes of the image alone are left out.
            inputs: further attributes.
        """
        reading = inputs.get("teacher_input", TeacherInputConfig())
        image_only = {name: 0.0 for name in AugmentationConfig.model_fields if name not in _GEOMETRY}
        return cls(
            role="teacher",
            network=teacher_spec(network, reading.encoding, stride=reading.stride),
            augmentation=augmentation.model_copy(update=image_only),
            **inputs,
        )

    @classmethod
    def from_recipe(
        cls,
        recipe: Recipe,
        *,
        role: Role,
        image_size: tuple[int, int],
        slots: int = 4,
        shards: Path,
        folder: Path,
        method: str = "alone",
        teacher: Path | None = None,
        model: Path | None = None,
        network: NetworkChoice | None = None,
        label_noise: LabelNoiseConfig | None = None,
    ) -> Self:
        """Return the plan of a training that a recipe describes.

        Args:
            recipe: settings of networks, trainings and losses.
            role: `teacher` or `student`.
            image_size: size (H, W) of the packed frames, pixels.
            slots: number of lane slots of the data set.
            shards: directory of the packed data set.
            folder: directory of the result.
            method: distillation losses of a student: `alone`, `lgad`, `sad`, `lgad+sad`, `logits`, `blurred`
                or `label-head`; with `lgad` also the recipe's registered losses.
                `equal-compute` is `alone` with more
                steps, which the recipe states.
            teacher: directory of a trained teacher, for a method with `lgad`, unless the recipe trains the
                teacher together with the student.
            model: directory of a trained network of frames, for the method `logits`.
            network: network to train; None for the recipe's network of this role.
            label_noise: noise in the training labels, or None.

        Raises:
            LgadError: the method is unknown.
        """
        common: dict[str, Any] = {"shards": shards, "folder": folder, "label_noise": label_noise}
        if role == "teacher":
            return cls.for_teacher(
                config=recipe.teacher,
                network=(network or recipe.teachers_network).spec(image_size, slots),
                augmentation=recipe.augmentation,
                teacher_input=recipe.teacher_input,
                **common,
            )
        chosen = network or recipe.network
        return cls(
            role="student",
            config=recipe.student,
            network=chosen.spec(image_size, slots),
            augmentation=recipe.augmentation,
            distillation=_distillation(recipe, method, (image_size, slots), teacher, model),
            pretrained=chosen.pretrained,
            init=Path(recipe.init) if recipe.init else None,
            **common,
        )

    def normalized_in(self, processes: int) -> int:
        """Return the number of parts of a batch that have batch-norm statistics of their own."""
        return 1 if self.config.sync_batch_norm else processes

    def description(self, shards_fingerprint: str, code: str, *, precision: str) -> dict[str, Any]:
        """Return all inputs that the trained weights depend on, for the fingerprint of the training.

        The number of processes is another input if each has batch-norm statistics of its own.

        Args:
            shards_fingerprint: fingerprint of the packed data set, label noise included.
            code: fingerprint of the training code.
            precision: precision of this training, not `auto`.
        """
        training = self.config.model_copy(update={"precision": precision})
        role_inputs = (
            {"teacher_input": self.teacher_input.model_dump(mode="json")}
            if self.role == "teacher"
            else self.distillation.description()
        )
        return {
            "role": self.role,
            "training": training.model_dump(mode="json", exclude={*WITHOUT_EFFECT, "sync_batch_norm"}),
            "network": self.network.model_dump(mode="json"),
            "network_source": source_digest(self.network.name),
            "augmentation": self.augmentation.model_dump(mode="json"),
            **role_inputs,
            "shards": shards_fingerprint,
            "pretrained": file_digest(self.pretrained) if self.pretrained else "",
            "init": network_digest(self.init) if self.init else "",
            "code": code,
        }


def _distillation(
    recipe: Recipe,
    method: str,
    shape: tuple[tuple[int, int], int],
    teacher: Path | None,
    model: Path | None,
) -> DistillationSpec:
    methods = method.split("+")
    if unknown := set(methods) - _METHODS:
        raise LgadError(
            f"{', '.join(sorted(unknown))} is no distillation method; "
            f"choose of {', '.join(sorted(_METHODS))}, joined by +."
        )
    lgad = "lgad" in methods
    joint = lgad and recipe.distillation.teacher == "together"
    return DistillationSpec(
        teacher=teacher if lgad and not joint else None,
        joint_teacher=recipe.teachers_network.spec(*shape) if joint else None,
        blurred_labels="blurred" in methods,
        lgad=recipe.distillation,
        teacher_input=recipe.teacher_input,
        sad=recipe.sad if "sad" in methods else None,
        model=model if "logits" in methods else None,
        logits=recipe.logits,
        label_head=recipe.label_head if "label-head" in methods else None,
        losses=recipe.losses if lgad else {},
    )
