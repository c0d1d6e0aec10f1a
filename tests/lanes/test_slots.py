from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.config.slots import SlotScheme, slot_names
from lgad_pipeline.lanes.lane_files import read_lanes
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.slots import ROWS, SlotLanes, assign_frames, assign_frames_with_sources, assign_slots


def test_label_maps_and_existence_equal_those_of_the_official_tool(seg_labels: Path):
    for line in (seg_labels / "existence.txt").read_text().splitlines():
        frame, *flags = line.split()
        slots = assign_slots(read_lanes(seg_labels / "annotations" / f"{frame}.lines.txt"))
        official = cv2.imread(str(seg_labels / "labels" / f"{frame}.png"), cv2.IMREAD_UNCHANGED)
        assert slots.existence.tolist() == [flag == "1" for flag in flags], frame
        assert official is not None and np.array_equal(label_map(slots), official), frame


def straight(bottom: float, top: float, lowest: float = 590, highest: float = 260) -> np.ndarray:
    ys = np.arange(lowest, highest - 1, -10.0)
    return np.stack([bottom + (top - bottom) * (590 - ys) / 330, ys], axis=1).astype(np.float32)


def slots_of(*lanes: np.ndarray) -> list[float]:
    """Return x of each slot at the bottom row, NaN for an empty slot."""
    return assign_slots(lanes).xs[:, 0].tolist()


def test_slots_by_count_position_and_slope():
    far_left, left, right, far_right = (straight(x, 820 + (x - 820) * 0.1) for x in (-200, 500, 1100, 1800))
    empty = float("nan")
    approx = lambda values: pytest.approx(values, abs=0.6, nan_ok=True)  # noqa: E731
    assert slots_of() == approx([empty] * 4)
    assert slots_of(left) == approx([empty, 500, empty, empty])
    assert slots_of(right) == approx([empty, empty, 1100, empty])
    assert slots_of(right, left) == approx([empty, 500, 1100, empty])
    assert slots_of(right, far_right) == approx([empty, 1100, 1800, empty])
    assert slots_of(right, far_right, left, far_left) == approx([-200, 500, 1100, 1800])
    assert slots_of(left, right, far_right) == approx([empty, 500, 1100, 1800])
    outermost = straight(-900, 700)
    assert slots_of(outermost, far_left, left, right) == approx([-200, 500, 1100, empty])


def test_a_lane_that_is_painted_twice_counts_once():
    left, right = straight(500, 780), straight(1100, 850)
    assert slots_of(left, left + np.array([60, 0], np.float32), right) == pytest.approx(
        [float("nan"), 560, 1100, float("nan")], abs=0.6, nan_ok=True
    )


def test_a_lane_ends_where_it_is_annotated_and_reaches_down_to_the_next_row():
    slots = assign_slots([straight(500, 780, lowest=545, highest=305)])
    valid = ROWS[~np.isnan(slots.xs[1])]
    assert valid.max() == 550 and valid.min() == 310


def test_short_and_empty_lanes_are_dropped():
    lanes = [np.zeros((0, 2), np.float32), np.array([[5, 500]], np.float32), straight(500, 780, 590, 570)]
    assert not assign_slots(lanes).existence.any()


def test_frames_of_another_size_follow_the_scaled_rules():
    lanes = [straight(500, 780), straight(1100, 850)]
    small = assign_slots([lane / 2 for lane in lanes], (295, 820))
    full = assign_slots(lanes)
    np.testing.assert_allclose(small.xs * 2, full.xs)
    np.testing.assert_allclose(small.rows * 2, full.rows)
    assert label_map(small, (295, 820), lane_width=8).shape == (295, 820)


def test_later_slots_cover_earlier_ones():
    xs = np.full((4, 35), np.nan)
    xs[1], xs[2] = np.linspace(500, 900, 35), np.linspace(900, 500, 35)
    picture = label_map(SlotLanes(ROWS, xs, np.array([False, True, True, False])))
    assert picture[420, 700] == 3 and picture[580, 512] == 2


def test_frames_do_not_influence_each_other(seg_labels: Path):
    files = sorted((seg_labels / "annotations").rglob("*.lines.txt"))[:12]
    frames = [read_lanes(file) for file in files]
    frames[3] = [np.repeat(lane, 2, axis=0)[::-1] for lane in frames[3]]
    frames[5] = [lane[:, ::-1] for lane in frames[5]]  # back and forth
    for size in ((590, 1640), (720, 1280)):
        for lanes, together in zip(frames, assign_frames(frames, size), strict=True):
            alone = assign_slots(lanes, size)
            assert np.array_equal(alone.xs, together.xs, equal_nan=True)
            assert np.array_equal(alone.existence, together.existence)


def test_more_slots_have_the_same_middle_and_keep_the_outer_lanes():
    bottoms = (-450, -100, 300, 1300, 1750, 2100)  # three lanes on each side of the car
    lanes = [straight(bottom, 820 + 0.3 * (bottom - 820)) for bottom in bottoms]
    four, six, eight = (assign_slots(lanes, scheme=SlotScheme(slots)) for slots in (4, 6, 8))
    assert four.existence.all() and six.existence.all()
    assert eight.existence.tolist() == [False, *[True] * 6, False]
    np.testing.assert_array_equal(six.xs[1:5], four.xs)
    np.testing.assert_array_equal(eight.xs[1:7], six.xs)
    assert set(np.unique(label_map(six))) == set(range(7))


def test_rows_of_another_scheme_include_the_ends_of_a_lane():
    y = np.arange(710.0, 239.0, -10.0)  # rows of TuSimple
    lane = np.stack([600 - 0.3 * (710 - y), y], axis=1).astype(np.float32)
    slots = assign_slots([lane], (720, 1280), scheme=SlotScheme(6, 57, 72))
    [slot] = np.flatnonzero(slots.existence)
    points = slots.points(int(slot))
    np.testing.assert_allclose(points[:, 1], y, atol=1e-3)
    np.testing.assert_allclose(points[:, 0], lane[:, 0], atol=0.5)


def test_slots_are_named_from_the_car_outwards():
    assert slot_names(4) == ("far left", "left", "right", "far right")
    assert slot_names(6) == ("left 3", "left 2", "left", "right", "right 2", "right 3")


def test_each_slot_names_its_annotated_lane():
    left, right = straight(500, 780), straight(1100, 850)
    short = np.array([[700, 590], [700.5, 590]], np.float32)  # cleaned to one point, and so dropped
    second = left + np.array([60, 0], np.float32)  # of the double line, this stripe is kept
    _, sources = assign_frames_with_sources([[], [right, short, left], [left, second, right]])
    assert sources.tolist() == [[-1] * 4, [-1, 2, 0, -1], [-1, 1, 2, -1]]
