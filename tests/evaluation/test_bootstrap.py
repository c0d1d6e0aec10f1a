import numpy as np
import pandas as pd
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.bootstrap import f1_interval, paired_f1_difference


def frames(tp: list[int], fp: list[int], fn: list[int]) -> pd.DataFrame:
    names = [f"{i}.jpg" for i in range(len(tp))]
    return pd.DataFrame({"list": "test", "frame": names, "tp_0.5": tp, "fp_0.5": fp, "fn_0.5": fn})


def some_frames(seed: int, better: float) -> pd.DataFrame:
    tp = np.random.default_rng(seed).binomial(3, better, 400)
    return frames(tp.tolist(), (3 - tp).tolist(), (3 - tp).tolist())


def test_the_interval_is_that_of_resampled_frames():
    table = some_frames(0, 0.7)
    interval = f1_interval(table, 0.5)
    rng = np.random.default_rng(1)
    counts = table[["tp_0.5", "fp_0.5", "fn_0.5"]].to_numpy()
    sums = np.array([counts[rng.integers(0, 400, 400)].sum(axis=0) for _ in range(3000)])
    f1 = 2 * sums[:, 0] / (2 * sums[:, 0] + sums[:, 1] + sums[:, 2])
    assert interval.value == pytest.approx(counts[:, 0].sum() / 1200)
    np.testing.assert_allclose([interval.low, interval.high], np.quantile(f1, [0.025, 0.975]), atol=2e-3)
    assert f1_interval(table, 0.5) == interval


def test_a_frame_in_two_lists_counts_once():
    table = some_frames(0, 0.7)
    assert f1_interval(pd.concat([table, table]), 0.5) == f1_interval(table, 0.5)


def test_pairing_tells_a_small_steady_gain_from_noise():
    first = some_frames(0, 0.7)
    second = first.copy()
    worse = second.index[second["fn_0.5"] > 0][:15]
    second.loc[worse, ["tp_0.5", "fp_0.5", "fn_0.5"]] += [1, -1, -1]
    gain = paired_f1_difference(first, second.sample(frac=1, random_state=0), threshold=0.5)
    assert gain.value == pytest.approx(15 / 1200) and gain.low > 0 and gain.share_above_zero == 1
    assert gain.high - gain.low < f1_interval(first, 0.5).high - f1_interval(first, 0.5).low
    same = paired_f1_difference(first, first, threshold=0.5)
    assert (same.value, same.low, same.high, same.share_above_zero) == (0, 0, 0, 0)


def test_no_frames_have_no_interval():
    empty = pd.DataFrame({"frame": [], "tp_0.5": [], "fp_0.5": [], "fn_0.5": []})
    with pytest.raises(LgadError, match="no frame to compute an interval over"):
        f1_interval(empty, 0.5)


def test_different_frames_cannot_be_paired():
    with pytest.raises(LgadError, match="different frames"):
        paired_f1_difference(some_frames(0, 0.7), some_frames(0, 0.7)[1:], threshold=0.5)


def test_different_annotations_of_the_same_frames_cannot_be_paired():
    two_lanes, four_lanes = frames([2, 1], [0, 0], [0, 1]), frames([2, 2], [0, 0], [2, 2])
    with pytest.raises(LgadError, match="different annotations of the same frames; evaluate"):
        paired_f1_difference(two_lanes, four_lanes, threshold=0.5)
