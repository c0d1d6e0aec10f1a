import math

import numpy as np
import pandas as pd
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.studies.statistics import paired_gain, pairs_needed


def table(tp, fp, fn) -> pd.DataFrame:
    columns = {"tp_0.5": tp, "fp_0.5": fp, "fn_0.5": fn}
    return pd.DataFrame({"frame": [f"{i}.jpg" for i in range(len(tp))], "list": "normal", **columns})


def drawn(share: float, frames: int, generator: np.random.Generator) -> pd.DataFrame:
    """Frames with four lanes each, of which a share is detected."""
    tp = generator.binomial(4, share, frames)
    return table(tp, 4 - tp, 4 - tp)


def test_gain_by_hand() -> None:
    first = [table([1, 1], [1, 1], [1, 1]), table([2, 0], [0, 2], [0, 2])]  # F1 1/2, 1/2
    second = [table([2, 1], [0, 1], [0, 1]), table([2, 2], [0, 0], [0, 0])]  # F1 3/4, 1
    gain = paired_gain(first, second)
    assert gain.differences == pytest.approx((0.25, 0.5))
    assert (gain.first, gain.second, gain.gain.value) == pytest.approx((0.5, 0.875, 0.375))
    deviation = 0.25 / math.sqrt(2)
    assert gain.deviation == pytest.approx(deviation)
    assert gain.over_seeds.high - gain.gain.value == pytest.approx(12.7062047 * deviation / math.sqrt(2))
    assert gain.false_positives == pytest.approx((-1 - 2) / 2)


def test_the_same_student_twice_gains_nothing_for_sure() -> None:
    students = [drawn(0.5, 50, np.random.default_rng(seed)) for seed in range(3)]
    gain = paired_gain(students, students)
    assert (gain.gain.value, gain.gain.low, gain.gain.high, gain.deviation) == (0, 0, 0, 0)


def test_interval_has_the_width_that_theory_says() -> None:
    """Seeds that differ by N(0.05, 0.02): with many frames the interval is that of the seeds' mean."""
    generator = np.random.default_rng(0)
    first, second, seeds = [], [], 12
    for difference in generator.normal(0.05, 0.02, seeds):
        first.append(table([5000] * 400, [5000] * 400, [5000] * 400))
        detected = round(10000 * (0.5 + difference))
        second.append(table([detected] * 400, [10000 - detected] * 400, [10000 - detected] * 400))
    gain = paired_gain(first, second)
    error = np.std(gain.differences) / math.sqrt(seeds)
    assert gain.gain.high - gain.gain.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert gain.gain.low < gain.gain.value < gain.gain.high


def test_frames_alone_make_the_interval_of_one_pair() -> None:
    generator = np.random.default_rng(1)
    gain = paired_gain([drawn(0.5, 800, generator)], [drawn(0.6, 800, generator)])
    # With equal numbers of predicted and annotated lanes, F1 is the detected share: two binomial means.
    error = math.sqrt((0.5 * 0.5 + 0.6 * 0.4) / (4 * 800))
    assert gain.gain.high - gain.gain.low == pytest.approx(2 * 1.96 * error, rel=0.15)
    assert math.isnan(gain.deviation) and math.isnan(gain.over_seeds.low)


def test_order_of_rows_and_repeated_frames_do_not_matter() -> None:
    generator = np.random.default_rng(2)
    first, second = [[drawn(share, 40, generator) for _ in range(2)] for share in (0.4, 0.6)]
    shuffled = [pd.concat([rows, rows]).sample(frac=1, random_state=0) for rows in second]
    assert paired_gain(first, shuffled) == paired_gain(first, second)


def test_pairs_over_other_frames_or_seeds_are_refused() -> None:
    with pytest.raises(LgadError, match="same test split"):
        paired_gain([table([1], [0], [0])], [table([1, 1], [0, 0], [0, 0])])
    with pytest.raises(LgadError, match="different annotations of the same frames; run the study again"):
        paired_gain([table([1], [0], [0])], [table([1], [0], [1])])
    with pytest.raises(LgadError, match="there are 1 and 0"):
        paired_gain([table([1], [0], [0])], [])


def test_pairs_needed() -> None:
    assert pairs_needed(0.03, 0.02) == 18  # (2.8 x 1.5)^2 = 17.6
    assert pairs_needed(0.001, 0.02) == 2
