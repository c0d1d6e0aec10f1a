"""Training plans: all inputs of one training, and their derivation from a recipe."""

from pathlib import Path
from typing import Any, Literal, Self

from lgad_pipeline.config.augmentation import AugmentationConfig, LabelNoiseConfig
from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.distillation import TeacherInputConfig
from lgad_pipeline.config.network import NetworkChoice, NetworkSpec
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.config.training import WITHOUT_EFFECT, TrainingConfig
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.checkpoint import network_digest
from lgad_pipeline.networks.pretrained import file_digest
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.training.distillation_spec import DistillationSpec

Role = Literal["teacher", "student"]
_GEOMETRY = ("flip", "rotation", "scale", "shift_x", "shift_y", "min_lane_pixels")


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
        lane_types: tuple[str, ...] = (),
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
            lane_types: types of lanes that a student tells apart; empty for none.
            shards: directory of the packed data set.
            folder: directory of the result.
            method: distillation losses of a student: `alone`, `lgad`, `sad`, `lgad+sad`, `logits`, `blurred`
                or `label-head`; with `lgad` also the recipe's registered losses. `equal-compute` is `alone`
                with more steps, which the recipe states. An import path names a registered loss.
            teacher: directory of a trained teacher, for a method that needs one (`needs_teacher`).
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
            network=chosen.spec(image_size, slots, lane_types=lane_types),
            augmentation=recipe.augmentation,
            distillation=DistillationSpec.from_recipe(
                recipe, method, image_size=image_size, slots=slots, teacher=teacher, model=model
            ),
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
