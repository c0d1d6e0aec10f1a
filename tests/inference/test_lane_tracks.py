"""Smoothing of lanes over time: noise, lag, identity, gaps and single false lanes."""

import numpy as np
import pytest

from lgad_pipeline.inference.frame_predictor import Lane
from lgad_pipeline.inference.lane_tracks import LaneTracker, TrackedLane

SIZE = (540, 960)
RATE = 25


def lane(bottom: float, slot: int = 2, top: float = 300.0) -> Lane:
    y = np.arange(540.0, top, -10)
    return Lane(slot, np.stack([bottom + 0.3 * (540 - y), y], axis=1).astype(np.float32), 0.9)


def track(frames: list[list[Lane]], **settings: float) -> list[list[TrackedLane]]:
    tracker = LaneTracker(SIZE, 10.0, **settings)  # type: ignore[arg-type]
    return [tracker.update(lanes, number / RATE) for number, lanes in enumerate(frames)]


def at_bottom(lanes: list[TrackedLane]) -> float:
    [shown] = lanes
    assert shown.points[0, 1] == 540
    return float(shown.points[0, 0])


def test_noise_is_reduced_by_the_factor_of_the_filter():
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 4, 2000)
    shown = track([[lane(400 + value)] for value in noise])[100:]
    a = 1 - np.exp(-1 / RATE / 0.2)
    b = a**2 / (2 - a)
    # variance of x of an alpha-beta filter with white noise at its input
    expected = (2 * a**2 + b * (2 - 3 * a)) / (a * (4 - 2 * a - b))
    assert np.std([at_bottom(lanes) for lanes in shown]) == pytest.approx(4 * expected**0.5, rel=0.15)
    assert expected**0.5 < 0.6


def test_a_lane_that_moves_steadily_is_followed_without_a_lag():
    shown = track([[lane(300 + 4 * number)] for number in range(60)])
    assert at_bottom(shown[-1]) == pytest.approx(300 + 4 * 59, abs=0.1)


def test_the_identity_stays_when_the_slot_changes():
    frames = [
        [lane(400 - 3 * n, 3 if n < 20 else 2), lane(700 - 3 * n, 4 if n < 20 else 3)] for n in range(40)
    ]
    shown = track(frames)
    identities = [{one.track: one.slot for one in lanes} for lanes in shown[2:]]
    assert all(identity.keys() == {1, 2} for identity in identities)
    assert identities[0] == {1: 3, 2: 4} and identities[-1] == {1: 2, 2: 3}


def test_a_gap_is_bridged_and_a_lost_lane_ends():
    frames = [[lane(400)] if n < 20 or 27 <= n < 40 else [] for n in range(60)]
    shown = track(frames, hold=0.4)
    assert [len(lanes) for lanes in shown[:2]] == [0, 0]
    assert all(len(lanes) == 1 and lanes[0].track == 1 for lanes in shown[2:49])
    assert shown[50] == [] and shown[59] == []


def test_a_lane_of_one_frame_is_not_shown_and_takes_no_identity_of_others():
    frames = [[lane(400), *([lane(700, 3)] if n == 10 else [])] for n in range(30)]
    assert all([one.track for one in lanes] == [1] for lanes in track(frames)[2:])


def test_the_visible_part_may_grow():
    shown = track([[lane(400, top=400.0 if n < 10 else 300.0)] for n in range(20)])
    assert shown[5][0].points[-1, 1] == 410 and shown[19][0].points[-1, 1] == 310
    np.testing.assert_allclose(shown[19][0].points[:, 0], lane(400).points[:, 0], atol=1e-3)


def test_two_lanes_of_one_slot_are_never_shown_together():
    frames = [[lane(400, 2)] if n < 20 else [lane(550, 2)] for n in range(40)]
    assert all(len(lanes) == 1 for lanes in track(frames)[2:])
