"""Settings of automatic retraining: schedule, recipes, and the command that is run on failure."""

import re
from typing import Annotated, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from lgad_pipeline.config.base import BaseConfig

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTH_DAYS = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)  # greatest number of days, by month from 1
_CRON_ITEM = re.compile(r"(?:\*|(?P<first>\d{1,2})(?:-(?P<last>\d{1,2}))?)(?:/(?P<step>\d{1,2}))?", re.ASCII)


class _CronField(NamedTuple):
    """Field of cron: its name, its least and greatest value, and names of values, the least one first."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def items(self, text: str) -> list[tuple[int | None, int | None, int | None]]:
        """Return first value, last value and step of each item of the text, such as "1-5,*/20" or "mon-fri".

        Raises:
            ValueError: the text cannot be read, or a value is out of range.
        """
        numbers = {name: str(number) for number, name in enumerate(self.names, self.low)}
        items = []
        for item in text.split(","):
            # "1feb" is no item: a name starts and ends where a word does.
            plain = re.sub(r"\b[a-z]+\b", lambda word: numbers.get(word[0], word[0]), item.lower())
            match = _CRON_ITEM.fullmatch(plain)
            if match is None:
                raise ValueError(f'{self.name} {item!r} cannot be read; every night at two is "0 2 * * *"')
            first, last, step = (
                None if value is None else int(value) for value in match.group("first", "last", "step")
            )
            for value in (first, last):
                if value is not None and not self.low <= value <= self.high:
                    raise ValueError(f"{self.name} {value} is not in {self.low}..{self.high}")
            if step is not None and not 1 <= step <= self.high:
                raise ValueError(f"the step {step} of {self.name} is not in 1..{self.high}")
            if self._is_one_value(first, last):
                raise ValueError(
                    f"the {self.name} {item!r} is every {self.name} in Dagster; write {first} alone"
                )
            items.append((first, last, step))
        return items

    def values(self, text: str) -> set[int]:
        """Return the values that the text means; not for weekdays, of which 0 and 7 are the same."""
        return {value for item in self.items(text) for value in self._range(*item)}

    def _is_one_value(self, first: int | None, last: int | None) -> bool:
        """Return True for a range of one value, such as 7-7, or 7-0 in weekdays (both are Sunday)."""
        if first is None or last is None:
            return False
        return first == last or (bool(self.names) and (first, last) == (7, 0))

    def _range(self, first: int | None, last: int | None, step: int | None) -> set[int]:
        """Return the values of an item; a range whose last value is below the first one goes over the end."""
        if first is None:
            first, last = self.low, self.high
        elif last is None:
            last = first if step is None else self.high
        if last >= first:
            return set(range(first, last + 1, step or 1))
        return set([*range(first, self.high + 1), *range(self.low, last + 1)][:: step or 1])


_DAY, _MONTH = _CronField("day", 1, 31), _CronField("month", 1, 12, _MONTHS)
_CRON = (
    _CronField("minute", 0, 59),
    _CronField("hour", 0, 23),
    _DAY,
    _MONTH,
    _CronField("weekday", 0, 7, _WEEKDAYS),  # 0 and 7 are Sunday
)


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
        for field, text in zip(_CRON, fields, strict=True):
            field.items(text)
        first_day = min(_DAY.values(fields[2]))
        if first_day > max(_MONTH_DAYS[month] for month in _MONTH.values(fields[3])):
            raise ValueError(f"day {first_day} does not occur in these months; name an earlier day")
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


class NotifyConfig(BaseConfig):
    """Notification of runs that failed and are not tried again, and of new champions.

    Attributes:
        command: program and arguments; it gets the message as JSON on its standard input. No shell reads it.
    """

    command: Annotated[tuple[str, ...], Field(min_length=1)]
