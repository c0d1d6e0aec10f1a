"""Settings of the synthetic data set: seed, sizes of the splits, and the share of each scenario."""

import numpy as np
from pydantic import Field

from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.config.splits import SCENARIOS, Scenario, Split

#: Number of frames of each scenario in the official CULane test list; it determines the shares.
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

#: Index of the first frame of each split; with fixed starts a split does not change when another one grows.
SPLIT_START: dict[Split, int] = {"train": 0, "val": 10_000_000, "test": 20_000_000}


class SyntheticConfig(BaseConfig):
    """Size and seed of a synthetic data set.

    Attributes:
        seed: seed of the world; each frame is a function of the seed and its index.
        train: number of training frames.
        val: number of validation frames.
        test: number of test frames; with 9 or more, every scenario occurs.
    """

    seed: int = Field(default=0, ge=0)
    train: int = Field(default=1500, ge=0, le=10_000_000)
    val: int = Field(default=150, ge=0, le=10_000_000)
    test: int = Field(default=300, ge=0, le=10_000_000)


def scenario_counts(total: int) -> dict[Scenario, int]:
    """Divide frames among the scenarios by CULane's shares, with at least one in thirty for each.

    The minimum (at least one frame) keeps rare scenarios measurable in a small split. Fewer than nine frames
    go to the most frequent scenarios.

    Args:
        total: number of frames.

    Returns:
        Number of frames of each scenario; the sum is `total`.
    """
    if total < len(SCENARIOS):
        common = sorted(SCENARIOS, key=lambda name: -CULANE_TEST_COUNTS[name])[:total]
        return {name: int(name in common) for name in SCENARIOS}
    floor = max(1, total // 30)
    counts: dict[Scenario, int] = {}
    rest, shares = total, sum(CULANE_TEST_COUNTS.values())
    # From the rarest scenario on, each gets its share of the remaining frames, or the minimum.
    for name in sorted(SCENARIOS, key=lambda name: CULANE_TEST_COUNTS[name]):
        counts[name] = max(floor, round(rest * CULANE_TEST_COUNTS[name] / shares))
        rest -= counts[name]
        shares -= CULANE_TEST_COUNTS[name]
    return {name: counts[name] for name in SCENARIOS}


def scenario_plan(config: SyntheticConfig, split: Split) -> list[Scenario]:
    """Return the scenario of each frame of a split, in frame order.

    Args:
        config: seed and sizes of the splits.
        split: train, val or test.
    """
    counts = scenario_counts(getattr(config, split))
    plan = [name for name in SCENARIOS for _ in range(counts[name])]
    order = np.random.default_rng([config.seed, SPLIT_START[split]]).permutation(len(plan))
    return [plan[i] for i in order]
