"""Contents of lgad.yaml and lgad.local.yaml, with the file that each key is from."""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from lgad_pipeline.config.mistakes import key_path, no_number, sentence, switched_on
from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings.extends import EXTENDS, ExtendsError, resolve_extends
from lgad_pipeline.settings.relative_paths import with_absolute_paths, with_absolute_weights
from lgad_pipeline.settings.yaml_files import (
    comments_behind_roots,
    holds,
    local_path,
    merged,
    read_yaml,
)


class SettingsFiles:
    """Contents of lgad.yaml and lgad.local.yaml, not validated.

    Args:
        path: lgad.yaml.

    Raises:
        LgadError: a file cannot be read, is not YAML, or has no keys.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.local_path = path, local_path(path)
        content = _mapping(path, read_yaml(path), required=True)
        # A link to a missing file is an error: without its settings, others would be in force.
        exists = self.local_path.exists() or self.local_path.is_symlink()
        self.local = _mapping(self.local_path, read_yaml(self.local_path)) if exists else {}
        # A section whose entries are all commented out is None in YAML; it replaces nothing.
        empty = {key for key in ("datasets", "recipes") if self.local.get(key) is None}
        self.content = merged(content, {key: value for key, value in self.local.items() if key not in empty})

    def complete(self) -> dict[Any, Any]:
        """Return the contents with the data set `synthetic`, absolute roots and inherited keys of recipes."""
        return self._with_inherited_keys(self._with_datasets())

    def switched_on(self, model: type[BaseModel]) -> list[tuple[str, str]]:
        """Return a sentence for each number that is `yes`, with the name of its data set or "".

        Args:
            model: class of all settings.
        """
        return [
            (_dataset_of(keys), f"{self.file_of(keys)}: {no_number(keys)}.")
            for keys in switched_on(self.content, model)
        ]

    def replaced_weights(self, recipes: Mapping[str, Recipe]) -> list[str]:
        """Return a sentence for each `weight` of a recipe that an inherited `balance` replaces.

        Args:
            recipes: validated recipes with their inherited keys.
        """
        found = []
        for name, loss in product(recipes, ("distillation", "sad", "label_head")):
            own = self.content["recipes"][name].get(loss) or {}
            if "weight" in own and "balance" not in own and getattr(recipes[name], loss).balance is not None:
                keys = ("recipes", name, loss, "weight")
                found.append(
                    f"{self.file_of(keys)}: {'.'.join(keys)} has no effect, because the recipe inherits "
                    "`balance`, which replaces it; write balance, or `balance: null` to use the weight."
                )
        return found

    def without_lanes(self, recipes: Mapping[str, Recipe]) -> list[str]:
        """Return a sentence for each threshold with which a recipe finds no lane, or random ones.

        Args:
            recipes: validated recipes.
        """
        found = []
        for name, recipe in recipes.items():
            decode = recipe.decode
            for key in ("existence_threshold", "peak_threshold"):
                if getattr(decode, key) == 1:
                    found.append(
                        (("recipes", name, "decode", key), "is 1, which no probability exceeds; lower it")
                    )
            if not recipe.student.existence_weight and decode.existence_threshold > 0:
                reason = (
                    "is 0, so that the existence of lanes is not learned; set decode.existence_threshold to "
                    "0, too, so that it decides nothing"
                )
                found.append((("recipes", name, "student", "existence_weight"), reason))
        return [f"{self.file_of(keys)}: {'.'.join(keys)} {reason}." for keys, reason in found]

    def comments(self) -> dict[str, str]:
        """Return the comment behind the root of each data set of the files, by name of the data set."""
        behind = {**comments_behind_roots(self.path), **comments_behind_roots(self.local_path)}
        if not behind:
            return {}
        return {
            name: behind.get(str(entry.get("root")), "")
            for name, entry in (self.content.get("datasets") or {}).items()
            if isinstance(entry, Mapping)
        }

    def sentences(self, error: ValidationError, model: type[BaseModel], *above: str) -> list[str]:
        """Return a sentence for each mistake that the validation found.

        Args:
            error: error of the validation.
            model: class of all settings, whose keys are suggested.
            above: keys above those of the error.
        """
        sentences = []
        for details in error.errors():
            details["loc"] = (*above, *details["loc"])
            sentences.append(sentence(self.file_of(key_path(details["loc"])), details, root=model))
        return sentences

    def file_of(self, keys: tuple[Any, ...]) -> str:
        """Return the name of the file that has a key; for a missing key, the file of the entry above it."""
        here = len(keys) > 1 and not holds(self.content, keys) and holds(self.local, keys[:-1])
        return self.local_path.name if keys and (here or holds(self.local, keys)) else self.path.name

    def _with_datasets(self) -> dict[Any, Any]:
        """Return the contents with the data set `synthetic`, and with absolute roots."""
        entries = self.content.get("datasets")
        if entries is None:
            entries = {}
        if not isinstance(entries, Mapping):
            return {**self.content, "datasets": entries}
        rooted: dict[Any, Any] = {"synthetic": {"kind": "synthetic"}}
        for name, entry in entries.items():
            is_mapping = isinstance(entry, Mapping)
            rooted[name] = with_absolute_paths(entry, self.path.parent) if is_mapping else entry
        return {**self.content, "datasets": rooted}

    def _with_inherited_keys(self, content: dict[Any, Any]) -> dict[Any, Any]:
        """Return the contents with recipes that have inherited keys and absolute paths."""
        recipes = content.get("recipes")
        if not isinstance(recipes, Mapping):
            return content
        try:
            resolved = resolve_extends(recipes)
        except ExtendsError as error:
            keys = ("recipes", error.recipe, EXTENDS)
            raise LgadError(f"{self.file_of(keys)}: {'.'.join(map(str, keys))} {error}.") from error
        placed = {name: with_absolute_weights(recipe, self.path.parent) for name, recipe in resolved.items()}
        return {**content, "recipes": placed}


def _dataset_of(keys: tuple[Any, ...]) -> str:
    """Return the name of the data set that has a key; empty for a key outside of `datasets`."""
    return str(keys[1]) if len(keys) > 1 and keys[0] == "datasets" else ""


def _mapping(path: Path, content: object, *, required: bool = False) -> Mapping[Any, Any]:
    if content is None and not required:  # an empty file
        return {}
    if not isinstance(content, Mapping):
        raise LgadError(f"{path} has no keys; add `datasets:` and `recipes:`.")
    return content
