"""Trainings of a study and their directories."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.config.distillation import LossSchedule
from lgad_pipeline.config.methods import is_import_path
from lgad_pipeline.config.mistakes import mistakes
from lgad_pipeline.config.training import WITHOUT_EFFECT
from lgad_pipeline.distillation.registry import loss_settings
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.checkpoint import network_digest
from lgad_pipeline.networks.pretrained import file_digest
from lgad_pipeline.settings import NetworkChoice, Recipe
from lgad_pipeline.studies.config import EQUAL_COMPUTE, GainStudy, Variant
from lgad_pipeline.training.distillation_spec import needs_teacher

Schedule = TypeVar("Schedule", bound=LossSchedule)


@dataclass(frozen=True)
class TrainingSpec:
    """Training of a student, or of a network that students mimic.

    Attributes:
        role: `student`, `teacher` of label maps, or `model` whose logits are mimicked.
        recipe: recipe with the variant's changes and the seed of this training.
        network: network to train.
        folder: directory of the training.
        method: distillation losses of a student, see `Variant`.
        teacher: directory of the student's teacher; None without one, or if both are trained together.
        model: directory of the network whose logits the student mimics, or None.
        label_noise: noise in the training labels, or None.
    """

    role: str
    recipe: Recipe
    network: NetworkChoice
    folder: Path
    method: str = "alone"
    teacher: Path | None = None
    model: Path | None = None
    label_noise: LabelNoiseConfig | None = None


@dataclass(frozen=True)
class StudyRun:
    """Student of a study.

    Attributes:
        recipe: name of its recipe.
        variant: name of its variant.
        seed: seed of its training.
        training: training of the student.
    """

    recipe: str
    variant: str
    seed: int
    training: TrainingSpec


def plan(study: GainStudy, recipes: dict[str, Recipe], *, output: Path) -> list[StudyRun]:
    """Return the students of a study, seed by seed, so that an interrupted study contains complete pairs.

    Args:
        study: recipes, variants and seeds to compare.
        recipes: recipes of the study by name.
        output: directory of the study.

    Raises:
        LgadError: a variant's changes do not fit the recipe, or its loss cannot be imported.
    """
    return [
        StudyRun(name, variant, seed, _student(study, recipe, variant, settings, seed, output / name))
        for seed in range(study.first_seed, study.first_seed + study.seeds)
        for name, recipe in recipes.items()
        for variant, settings in study.all_variants.items()
    ]


def require_initial_weights(recipes: Iterable[Recipe]) -> None:
    """Check that the weights are there that students start from, before anything is trained.

    Args:
        recipes: recipes of the students, with the changes of their variants.

    Raises:
        LgadError: a directory of `init` or a file of `pretrained` is missing or cannot be read.
    """
    for init, pretrained in dict.fromkeys((recipe.init, recipe.network.pretrained) for recipe in recipes):
        try:
            if init is not None:
                network_digest(Path(init))
            if pretrained is not None:
                file_digest(pretrained)
        except LgadError as error:
            raise LgadError(f"{'pretrained' if init is None else 'init'}: {error}") from error


def teacher_trainings(study: GainStudy, runs: list[StudyRun]) -> list[TrainingSpec]:
    """Return the trainings of the teachers and models that the students mimic, each once."""
    trainings: dict[Path, TrainingSpec] = {}
    for run in runs:
        recipe, teacher, model = run.training.recipe, run.training.teacher, run.training.model
        if teacher is not None:
            trainings[teacher] = TrainingSpec(
                "teacher", recipe, recipe.teachers_network, teacher, label_noise=study.data.label_noise
            )
        if model is not None:
            # A model is trained once for all seeds or once per seed, as the teacher is: it has the same seed.
            student = recipe.student.model_copy(update={"seed": recipe.teacher.seed})
            model_recipe = recipe.model_copy(update={"student": student, "init": None})
            trainings[model] = TrainingSpec(
                "model", model_recipe, study.model, model, label_noise=study.data.label_noise
            )
    return list(trainings.values())


def _student(
    study: GainStudy, recipe: Recipe, name: str, variant: Variant, seed: int, folder: Path
) -> TrainingSpec:
    try:
        changed = variant.applied(recipe)
    except ValidationError as error:
        raise LgadError(mistakes(f"variant {name}", error, root=Recipe)) from error
    if is_import_path(variant.method):
        changed = changed.model_copy(update={"losses": {variant.method: {}, **changed.losses}})
    if steps := variant.steps or study.steps:
        key = f"variant {name}: steps" if variant.steps else "study: steps"
        if (warmup := changed.student.optimizer.warmup_steps) >= steps:
            raise LgadError(
                f"{key} is {steps}, and the recipe has warmup_steps {warmup} of student.optimizer; give more "
                "steps, or a recipe with fewer warmup_steps."
            )
        changed = _with_steps(changed, steps)
    student = changed.student.model_copy(update={"seed": seed})
    if variant.method == EQUAL_COMPUTE:
        student = student.model_copy(update={"steps": study.compute.equal_steps(changed)})
    network_seed = seed if study.teachers == "per_seed" else 0
    teacher = changed.teacher.model_copy(update={"seed": network_seed})
    changed = changed.model_copy(update={"student": student, "teacher": teacher})
    teacher_folder, model_folder = None, None
    if needs_teacher(variant.method, changed):
        teacher_folder = shared_folder(
            folder / "teachers", changed.teachers_network, teacher, changed.teacher_input, study.data
        )
    if variant.method == "logits":
        model_config = student.model_copy(update={"seed": network_seed})
        model_folder = shared_folder(folder / "models", study.model, model_config, study.data)
    student_folder = folder / name / f"seed{seed}"
    return TrainingSpec(
        "student",
        changed,
        changed.network,
        student_folder,
        method=variant.method,
        teacher=teacher_folder,
        model=model_folder,
        label_noise=study.data.label_noise,
    )


def _with_steps(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with another number of student steps and its loss schedules scaled accordingly."""
    factor = steps / recipe.student.steps

    def scaled(config: Schedule) -> Schedule:
        start, stop = min(round(config.start_step * factor), steps - 1), config.stop_step
        update = {"start_step": start, "warmup_steps": round(config.warmup_steps * factor)}
        if stop is not None:
            update["stop_step"] = max(round(stop * factor), start + 1)
        return config.model_copy(update=update)

    student = recipe.student.model_validate({**recipe.student.model_dump(), "steps": steps})
    return recipe.model_copy(
        update={
            "student": student,
            "distillation": scaled(recipe.distillation),
            "sad": scaled(recipe.sad),
            "logits": scaled(recipe.logits),
            "label_head": scaled(recipe.label_head),
            "losses": {
                name: scaled(loss_settings(name, settings)).model_dump(mode="json", exclude_defaults=True)
                for name, settings in recipe.losses.items()
            },
        }
    )


def shared_folder(folder: Path, *settings: BaseModel) -> Path:
    """Return a directory named by a digest of the settings, so that variants with equal settings share it."""
    text = json.dumps([entry.model_dump(mode="json", exclude=set(WITHOUT_EFFECT)) for entry in settings])
    return folder / blake2b(text.encode(), digest_size=6).hexdigest()
