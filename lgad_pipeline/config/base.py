"""Base class of all settings."""

from pydantic import BaseModel, ConfigDict


class BaseConfig(BaseModel):
    """Base class of settings: values cannot be changed, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
