"""What lgad.yaml says of training by itself: when, which recipes, and who is told when it fails."""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator


class RetrainConfig(BaseModel):
    """How the models of one data set follow its data.

    Attributes:
        cron: when the schedule looks for what is stale: minute, hour, day of the month, month, weekday.
        timezone: of `cron`, such as Europe/Berlin.
        recipes: which are trained; every recipe of lgad.yaml unless named.
        quiet_seconds: how long nothing in the folder may have changed before new frames are taken up, so
            that a drive that is still being copied waits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    recipes: tuple[str, ...] = ()
    quiet_seconds: float = Field(default=60, ge=0)

    @field_validator("cron")
    @classmethod
    def _has_five_fields(cls, cron: str) -> str:
        if len(cron.split()) != 5:
            raise ValueError("give five fields: minute, hour, day of the month, month, weekday")
        return cron

    @field_validator("timezone")
    @classmethod
    def _is_known(cls, timezone: str) -> str:
        if timezone != "UTC":  # which needs no time zone database
            try:
                ZoneInfo(timezone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError("no such time zone; name one like Europe/Berlin") from error
        return timezone


class NotifyConfig(BaseModel):
    """Who is told when a run fails for good.

    Attributes:
        command: program and arguments; it gets the message as JSON on its standard input. No shell reads it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: Annotated[tuple[str, ...], Field(min_length=1)]
