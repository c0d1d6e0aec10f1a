from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgad_pipeline.lanes.rendering.label_map import round_to_pixels
from lgad_pipeline.lanes.rendering.line_masks import Spans, lane_spans
from lgad_pipeline.lanes.spline import ragged, sample_times


def mask_of(spans: Spans, lane: int, size: tuple[int, int]) -> np.ndarray:
    counts = np.zeros(size, np.uint8)
    for start, stop in zip(spans.start[spans.lane == lane], spans.stop[spans.lane == lane], strict=True):
        for row in range(size[0]):
            counts[row, start[row] : stop[row]] += 1
    return counts


def drawn(path: np.ndarray, size: tuple[int, int], width: int) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    ends = round_to_pixels(path).tolist()
    for begin, end in pairwise(ends):
        cv2.line(mask, begin, end, 1, width)
    return mask


def random_lane(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    ys = np.sort(rng.uniform(-0.3 * height, 1.3 * height, rng.integers(3, 20)))[::-1]
    xs = (
        rng.uniform(-0.2, 1.2) * width
        + rng.uniform(-2, 2) * (height - ys)
        + rng.uniform(-4, 4) * (ys / height) ** 2
    )
    if rng.random() < 0.3:
        xs += rng.normal(0, 8, len(xs))
    lane = np.stack([xs, ys], axis=1)
    return (lane if rng.random() < 0.7 else lane[::-1]).astype(np.float32)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from([1, 2, 5, 16, 30, 31]),
    st.sampled_from([(120, 200), (200, 90), (20, 30)]),
)
def test_spans_equal_the_drawing_of_opencv(seed: int, width: int, size: tuple[int, int]):
    rng = np.random.default_rng(seed)
    lanes = [random_lane(rng, size) for _ in range(6)]
    paths = [
        *sample_times(ragged(lanes)),
        *(rng.uniform(-50, 250, (2, 2)).astype(np.float32) for _ in range(3)),
    ]
    spans = lane_spans(ragged(paths), size, lane_width=width)
    for i, path in enumerate(paths):
        assert np.array_equal(mask_of(spans, i, size), drawn(path, size, width))


@pytest.mark.parametrize("width", [8, 16, 30])
def test_single_steps_at_the_border_and_in_the_corners(width: int):
    size = (100, 110)
    rng = np.random.default_rng(width)
    begins = rng.integers(-width, 130, (300, 2))
    steps = rng.integers(-3, 4, (300, 2))
    paths = [
        np.stack([begin, begin + step]).astype(np.float32) for begin, step in zip(begins, steps, strict=True)
    ]
    spans = lane_spans(ragged(paths), size, lane_width=width)
    for i, path in enumerate(paths):
        assert np.array_equal(mask_of(spans, i, size), drawn(path, size, width)), path


def test_halves_round_to_even_and_overflow_becomes_the_least_integer():
    points = np.array([[0.5, 1.5], [2.5, -0.5], [3e9, np.nan]], np.float32)
    assert round_to_pixels(points).tolist() == [[0, 2], [2, 0], [-(2**31), -(2**31)]]
