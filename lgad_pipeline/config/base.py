"""Base class of all settings, and the type of their folders."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict


class BaseConfig(BaseModel):
    """Base class of settings: values cannot be changed, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _not_empty(path: object) -> object:
    """Return a path of the settings; an empty one is an error, since it would mean the project's folder."""
    if path == "":
        raise ValueError("it names no folder; write its path")
    return path


FolderPath = Annotated[Path, BeforeValidator(_not_empty)]
"""Path of a folder in the settings."""
