"""JSON schema of lgad.yaml, with which editors complete keys, show their descriptions and mark mistakes."""

import inspect
import json
import re
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, TypeAdapter

from lgad_pipeline.config.recipe import Recipe
from lgad_pipeline.settings import Name, Settings
from lgad_pipeline.settings.extends import EXTENDS

_ATTRIBUTE = re.compile(r"^(\w+(?:, \w+)*): (.*(?:\n    .*)*)", re.MULTILINE)


def settings_schema() -> dict[str, Any]:
    """Return the JSON schema of lgad.yaml (draft 2020-12).

    The descriptions of the keys are those of the settings classes.
    """
    schema = Settings.model_json_schema(mode="validation")
    definitions = schema["$defs"]
    for model in _models(Settings):
        definition = definitions.get(model.__name__, schema if model is Settings else None)
        if definition is not None:
            _describe(definition, model)
    recipe = definitions[Recipe.__name__]
    recipe["properties"] = {
        EXTENDS: {"description": "Name of the recipe whose keys this one inherits.", "type": "string"},
        **recipe["properties"],
    }
    # The keys that a recipe must have may come from the recipe that it extends.
    recipe["anyOf"] = [{"required": recipe.pop("required")}, {"required": [EXTENDS]}]
    names = TypeAdapter(Name).json_schema()
    for key in ("datasets", "recipes"):
        schema["properties"][key]["propertyNames"] = names
    schema["required"] = ["recipes"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Settings of the LGAD pipeline",
        "description": "Data sets, recipes, and the rules of promotion and notification.",
    }


def schema_text() -> str:
    """Return the JSON schema of lgad.yaml as it is written to a file."""
    return json.dumps(settings_schema(), indent=2) + "\n"


def _models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Iterate over a settings class and the classes of its fields, at every depth."""
    yield model
    for field in model.model_fields.values():
        for part in _parts(field.annotation):
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from _models(part)


def _parts(annotation: Any) -> Iterator[Any]:
    """Iterate over an annotation and the annotations inside it."""
    yield annotation
    for part in get_args(annotation):
        yield from _parts(part)


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    """Give a schema the descriptions in the docstrings of a class and of its base classes."""
    definition["description"] = (inspect.getdoc(model) or "").partition("\n\n")[0].replace("\n", " ")
    for kind in reversed(model.__mro__):
        _, _, attributes = (inspect.cleandoc(kind.__doc__ or "")).partition("Attributes:\n")
        for names, text in _ATTRIBUTE.findall(inspect.cleandoc(attributes)):
            for name in names.split(", "):
                if name in definition.get("properties", {}):
                    sentence = " ".join(text.split())
                    definition["properties"][name]["description"] = sentence[:1].upper() + sentence[1:]
