import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicSpline

from lgad_pipeline.lanes.spline import ragged, sample_steps, sample_times


def test_samples_are_on_the_natural_cubic_spline_over_chord_length():
    rng = np.random.default_rng(1)
    lanes = [
        np.cumsum(rng.uniform(1, 20, (count, 2)) * [1, -1], axis=0).astype(np.float32)
        for count in (3, 40, 4, 7)
    ]
    for lane, times, steps in zip(
        lanes, sample_times(ragged(lanes)), sample_steps(ragged(lanes)), strict=True
    ):
        chord = np.hypot(*np.diff(lane, axis=0).T.astype(float))
        along = np.concatenate([[0], np.cumsum(chord)])
        spline = CubicSpline(along, lane.astype(float), bc_type="natural")
        along_samples = np.append((along[:-1, None] + chord[:, None] * np.arange(50) / 50).ravel(), along[-1])
        np.testing.assert_allclose(times, spline(along_samples), atol=1e-3)
        along_samples = np.concatenate(
            [start + np.arange(np.ceil(h)) for start, h in zip(along, chord, strict=False)]
        )
        np.testing.assert_allclose(steps, spline(np.append(along_samples, along[-1])), atol=1e-3)


def test_two_points_get_their_midpoint():
    (samples,) = sample_steps(ragged([np.array([[0, 5], [0, 0]])]))
    assert samples[:, 1].tolist() == [5, 4, 3, 2.5, 1.5, 0.5, 0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(3, 60), min_size=1, max_size=6), st.integers(0, 1000))
def test_lanes_do_not_influence_each_other(counts: list[int], seed: int):
    rng = np.random.default_rng(seed)
    lanes = [rng.uniform(0, 1000, (count, 2)).astype(np.float32) for count in counts]
    together = list(sample_times(ragged(lanes)))
    for lane, samples in zip(lanes, together, strict=True):
        assert np.array_equal(next(iter(sample_times(ragged([lane])))), samples)
