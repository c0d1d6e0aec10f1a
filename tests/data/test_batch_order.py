import numpy as np
import pytest

from lgad_pipeline.data.batch_order import BatchOrder, mixed_order

ROWS = [5] * 11 + [2]
"""Eleven full shards of five frames and a smaller one."""


@pytest.mark.parametrize("window", [None, 1, 3, 11])
def test_every_epoch_takes_every_frame_once_and_in_another_order(window: int | None):
    order = BatchOrder(ROWS, 19, seed=3, window=window)
    epochs = np.concatenate([order.indices(step) for step in range(6)]).reshape(2, 57)
    assert (np.sort(epochs, axis=1) == np.arange(57)).all()
    assert epochs[0].tolist() != epochs[1].tolist()


def test_without_a_window_the_order_is_a_permutation_of_all_frames():
    order = BatchOrder([5, 5], 4, seed=3)
    indices = np.concatenate([order.indices(step) for step in range(5)]).reshape(2, 10)
    np.testing.assert_array_equal(indices[1], np.random.default_rng([3, 1]).permutation(10))
    assert BatchOrder([5, 5], 4, seed=3, window=2).indices(7).tolist() == order.indices(7).tolist()


@pytest.mark.parametrize("window", [None, 2])
def test_the_batch_of_a_step_needs_no_history(window: int | None):
    first, second = (BatchOrder(ROWS, 16, seed=1, window=window) for _ in range(2))
    for step in (0, 4, 1000):
        second.indices(step)
    assert first.indices(12345).tolist() == second.indices(12345).tolist()
    assert first.indices(7).tolist() != BatchOrder(ROWS, 16, seed=2, window=window).indices(7).tolist()


def test_a_batch_larger_than_the_split_holds_whole_epochs():
    assert sorted(BatchOrder([3], 6, seed=0).indices(5)) == [0, 0, 1, 1, 2, 2]


def test_few_shards_are_read_at_a_time_and_each_during_one_stretch():
    rows, window = np.full(200, 50), 8
    shard = mixed_order(rows, window, np.random.default_rng(4)) // 50
    places = np.arange(len(shard))
    first, last = (np.array([pick(places[shard == number]) for number in range(200)]) for pick in (min, max))
    in_use = ((first <= places[:, None]) & (places[:, None] <= last)).sum(axis=1)
    assert in_use.max() <= window + 1
    in_the_middle, at_the_ends = in_use[2000:8000], in_use[[40, -40]]
    assert in_the_middle.min() >= window - 1 and at_the_ends.min() >= window // 2 - 1
    # Each shard is spread over the length of `window` shards: the frames of one are far apart.
    assert np.median(last - first) > 0.9 * window * 50


def test_frames_are_mixed_evenly():
    """A batch holds frames of as many shards as a random draw out of the window would."""
    rows, window = np.full(200, 50), 20
    shard = mixed_order(rows, window, np.random.default_rng(5)) // 50
    inner = shard[1600:8000].reshape(-1, 16)
    different = np.mean([len(set(batch)) for batch in inner])
    assert different == pytest.approx(20 * (1 - (1 - 1 / 20) ** 16), abs=0.4)
