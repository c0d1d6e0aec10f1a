"""Paths in entries of lgad.yaml that are relative to the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lgad_pipeline.config.recipe import is_address


def with_absolute_paths(entry: Mapping[Any, Any], folder: Path) -> Mapping[Any, Any]:
    """Return the entry of a data set with absolute paths: its `root`, and the frames of its `suggest`.

    Args:
        entry: entry of the data set, not yet validated.
        folder: directory of the settings file.
    """
    entry = _absolute(entry, "root", folder)
    suggest = entry.get("suggest")
    return (
        {**entry, "suggest": _absolute(suggest, "frames", folder)} if isinstance(suggest, Mapping) else entry
    )


def with_absolute_weights(recipe: Any, folder: Path) -> Any:
    """Return a recipe with absolute paths of initial weights: of its `init`, and `pretrained` of its network.

    Args:
        recipe: recipe, not yet validated.
        folder: directory of the settings file.
    """
    if not isinstance(recipe, Mapping):
        return recipe
    network = recipe.get("network")
    if isinstance(network, Mapping):
        recipe = {**recipe, "network": _absolute(network, "pretrained", folder)}
    init = recipe.get("init")
    if not isinstance(init, str) or not init or is_address(init):
        return recipe
    return {**recipe, "init": str(folder / _expanded(init))}


def _absolute(entry: Mapping[Any, Any], key: str, folder: Path) -> Mapping[Any, Any]:
    path = entry.get(key)
    return {**entry, key: folder / _expanded(path)} if isinstance(path, str) and path else entry


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:  # the user of `~user` does not exist
        return Path(path)
