"""Settings of automatic retraining: schedule, recipes, and the command that is run on failure."""

import re
from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from lgad_pipeline.config.base import BaseConfig

_CRON_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_MONTH_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # greatest number of days, by month from 1
_NAMES = (
    ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
)
_CRON_NAMES = {
    **{name: str(number) for number, name in enumerate(_NAMES[0], 1)},
    **{name: str(number) for number, name in enumerate(_NAMES[1])},
}
_VALUE = rf"\d{{1,2}}|{'|'.join(_CRON_NAMES)}"
_CRON_ITEM = re.compile(rf"(?:\*|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)(?:/(?P<step>\d{{1,2}}))?")


class RetrainConfig(BaseConfig):
    """Automatic retraining of the models of one data set.

    Attributes:
        cron: time at which stale results are searched and made again: minute, hour, day of the month, month,
            weekday.
        timezone: time zone of `cron`, such as Europe/Berlin.
        recipes: recipes that are trained; all recipes if none is named.
        quiet_seconds: seconds for which nothing in the folder may have changed before new frames are
            processed, so that frames that are still being copied wait.
    """

    cron: str = "0 2 * * *"
    timezone: str = "UTC"
    recipes: tuple[str, ...] = ()
    quiet_seconds: float = Field(default=60, ge=0)

    @field_validator("cron")
    @classmethod
    def _is_a_schedule(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != 5:
            raise ValueError("give five fields: minute, hour, day of the month, month, weekday")
        chosen: dict[str, set[int]] = {}
        for field, (name, low, high) in zip(fields, _CRON_FIELDS, strict=True):
            chosen[name] = set()
            for item in field.split(","):
                match = _CRON_ITEM.fullmatch(item.lower())
                if match is None:
                    raise ValueError(f'{name} {item!r} cannot be read; every night at two is "0 2 * * *"')
                values = [_CRON_NAMES.get(value, value) for value in match.groups() if value]
                for value in values[: 2 if match["first"] else 0]:
                    if not low <= int(value) <= high:
                        raise ValueError(f"{name} {value} is not in {low}..{high}")
                if match["step"] and int(match["step"]) < 1:
                    raise ValueError(f"{name} {item!r} has a step below 1")
                chosen[name] |= _values(match, low, high)
        longest = max(_MONTH_DAYS[month] for month in chosen["month"])
        if min(chosen["day"]) > longest:
            raise ValueError(f"day {min(chosen['day'])} does not occur in these months; name an earlier day")
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


def _values(item: re.Match[str], low: int, high: int) -> set[int]:
    """Return the values that an item of a field of cron, such as 1-5 or */2, means.

    Args:
        item: match of `_CRON_ITEM`.
        low: least value of the field.
        high: greatest value of the field.
    """
    first, last, step = (
        None if text is None else int(_CRON_NAMES.get(text, text))
        for text in item.group("first", "last", "step")
    )
    if first is None:
        first, last = low, high
    elif last is None:
        last = first if step is None else high
    values = range(first, last + 1) if last >= first else (*range(first, high + 1), *range(low, last + 1))
    return set(values[:: step or 1])


class NotifyConfig(BaseConfig):
    """Notification of runs that failed and are not tried again, and of new champions.

    Attributes:
        command: program and arguments; it gets the message as JSON on its standard input. No shell reads it.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
