"""Settings of a study: methods, variants, seeds and data."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, ValidationError, model_validator

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.methods import Method, is_import_path, short_name
from lgad_pipeline.config.mistakes import mistakes, no_number, switched_on
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Name, NetworkChoice, Recipe
from lgad_pipeline.settings.yaml_files import merged, read_yaml

BASELINE, EQUAL_COMPUTE = "alone", "equal-compute"

_LGAD = ("lgad", "lgad+sad", EQUAL_COMPUTE)
METHODS_OF = {
    "distillation": (*_LGAD, "blurred", "label-head"),
    "teacher": _LGAD,
    "teacher_network": _LGAD,
    "teacher_input": _LGAD,
    "sad": ("sad", "lgad+sad"),
    "logits": ("logits",),
    "losses": ("lgad", "lgad+sad"),
    "label_head": ("label-head",),
}
"""Methods on which a section of the recipe has an effect; losses of other packages may read any section."""


class Variant(BaseConfig):
    """Method of a study and changes to its recipe.

    Attributes:
        method: losses of the student: labels `alone`, or also `lgad`, `sad`, both, or `logits`; or a control:
            `blurred` label maps in place of LGAD's teacher, an auxiliary `label-head` on LGAD's layers, or
            labels alone with `equal-compute`, which has as many steps as LGAD and its teacher cost; or the
            import path of a `RegisteredLoss`, `my_package.losses:MyLoss`, whose settings are in `losses`.
        recipe: keys of the recipe to change, such as `{distillation: {weight: 0.3}}`; nested keys that are
            not given keep the recipe's values. Only keys of the losses and the teacher are allowed, because
            the students of a pair must not differ in anything else.
        steps: number of the student's optimizer steps, in place of those of the study or the recipe; the
            schedules of all distillation losses are scaled by the same factor. With `equal-compute` these are
            the steps of the LGAD student whose cost is counted.
        init: directory of the trained network that the student starts from, relative to the working
            directory; None for the recipe's.
    """

    method: Method = "lgad"
    recipe: dict[
        Literal[
            "distillation",
            "sad",
            "logits",
            "losses",
            "label_head",
            "teacher",
            "teacher_network",
            "teacher_input",
        ],
        dict[str, Any],
    ] = Field(default={})
    steps: int | None = Field(default=None, ge=1)
    init: str | None = None

    @model_validator(mode="after")
    def _has_numbers(self) -> Self:
        if keys := next(switched_on(self.recipe, Recipe), None):
            raise ValueError(f"recipe.{no_number(keys)}")
        return self

    def applied(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the changes applied.

        Raises:
            pydantic.ValidationError: a key or value is wrong.
        """
        changes = self.recipe if self.init is None else {**self.recipe, "init": self.init}
        return Recipe.model_validate(merged(recipe.model_dump(), changes))

    def without_effect(self, recipe: Recipe) -> str:
        """Return the reason, with the remedy, why a change cannot change the student; empty if all can.

        Args:
            recipe: recipe to which the changes are applied.
        """
        for section, changes in self.recipe.items():
            if not is_import_path(self.method) and self.method not in METHODS_OF[section]:
                methods = " or ".join(METHODS_OF[section])
                return (
                    f"recipe.{section} has no effect on the method {self.method}; write `method: {methods}`"
                )
            try:
                loss = getattr(self.applied(recipe), section)
            except ValidationError:
                return ""  # reported where the changes are applied
            if "seed" in changes and section == "teacher":
                return "recipe.teacher.seed has no effect, because teachers have the seeds of the study"
            for key in changes:
                if reason := inactive(loss, key):
                    return f"recipe.{section}.{key} has no effect, because {reason}"
        return ""


def inactive(loss: object, key: str) -> str:
    """Return the reason, with the remedy, why a key of the settings of a loss has no effect; empty if it has.

    Args:
        loss: settings of the loss, or other settings, whose keys all have an effect.
        key: key of these settings.
    """
    if key == "weight" and getattr(loss, "balance", None) is not None:
        return "`balance` replaces it; change balance, or set it to null"
    if key == "temperature" and getattr(loss, "normalization", "softmax") != "softmax":
        return "only `normalization: softmax` has a temperature; write it, too, or take the key out"
    return ""


class ComputeCost(BaseConfig):
    """Cost of training steps, in steps of the student alone with as many frames.

    `distilled_step` is measured (docs/method.md, `python benchmarks/distillation.py`); `teacher_step` is an
    assumption: teacher and student have the same layers but for the first.

    Attributes:
        distilled_step: cost of a student's step with the LGAD loss, the forward of the teacher included.
        teacher_step: cost of a teacher's step.
    """

    distilled_step: float = Field(default=1.3, ge=1)
    teacher_step: float = Field(default=1.0, ge=0)

    def equal_steps(self, recipe: Recipe) -> int:
        """Return the number of steps that cost as much as a teacher and a student with LGAD."""
        return round(self.spent(recipe, recipe.student.steps))

    def spent(self, recipe: Recipe, steps: int) -> float:
        """Return the cost of a teacher and the first steps of a student with LGAD."""
        student, teacher, lgad = recipe.student, recipe.teacher, recipe.distillation
        distilled = sum(lgad.weight_at(step) > 0 for step in range(steps))
        frames = teacher.steps * teacher.batch_size / student.batch_size
        teacher_steps = frames if lgad.teacher == "before" else steps
        return steps + (self.distilled_step - 1) * distilled + self.teacher_step * teacher_steps


