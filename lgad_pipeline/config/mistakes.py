"""Mistakes in settings as sentences: file and key, what is wrong, the remedy."""

import difflib
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from lgad_pipeline.config.datasets import DATASET_KINDS, kind_name
from lgad_pipeline.config.recipe import Recipe

NAME_RULE = "a name has at most 64 lower-case letters, digits, - and _, and starts with a letter or digit"


def sentence(file: str, details: Any, *, root: type[BaseModel]) -> str:
    """Return one mistake as one sentence.

    Args:
        file: Name of the settings file that holds the key.
        details: An entry of `ValidationError.errors()`; its location starts at the top of the file.
        root: Model of the whole file.
    """
    reason = details["msg"].removeprefix("Value error, ")
    if not details["loc"]:  # of several keys together
        return f"{file}: {reason}."
    location = key_path(details["loc"])
    key = ".".join(str(part) for part in location)
    if details["loc"][-1] == "[key]" and details["type"] == "literal_error":
        return f"{file}: {key} is not a known key; the keys here are {details['ctx']['expected']}."
    if details["loc"][-1] == "[key]":
        return f"{file}: {'.'.join(map(str, location[:-1]))} has the name {shown(location[-1])}; {NAME_RULE}."
    if details["type"] == "extra_forbidden":
        known = _known_keys(details["loc"][:-1], root)
        near = difflib.get_close_matches(str(location[-1]), known, n=1)
        remedy = f"the keys here are {', '.join(known)}." if known else "take it out."
        remedy = f"did you mean {near[0]}?" if near else remedy
        return f"{file}: {key} is not a known key; {remedy}"
    if details["type"] in ("missing", "union_tag_not_found"):
        missing = f"{key}.kind" if details["type"] == "union_tag_not_found" else key
        return f"{file}: {missing} is missing; add it."
    if details["type"] == "union_tag_invalid":
        kinds = details["ctx"]["expected_tags"]
        return f"{file}: {key}.kind is {details['ctx']['tag']!r}; the kinds are {kinds}."
    if details["type"] in ("dict_type", "model_type", "model_attributes_type"):
        return f"{file}: {key} is {shown(details['input'])}; write its keys below it, each as `key: value`."
    if details["type"] in ("tuple_type", "list_type"):
        return f"{file}: {key} is {shown(details['input'])}; write it as a list in brackets, such as [a, b]."
    if details["type"] == "finite_number":
        return f"{file}: {key} is {shown(details['input'])}; give a finite number."
    value = "" if isinstance(details["input"], Mapping) else f" is {shown(details['input'])}"
    return f"{file}: {key}{value}: {reason[:1].lower()}{reason[1:]}."


def key_path(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Return the keys of a validation error's location, without the parts that pydantic adds."""
    parts = list(location)
    if parts[:1] == ["datasets"] and len(parts) > 2 and parts[2] in DATASET_KINDS:
        del parts[2]  # the kind, which pydantic names after the data set
    return tuple(part for part in parts if part != "[key]")


def shown(value: object) -> str:
    """Return a value for a sentence, shortened."""
    return reprlib.repr(str(value) if isinstance(value, Path) else value)


def mistakes(file: str, error: ValidationError, *, root: type[BaseModel]) -> str:
    """Return a line for each mistake; see `sentence`."""
    return "\n".join(sentence(file, details, root=root) for details in error.errors())


def switched_on(content: Mapping[Any, Any], root: type[BaseModel]) -> Iterator[tuple[Any, ...]]:
    """Yield the path of keys of each number that is `yes`, which validation would read as 1.

    Args:
        content: values of a settings file, not validated.
        root: model of the whole file.
    """
    for keys in _paths_of_yes(content, ()):
        location: tuple[Any, ...] = keys
        if keys[0] == "datasets":
            kind = kind_name(content["datasets"][keys[1]]) if len(keys) > 2 else None
            if not isinstance(kind, str) or kind not in DATASET_KINDS:
                continue
            location = (*keys[:2], kind, *keys[2:])
        types = value_types(location, root)
        if types & {int, float} and bool not in types:
            yield keys


def value_types(location: tuple[Any, ...], root: type[BaseModel]) -> set[Any]:
    """Return the types that a key of a model can have; none for a key that the model does not have."""
    entry = _entry(location[:-1], root)
    field = entry.model_fields.get(location[-1]) if entry is not None else None
    return {field.annotation, *get_args(field.annotation)} if field is not None else set()


def no_number(keys: tuple[Any, ...]) -> str:
    """Return the clause for a key that `switched_on` yields."""
    return f"{'.'.join(map(str, keys))} is yes; write a number, or leave the key out for the default"


def _paths_of_yes(content: object, keys: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(content, Mapping):
        for key, value in content.items():
            yield from _paths_of_yes(value, (*keys, key))
    elif content is True:
        yield keys


def _known_keys(location: tuple[int | str, ...], root: type[BaseModel]) -> list[str]:
    """Return the keys of the entry that a validation error's location leads to; none below a union."""
    entry = _entry(location, root)
    return list(entry.model_fields) if entry is not None else []


def _entry(location: tuple[int | str, ...], root: type[BaseModel]) -> type[BaseModel] | None:
    """Return the model of the entry that a validation error's location leads to; None below a union."""
    kind: Any = root
    if location[:1] == ("datasets",):
        kind, location = DATASET_KINDS[str(location[2])], location[3:]
    elif location[:1] == ("recipes",):
        kind, location = Recipe, location[2:]
    for part in location:
        if isinstance(part, int):  # the place in a list
            continue
        if _is_model(kind):
            if part not in kind.model_fields:
                return None
            kind = kind.model_fields[part].annotation
            if get_origin(kind) is not dict:
                kind = next(filter(_is_model, (kind, *get_args(kind))), kind)
        elif get_origin(kind) is dict:
            kind = get_args(kind)[1]
    return kind if _is_model(kind) else None


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
