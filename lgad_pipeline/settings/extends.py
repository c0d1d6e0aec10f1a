"""Recipes that extend another recipe: the keys of both are merged before they are validated."""

from collections.abc import Mapping
from typing import Any

from lgad_pipeline.config.mistakes import shown
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings.yaml_files import merged

EXTENDS = "extends"


class ExtendsError(LgadError):
    """Key `extends` that names no recipe, or a recipe that extends itself.

    Attributes:
        recipe: Name of the recipe that has the key.
    """

    def __init__(self, recipe: str, reason: str) -> None:
        self.recipe = recipe
        super().__init__(reason)


def resolve_extends(recipes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return recipes in which every `extends` is replaced by the keys of the recipe that it names.

    The keys of a recipe replace those of the recipe that it extends. Nested keys are merged at every depth,
    lists are replaced as a whole. A recipe that is extended may extend another one.

    Args:
        recipes: Recipes as they are written in the settings file, not validated.

    Raises:
        ExtendsError: `extends` names no recipe, or recipes extend each other in a circle.
    """
    return {name: _resolved(name, recipes, ()) for name in recipes}


def _resolved(name: Any, recipes: Mapping[Any, Any], extending: tuple[Any, ...]) -> Any:
    """Return one recipe with the keys that it inherits.

    Args:
        name: Name of the recipe.
        recipes: All recipes.
        extending: Names of the recipes that extend this one, the first one first.
    """
    recipe = recipes[name]
    if not isinstance(recipe, Mapping) or EXTENDS not in recipe:
        return recipe
    base = recipe[EXTENDS]
    if not isinstance(base, str) or base not in recipes:
        names = ", ".join(sorted(str(known) for known in recipes if known != name))
        raise ExtendsError(name, f"is {shown(base)}; name one of the recipes: {names or 'none'}")
    chain = (*extending, name)
    if base in chain:
        circle = " -> ".join(map(str, (*chain, base)))
        raise ExtendsError(name, f"makes a circle ({circle}); remove one of these `{EXTENDS}`")
    inherited = _resolved(base, recipes, chain)
    own = {key: value for key, value in recipe.items() if key != EXTENDS}
    return merged(inherited, own) if isinstance(inherited, Mapping) else own
