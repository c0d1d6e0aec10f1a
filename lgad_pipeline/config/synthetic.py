"""What the synthetic data set is made of: its size, its splits and the share of each scenario."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from lgad_pipeline.config.splits import SCENARIOS, Scenario, Split

#: Frames of each scenario in the official CULane test list, which sets the shares here.
CULANE_TEST_COUNTS: dict[Scenario, int] = {
    "normal": 9621,
    "crowd": 8113,
    "dazzle": 486,
    "shadow": 930,
    "noline": 4067,
    "arrow": 890,
    "curve": 422,
    "crossroad": 3122,
    "night": 7029,
}

#: Index of the first frame of each split: a split does not change when another one grows.
SPLIT_START: dict[Split, int] = {"train": 0, "val": 10_000_000, "test": 20_000_000}


class SyntheticConfig(BaseModel):
    """Size and seed of a synthetic data set.

    Attributes:
        seed: every frame is a function of this and of its own index.
        train: frames to train on.
        val: frames to choose models on.
        test: frames for the final evaluation; all nine scenarios are in it from 9 frames on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0)
    train: int = Field(default=1500, ge=0, le=10_000_000)
    val: int = Field(default=150, ge=0, le=10_000_000)
    test: int = Field(default=300, ge=0, le=10_000_000)


def scenario_counts(total: int) -> dict[Scenario, int]:
    """Divide `total` frames among the scenarios: CULane's shares, and at least one in thirty of each.

    The floor (one frame at least) keeps the rare scenarios measurable in a small split. Fewer than nine
    frames go to the commonest scenarios.
    """
    if total < len(SCENARIOS):
        common = sorted(SCENARIOS, key=lambda name: -CULANE_TEST_COUNTS[name])[:total]
        return {name: int(name in common) for name in SCENARIOS}
    floor = max(1, total // 30)
    counts: dict[Scenario, int] = {}
    rest, shares = total, sum(CULANE_TEST_COUNTS.values())
    # From the rarest on, each takes its share of what the rarer ones have left, or the floor.
    for name in sorted(SCENARIOS, key=lambda name: CULANE_TEST_COUNTS[name]):
        counts[name] = max(floor, round(rest * CULANE_TEST_COUNTS[name] / shares))
        rest -= counts[name]
        shares -= CULANE_TEST_COUNTS[name]
    return {name: counts[name] for name in SCENARIOS}


def scenario_plan(config: SyntheticConfig, split: Split) -> list[Scenario]:
    """The scenario of every frame of a split, in frame order."""
    counts = scenario_counts(getattr(config, split))
    plan = [name for name in SCENARIOS for _ in range(counts[name])]
    order = np.random.default_rng([config.seed, SPLIT_START[split]]).permutation(len(plan))
    return [plan[i] for i in order]
