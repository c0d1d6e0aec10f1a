"""The check of a new version against the champion."""

import pytest

from assets.registry import champion_check
from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.evaluation.promotion import judge
from tests.evaluation.test_promotion import scored

RULE = PromotionConfig(scenario_tolerance=0.02, least_frames=20)


@pytest.mark.parametrize(
    ("total", "night", "lost"),
    [
        ((60, 75), (50, 51), []),
        ((60, 61), (50, 49), []),  # within noise
        ((60, 45), (50, 50), ["total"]),
        ((60, 75), (50, 30), ["night"]),
    ],
)
def test_a_version_that_loses_is_named(total, night, lost):
    validation = (scored(total[0], 100), scored(total[1], 100))
    test = (scored(night[0], 60, "night"), scored(night[1], 60, "night"))
    result = champion_check(
        "drives|enet", judge(validation, test, latency=(0.01, 0.01), rule=RULE), reason="why"
    )
    assert result.passed == (not lost)
    assert result.metadata["worse in"].value == lost
    assert "| test, night | 60 |" in str(result.metadata["against the champion"].value)


def test_the_first_version_passes():
    assert champion_check("drives|enet", None, reason="It is the first.").passed
