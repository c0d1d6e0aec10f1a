"""What a study trains and compares."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Name, NetworkChoice, Recipe

Method = Literal["alone", "lgad", "sad", "lgad+sad", "logits", "blurred", "label-head", "equal-compute"]
BASELINE = "alone"


class Variant(BaseModel):
    """A method, and what its recipe does otherwise than the study's.

    Attributes:
        method: What the student learns from: labels `alone`, or also `lgad`, `sad`, both, or `logits`; or a
            control: `blurred` label maps in the place of LGAD's teacher, an auxiliary `label-head` at LGAD's
            layers, or labels alone with `equal-compute`, as many steps as LGAD and its teacher cost.
        recipe: keys of the recipe to change, such as `{distillation: {weight: 0.3}}`; nested keys that are
            not named keep the recipe's values. Only what concerns lessons and teacher: the pairs must differ
            in nothing else.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Method = "lgad"
    recipe: dict[
        Literal["distillation", "sad", "logits", "label_head", "teacher", "teacher_network", "teacher_input"],
        dict[str, Any],
    ] = {}

    def applied(self, recipe: Recipe) -> Recipe:
        """Return the recipe with the changes made.

        Raises:
            pydantic.ValidationError: a key or value is wrong.
        """
        return Recipe.model_validate(_merged(recipe.model_dump(), self.recipe))


class ComputeCost(BaseModel):
    """Cost of training steps, in steps of the student alone with as many frames.

    The defaults are measured: docs/method.md, `python benchmarks/distillation.py`.

    Attributes:
        distilled_step: Step of the student while LGAD's loss is on; its teacher's forward is part of it.
        teacher_step: Step of the teacher.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    distilled_step: float = Field(default=1.3, ge=1)
    teacher_step: float = Field(default=1.0, ge=0)

    def equal_steps(self, recipe: Recipe) -> int:
        """Return how many steps of the student alone cost as much as a teacher and a distilled student."""
        student, teacher, lgad = recipe.student, recipe.teacher, recipe.distillation
        distilled = sum(lgad.weight_at(step) > 0 for step in range(student.steps))
        frames = teacher.steps * teacher.batch_size / student.batch_size
        taught = frames if lgad.teacher == "before" else student.steps
        extra = (self.distilled_step - 1) * distilled + self.teacher_step * taught
        return round(student.steps + extra)


class StudyData(BaseModel):
    """Changes of a study to its data.

    Attributes:
        label_noise: Noise in the labels that teachers and students are trained on; validation and test
            labels are never changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    label_noise: LabelNoiseConfig | None = None


class GainStudy(BaseModel):
    """Students of several methods, paired by seed with students that learn alone.

    Attributes:
        dataset: name of the data set, trained and tested on.
        recipes: names of the recipes; each is a comparison of its own.
        methods: to compare with `alone`, as the recipe says.
        variants: further named methods with changes to the recipe: the ablation.
        seeds: pairs, seeds 0, 1, ...; a pair shares initial weights, batches, augmentation and dropout.
        steps: optimizer steps of the students; None for the recipe's. `start_step`, `warmup_steps` and
            `stop_step` of `distillation`, `sad` and `logits`, which count the recipe's steps, are scaled.
        teachers: `shared` by all seeds, or one `per_seed`, which counts a teacher's luck into the interval.
        model: the network whose logits are mimicked, trained with the student's settings.
        compute: Cost of steps, for the method `equal-compute`.
        data: Changes to the data, for all trainings of the study.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = "synthetic"
    recipes: tuple[str, ...] = Field(default=("enet",), min_length=1)
    methods: tuple[Method, ...] = ("lgad", "sad", "lgad+sad", "logits")
    variants: dict[Name, Variant] = {}
    seeds: int = Field(default=5, ge=1)
    steps: int | None = Field(default=None, ge=1)
    teachers: Literal["shared", "per_seed"] = "shared"
    model: NetworkChoice = NetworkChoice(name="erfnet")
    compute: ComputeCost = ComputeCost()
    data: StudyData = StudyData()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        taken = {*self.methods, BASELINE} & set(self.variants)
        if taken:
            raise ValueError(f"variants {', '.join(sorted(taken))} have names of methods; rename them")
        return self

    @property
    def all_variants(self) -> dict[str, Variant]:
        """The baseline, the methods and the named variants, in this order."""
        methods = {name: Variant(method=name) for name in (BASELINE, *self.methods)}
        return {**methods, **self.variants}

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a study's YAML file.

        Raises:
            LgadError: the file cannot be read, or holds a wrong key or value; all are named.
        """
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
            if not isinstance(content, dict):
                raise LgadError(f"{path} holds no keys; name a study's YAML file.")
            return cls.model_validate(content)
        except OSError as error:
            raise LgadError(f"{path} cannot be read ({error.strerror}); name a study's YAML file.") from error
        except (UnicodeDecodeError, RecursionError) as error:
            raise LgadError(f"{path} is no YAML text; name a study's YAML file.") from error
        except yaml.YAMLError as error:
            place = " ".join(str(error).split())
            raise LgadError(f"{path} is not valid YAML: {place}; correct the line named.") from error
        except ValidationError as error:
            raise LgadError(mistakes(path.name, error)) from error


def mistakes(where: str, error: ValidationError) -> str:
    """Return a sentence for each mistake, with its key."""
    return "\n".join(
        f"{where}: {'.'.join(map(str, details['loc']))}: {details['msg']}; correct it."
        for details in error.errors()
    )


def _merged(old: Mapping[str, Any], new: Mapping[Any, Any]) -> dict[str, Any]:
    merged = dict(old)
    for key, value in new.items():
        below = merged.get(key)
        if isinstance(value, Mapping) and isinstance(below, Mapping):
            value = _merged(below, value)
        merged[key] = value
    return merged
