"""The trainings of a study, and where each lies."""

import json
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lgad_pipeline.config.distillation import LessonConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import NetworkChoice, Recipe
from lgad_pipeline.studies.config import GainStudy, Variant, mistakes

Schedule = TypeVar("Schedule", bound=LessonConfig)


@dataclass(frozen=True)
class Work:
    """One training, of a student or of a network that students learn from.

    Attributes:
        role: `student`, `teacher` of label maps, or `model` whose logits are mimicked.
        recipe: with the variant's changes; its seed is that of the training.
        network: what is trained.
        folder: where.
        method: of a student.
        teacher, model: folders of the networks that a student learns from; a teacher that is trained together
            with the student has none.
    """

    role: str
    recipe: Recipe
    network: NetworkChoice
    folder: Path
    method: str = "alone"
    teacher: Path | None = None
    model: Path | None = None


@dataclass(frozen=True)
class Run:
    """One student of a study: which recipe, variant and seed, and its training."""

    recipe: str
    variant: str
    seed: int
    work: Work


def plan(study: GainStudy, recipes: dict[str, Recipe], output: Path) -> list[Run]:
    """Return the students of a study, seed by seed, so that a study that is stopped holds whole pairs.

    Args:
        study: what to compare.
        recipes: the recipes that the study names.
        output: folder of the study.

    Raises:
        LgadError: a variant's changes do not fit the recipe.
    """
    return [
        Run(name, variant, seed, _student(study, recipe, variant, settings, seed, output / name))
        for seed in range(study.seeds)
        for name, recipe in recipes.items()
        for variant, settings in study.all_variants.items()
    ]


def lesson_works(study: GainStudy, runs: list[Run]) -> list[Work]:
    """Return the trainings that students learn from, each once."""
    works: dict[Path, Work] = {}
    for run in runs:
        work = run.work
        if work.teacher is not None:
            works[work.teacher] = Work("teacher", work.recipe, work.recipe.teachers_network, work.teacher)
        if work.model is not None:
            seed = work.recipe.teacher.seed  # a model is shared by the seeds as a teacher is
            student = work.recipe.student.model_copy(update={"seed": seed})
            recipe = work.recipe.model_copy(update={"student": student})
            works[work.model] = Work("model", recipe, study.model, work.model)
    return list(works.values())


def _student(study: GainStudy, recipe: Recipe, name: str, variant: Variant, seed: int, folder: Path) -> Work:
    try:
        changed = variant.applied(recipe)
    except ValidationError as error:
        raise LgadError(mistakes(f"variant {name}", error)) from error
    if study.steps is not None:
        changed = _of_length(changed, study.steps)
    student = changed.student.model_copy(update={"seed": seed})
    if variant.method == "equal-compute":
        student = student.model_copy(update={"steps": study.compute.equal_steps(changed)})
    network_seed = seed if study.teachers == "per_seed" else 0
    teacher = changed.teacher.model_copy(update={"seed": network_seed})
    changed = changed.model_copy(update={"student": student, "teacher": teacher})
    teacher_folder, model_folder = None, None
    if "lgad" in variant.method and changed.distillation.teacher == "before":
        teacher_folder = _shared(
            folder / "teachers", changed.teachers_network, teacher, changed.teacher_input, study.data
        )
    if variant.method == "logits":
        theirs = student.model_copy(update={"seed": network_seed})
        model_folder = _shared(folder / "models", study.model, theirs, study.data)
    place = folder / name / f"seed{seed}"
    return Work("student", changed, changed.network, place, variant.method, teacher_folder, model_folder)


def _of_length(recipe: Recipe, steps: int) -> Recipe:
    """Return the recipe with another number of student steps, and its loss schedules scaled with it."""
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
        }
    )


def _shared(folder: Path, *settings: BaseModel) -> Path:
    """A folder named by what is trained in it, so that variants share what they can."""
    text = json.dumps([entry.model_dump(mode="json") for entry in settings])
    return folder / blake2b(text.encode(), digest_size=6).hexdigest()
