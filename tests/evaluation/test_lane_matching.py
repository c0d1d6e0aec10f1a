from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgad_pipeline.evaluation.frame_lanes import FrameLanes
from lgad_pipeline.evaluation.lane_matching import lane_ious, match


def lanes(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.uniform(-20, 220, (n, 2)).astype(np.float32) for n in rng.integers(2, 8, 3)]


def ious_of(
    annotated: list[np.ndarray], predicted: list[np.ndarray], frame_size=(100, 200), lane_width=9
) -> np.ndarray:
    sides = (FrameLanes.of([lanes]) for lanes in (annotated, predicted))
    return lane_ious(*sides, frame_size=frame_size, lane_width=lane_width)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_iou_is_symmetric_within_bounds_and_one_of_a_lane_with_itself(seed: int):
    first, second = lanes(seed), lanes(seed + 1)
    ious = ious_of(first, second)
    np.testing.assert_array_equal(ious, ious_of(second, first).T)
    inside = ~np.isnan(ious)
    assert ((ious[inside] >= 0) & (ious[inside] <= 1)).all()
    own = np.diag(ious_of(first, first))
    assert (np.isnan(own) | (own == 1)).all()


def test_iou_of_two_upright_lanes_by_hand():
    upright = [np.array([[x, -50], [x, 150]], np.float32) for x in (50, 55)]
    # 11 columns each (thickness 10 reaches 5 px to each side), of which 6 are shared.
    assert ious_of(upright[:1], upright[1:], lane_width=10)[0, 0] == 6 / 16


def test_lanes_of_no_or_one_point_or_repeated_points_are_similar_to_nothing():
    good = np.array([[50, 90], [52, 50], [50, 10]], np.float32)
    odd = [good[:0], good[:1], good[[0, 1, 1, 2]]]
    assert ious_of([good], [good, *odd]).tolist() == [[1, 0, 0, 0]]
    assert ious_of([], [good]).shape == (0, 1)


def test_lanes_that_both_miss_the_frame_have_no_iou():
    outside = np.array([[500, 90], [500, 50], [500, 10]], np.float32)
    assert np.isnan(ious_of([outside], [outside])).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 4), st.integers(0, 4), st.integers(0, 10**6))
def test_matching_is_the_best_one_within_the_slack(annotated: int, predicted: int, seed: int):
    similarity = np.random.default_rng(seed).uniform(0, 1, (annotated, predicted)).round(1)
    partner = match(similarity)
    found = partner[partner >= 0]
    assert len(found) == len(set(found)) == min(annotated, predicted)
    tall = similarity if annotated >= predicted else similarity.T
    best = max(
        (
            sum(tall[row, column] for column, row in enumerate(rows))
            for rows in permutations(range(len(tall)), tall.shape[1])
        ),
        default=0,
    )
    total = similarity[np.flatnonzero(partner >= 0), found].sum()
    assert total == pytest.approx(best, abs=0.01 * max(min(annotated, predicted), 1))
