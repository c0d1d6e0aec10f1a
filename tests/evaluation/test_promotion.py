import numpy as np
import pytest

from lgad_pipeline.config.promotion import PromotionConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.bootstrap import paired_f1_difference
from lgad_pipeline.evaluation.promotion import Verdict, frame_table, judge, scenario_changes

RULE = PromotionConfig(scenario_tolerance=0.02, least_frames=20, latency_factor=1.2)


def scored(hits: int, frames: int, scenario: str = "normal"):
    """Frames with a lane each, of which the first `hits` are found; a miss is one FP and one FN."""
    counts = np.ones((frames, 3), int)
    counts[hits:, 2] = 0
    return frame_table([scenario] * frames, [f"{scenario}{i}" for i in range(frames)], counts=counts)


def verdict(champion, challenger, test=None, latency=(0.01, 0.01)) -> Verdict:
    return judge((champion, challenger), test or (scored(50, 60), scored(50, 60)), latency=latency, rule=RULE)


def test_gain_beyond_noise_is_promoted_and_its_numbers_are_those_of_the_paired_bootstrap():
    champion, challenger = scored(60, 100), scored(75, 100)
    found = verdict(champion, challenger)
    assert found.promoted and found.objections == []
    assert (found.total.champion, found.total.challenger) == (pytest.approx(0.60), pytest.approx(0.75))
    assert found.total.gain == paired_f1_difference(champion, challenger, threshold=0.5)
    assert 0.08 < found.total.gain.low < 0.15 < found.total.gain.high < 0.23


def test_gain_within_noise_and_loss_are_not():
    assert "is not significant" in verdict(scored(60, 100), scored(61, 100)).objections[0]
    assert "loses 10.0 points" in verdict(scored(60, 100), scored(50, 100)).objections[0]
    assert "is not significant" in verdict(scored(60, 100), scored(60, 100)).objections[0]


def test_gain_on_few_validation_frames_is_not_promoted():
    found = verdict(scored(0, 1), scored(1, 1))
    assert found.total.gain.low > 0 and not found.total.judged and not found.promoted
    assert found.objections == ["there are 1 validation frames, fewer than the 20 of least_frames"]
    assert verdict(scored(0, 20), scored(20, 20)).promoted


def test_a_scenario_that_loses_is_a_veto():
    found = verdict(scored(60, 100), scored(75, 100), (scored(50, 60, "night"), scored(40, 60, "night")))
    assert not found.promoted and "scenario night" in found.objections[0]


@pytest.mark.parametrize(
    ("frames", "before", "after"),
    [(15, 15, 5), (60, 50, 49), (500, 500, 491)],
    ids=["few", "noise", "tolerated"],
)
def test_few_frames_noise_and_the_tolerance_are_no_veto(frames, before, after):
    found = verdict(scored(60, 100), scored(75, 100), (scored(before, frames), scored(after, frames)))
    assert found.promoted
    assert found.scenarios[0].judged == (frames >= 20)


def test_frames_without_lanes_are_judged_by_their_false_lanes():
    counts = np.zeros((40, 3), int)
    clean = frame_table(["crossroad"] * 40, [str(i) for i in range(40)], counts=counts)
    counts[:10, 1] = 2  # two false lanes in each of ten frames
    change = scenario_changes(
        clean, frame_table(["crossroad"] * 40, list(clean["frame"]), counts=counts), rule=RULE
    )[0]
    assert (change.champion, change.challenger, change.worse) == (1.0, 0.75, True)


def test_slower_is_a_veto():
    assert (
        "1.50 times as long" in verdict(scored(60, 100), scored(75, 100), latency=(0.01, 0.015)).objections[0]
    )


def test_other_frames_are_an_error():
    with pytest.raises(LgadError, match="different frames"):
        verdict(scored(60, 100), scored(60, 90))
