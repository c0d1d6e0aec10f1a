"""Every value of `retrain.cron` that the settings accept is one that Dagster accepts."""

import random

import dagster as dg
import pytest

from assets.jobs import schedule_of
from lgad_pipeline.config.schedule import RetrainConfig

FIELDS = ((0, 59, "x"), (0, 23, "sun"), (1, 31, "jan"), (1, 12, "feb"), (0, 7, "mon"))


def expression(draw: random.Random) -> str:
    """Return five fields of cron, with names, ranges, lists and steps, valid or not."""

    def item(low: int, high: int, name: str) -> str:
        first, last = (name if draw.random() < 0.1 else f"{draw.randint(low, high)}" for _ in range(2))
        value = draw.choice(["*", first, f"{first}-{last}", first.upper()])
        return value + draw.choice(["", "", "/2", f"/{draw.randint(1, 99)}"])

    return " ".join(",".join(item(*field) for _ in range(draw.choice([1, 1, 2]))) for field in FIELDS)


@pytest.mark.filterwarnings("ignore:Found a cron schedule")
def test_what_the_settings_accept_dagster_accepts() -> None:
    draw, accepted = random.Random(0), 0
    for _ in range(800):
        try:
            retrain = RetrainConfig(cron=expression(draw))
        except ValueError:
            continue
        assert isinstance(schedule_of("drives", retrain), dg.ScheduleDefinition)
        accepted += 1
    assert accepted > 100
