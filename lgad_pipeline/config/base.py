"""Base class of all settings, and the type of their folders."""

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)


class BaseConfig(BaseModel):
    """Base class of settings: values cannot be changed; unknown keys and infinite numbers are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class LaterKeysConfig(BaseConfig):
    """Base class of settings that have got keys for optional functions.

    Such a key is not written while it has its default, so that fingerprints and files are those of a version
    without it.

    Attributes:
        later_keys: names of these keys.
    """

    later_keys: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_defaults_of_later_keys(self, serialized: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content = serialized(self)
        for name in self.later_keys:
            if getattr(self, name) == type(self).model_fields[name].default:
                content.pop(name, None)
        return content


def _not_empty(path: object) -> object:
    """Return a path of the settings; an empty one is an error, since it would mean the project's folder."""
    if path == "":
        raise ValueError("it names no folder; write its path")
    return path


def _no_percentage(share: object) -> object:
    """Return a bound of the settings that is a share; the error for a percentage states the share."""
    if isinstance(share, int | float) and 1 < share <= 100:
        raise ValueError(f"it is a share, at most 1; write {share / 100:g} for {share:g} %")
    return share


Share = Annotated[float, Field(ge=0, le=1), BeforeValidator(_no_percentage)]
"""Bound in the settings, from 0 to 1, that is not written as a percentage."""

FolderPath = Annotated[Path, BeforeValidator(_not_empty)]
"""Path of a folder in the settings."""