class StudyData(BaseConfig):
    """Changes of a study to its data.

    Attributes:
        label_noise: noise in the labels of the training split, for teachers and students; validation and
            test labels are never changed.
    """

    label_noise: LabelNoiseConfig | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        noise = self.label_noise
        if noise is not None and not (noise.drop or noise.shift):
            raise ValueError("label_noise has neither drop nor shift, so that it changes nothing; set one")
        if noise is not None and noise.shift and not noise.shifted:
            raise ValueError("label_noise.shifted is 0, so that shift moves no lane; take one of them out")
        return self


class GainStudy(BaseConfig):
    """Settings of a study: students of several methods, paired by seed with students trained alone.

    Attributes:
        dataset: name of the data set for training and test.
        recipes: names of the recipes, each of which is compared separately.
        methods: methods to compare with `alone`, with the unchanged recipe; an import path of a loss is
            named by its class.
        variants: further methods by name, with changes to the recipe, for ablations.
        seeds: number of pairs; a pair shares initial weights, batches, augmentation and dropout masks.
        first_seed: seed of the first pair; the others have the next seeds. Settings that were chosen by some
            seeds are tested on others.
        steps: number of the students' optimizer steps; None for the recipe's. `start_step`, `warmup_steps`
            and `stop_step` of all distillation losses are scaled by the same factor.
        teachers: `shared` for one teacher for all seeds, or `per_seed` for one each, which adds the variation
            between teachers to the interval.
        model: network whose logits are mimicked, trained with the student's settings.
        compute: cost of steps, for the method `equal-compute`.
        data: changes to the data, for all trainings of the study.
    """

    dataset: str = "synthetic"
    recipes: tuple[str, ...] = Field(default=("enet",), min_length=1)
    methods: tuple[Method, ...] = ("lgad", "sad", "lgad+sad", "logits")
    variants: dict[Name, Variant] = Field(default={})
    seeds: int = Field(default=5, ge=1)
    first_seed: int = Field(default=0, ge=0)
    steps: int | None = Field(default=None, ge=1)
    teachers: Literal["shared", "per_seed"] = "shared"
    model: NetworkChoice = NetworkChoice(name="erfnet")
    compute: ComputeCost = ComputeCost()
    data: StudyData = StudyData()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        names = [BASELINE, *(short_name(method) for method in self.methods if method != BASELINE)]
        reserved = set(names) & set(self.variants)
        if reserved:
            raise ValueError(f"variants {', '.join(sorted(reserved))} have names of methods; rename them")
        if len(set(names)) < len({BASELINE, *self.methods}):
            raise ValueError("two methods have one class name; give one of them another name under variants")
        return self

    @property
    def all_variants(self) -> dict[str, Variant]:
        """Return the baseline, the methods and the named variants, in this order."""
        methods = {short_name(method): Variant(method=method) for method in (BASELINE, *self.methods)}
        return {**methods, **self.variants}

    def require_effects(self, file: str, recipes: Iterable[Recipe]) -> None:
        """Check that each change of a variant can change the student.

        Args:
            file: name of the file of the study, for the error.
            recipes: recipes of the study.

        Raises:
            LgadError: a change has no effect; the error names the variant, the key and the remedy.
        """
        for recipe, (name, variant) in product(recipes, self.variants.items()):
            if reason := variant.without_effect(recipe):
                raise LgadError(f"{file}: variants.{name}.{reason}.")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the YAML file of a study; see `read_study`."""
        return read_study(path, cls)


Study = TypeVar("Study", bound=BaseConfig)


def read_study(path: Path, kind: type[Study], *, what: str = "study") -> Study:
    """Read the YAML file of a study or a search.

    Args:
        path: YAML file of the study.
        kind: class of its settings.
        what: its name in errors, `study` or `search`.

    Raises:
        LgadError: the file cannot be read, or contains wrong keys or values, which are all listed.
    """
    if not path.is_file():
        reason = "it is a directory" if path.is_dir() else "there is no such file"
        raise LgadError(f"{path} cannot be read ({reason}); give the YAML file of a {what}.")
    content = read_yaml(path) or {}
    if not isinstance(content, dict):
        raise LgadError(f"{path} contains no keys; give the YAML file of a {what}.")
    if numbers := [f"{path.name}: {no_number(keys)}." for keys in switched_on(content, kind)]:
        raise LgadError("\n".join(numbers))
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise LgadError(mistakes(path.name, error, root=kind)) from error
