"""Names of the splits of a data set, and of the scenarios of CULane's test split."""

from typing import Literal, get_args

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
SCORED_SPLITS: tuple[Split, ...] = ("val", "test")

# In the order of CULane's list/test_split/test0_*.txt .. test8_*.txt.
Scenario = Literal["normal", "crowd", "dazzle", "shadow", "noline", "arrow", "curve", "crossroad", "night"]
SCENARIOS: tuple[Scenario, ...] = get_args(Scenario)
