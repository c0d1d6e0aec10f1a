"""Settings of a search: which recipe, which of its keys, in which ranges, how many trials."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.mistakes import mistakes
from lgad_pipeline.config.training import WITHOUT_EFFECT
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Recipe
from lgad_pipeline.studies.config import METHODS_OF, inactive, merged, read_study

Value = bool | int | float | str


class Range(BaseConfig):
    """Range of a number.

    Attributes:
        low: smallest value.
        high: largest value.
        log: True to draw the logarithm evenly, for values over decades; the limits are then above 0.
        whole: True for whole numbers.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 where log is true")
        if self.whole and (self.low % 1 or self.high % 1):
            raise ValueError("low and high must be whole numbers where whole is true")
        return self


class Choices(BaseConfig):
    """Values to choose from."""

    choices: Annotated[tuple[Value, ...], Field(min_length=2)]


def _kind(space: Any) -> str:
    """Return the tag of a searched key: its `choices`, else its `range`."""
    chosen = isinstance(space, Choices) or (isinstance(space, Mapping) and "choices" in space)
    return "choices" if chosen else "range"


Space = Annotated[Annotated[Range, Tag("range")] | Annotated[Choices, Tag("choices")], Discriminator(_kind)]


class SearchStudy(BaseConfig):
    """Settings of a search over keys of a recipe; F1 of the validation frames decides.

    Attributes:
        dataset: name of the data set; its test frames are not used.
        recipe: name of the recipe that is changed.
        method: losses of the student: labels `alone`, or also `lgad` or `sad`.
        trials: number of trials in all, with those of earlier runs in the same directory.
        seed: seed of the trainings, and of the search.
        settings: keys of the recipe, such as `student.optimizer.learning_rate`, each with its range
            (`{low, high, log, whole}`) or its values (`{choices: [...]}`).
    """

    dataset: str = "synthetic"
    recipe: str = "enet"
    method: Literal["alone", "lgad", "sad"] = "lgad"
    trials: int = Field(default=20, ge=1, le=10_000)
    seed: int = Field(default=0, ge=0)
    settings: Annotated[dict[str, Space], Field(min_length=1)]

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the YAML file of a search; see `read_study`."""
        return read_study(path, cls, what="search")

    def without_effect(self, key: str, recipe: Recipe) -> str:
        """Return the reason, with the remedy, why a searched key cannot change the student; empty if it can.

        Args:
            key: searched key, such as `student.steps`.
            recipe: recipe that is changed.
        """
        section, _, name = key.partition(".")
        methods = METHODS_OF.get(section, (self.method,))
        if self.method not in methods:
            return f"the method is {self.method}, and only {methods[0]} reads {section}; take the key out"
        if section in ("student", "teacher") and name == "seed":
            return "trials have the seed of the search; take the key out"
        if section in ("student", "teacher") and name in WITHOUT_EFFECT:
            return "it changes no weights; take the key out"
        if section == "teacher" and not recipe.trains_teacher_first:
            return "the teacher is trained together with the student; take the key out"
        loss = getattr(recipe, section, None)
        if name == "weight" and f"{section}.balance" in self.settings:
            return f"{section}.balance replaces it; take one of the two out"
        return "" if f"{section}.normalization" in self.settings else inactive(loss, name)

    def applied(self, recipe: Recipe, values: Mapping[str, Value]) -> Recipe:
        """Return a recipe with values of the searched keys, and the seed of the search.

        Raises:
            LgadError: a key is unknown, or a value does not fit.
        """
        content = recipe.model_dump()
        for key, value in {**values, "student.seed": self.seed, "teacher.seed": self.seed}.items():
            content = merged(content, _nested(key.split("."), value))
        try:
            return Recipe.model_validate(content)
        except ValidationError as error:
            raise LgadError(mistakes("search", error, root=Recipe)) from error


def _nested(keys: list[str], value: Any) -> dict[str, Any]:
    return {keys[0]: _nested(keys[1:], value) if len(keys) > 1 else value}
