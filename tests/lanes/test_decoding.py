import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.lanes import row_peaks, tensor_decoding
from lgad_pipeline.lanes.decoding import decode, decode_official, decode_rows
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.row_peaks import RowPeaks
from lgad_pipeline.lanes.slots import assign_slots
from lgad_pipeline.view import View

OFFICIAL = View((590, 1640), (288, 800))
OFFICIAL_THRESHOLDS = DecodeConfig(method="official", existence_threshold=0.5)


def reference_official(probabilities: np.ndarray, existence: np.ndarray) -> list[list[tuple[int, int]]]:
    """Decode by the described rules, one pixel at a time."""
    lanes = []
    for plane, exists in zip(probabilities, existence, strict=True):
        padded = np.pad(plane.astype(float), 4)
        points = []
        for i in range(18):
            row = int(np.floor(288 - i * 20 / 590 * 288 + 0.5))
            means = [padded[row - 1 : row + 8, column : column + 9].mean() for column in range(800)]
            column = int(np.argmax(means)) + 1
            if means[column - 1] > 0.3:
                points.append((int(np.floor(column * 1640 / 800 + 0.5)) - 1, 590 - 20 * i - 1))
        if exists > 0.5 and len(points) >= 2:
            lanes.append(points)
    return lanes


def test_official_decoding_follows_the_described_rules():
    rng = np.random.default_rng(0)
    planes = np.zeros((4, 288, 800), np.float32)
    planes[0, :, 100:120] = 1  # wide: ties along every row
    planes[1, :, :6] = 0.9  # at the border
    planes[2, 270:, 794:] = 0.8  # at the corner, two rows of points
    planes[3] = rng.uniform(0, 0.7, (288, 800))
    existence = np.array([0.9, 0.6, 0.51, 0.7])
    (decoded,) = decode_official(planes[None], existence[None], OFFICIAL, OFFICIAL_THRESHOLDS)
    assert [points.tolist() for _, points, _ in decoded] == [
        [list(point) for point in lane] for lane in reference_official(planes, existence)
    ]


def test_official_thresholds_are_strict_and_one_point_is_no_lane():
    planes = np.zeros((1, 4, 288, 800), np.float32)
    planes[0, 0] = 0.3  # not above
    planes[0, 1, 284:, 300:320] = 1  # one row only
    planes[0, 2, :, 300:320] = 1
    decoded = decode_official(planes, np.array([[1.0, 1.0, 0.5, 1.0]]), OFFICIAL, OFFICIAL_THRESHOLDS)
    assert decoded == [[]]


def test_official_columns_count_from_one():
    planes = np.zeros((1, 4, 288, 800), np.float32)
    planes[0, 0, :, 0] = 9.0  # the mean is 1 in the columns that reach column 0; the first one wins
    planes[0, 3, :, 795] = 9.0
    ((_, left, _), (slot, right, _)) = decode_official(
        planes, np.ones((1, 4)), OFFICIAL, OFFICIAL_THRESHOLDS
    )[0]
    assert set(left[:, 0]) == {round(1 * 2.05) - 1} and slot == 4
    assert set(right[:, 0]) == {round(792 * 2.05) - 1}
    assert left[:, 1].tolist() == [589 - 20 * i for i in range(18)]


def test_batches_decode_as_single_frames():
    rng = np.random.default_rng(0)
    maps = rng.random((3, 4, 40, 60), np.float32)
    view = View((590, 1640), (40, 60), 240)
    existence = rng.random((3, 4))
    for config in (DecodeConfig(method="official"), DecodeConfig(method="centroid")):
        together = decode(maps, existence, view, config)
        alone = [decode(maps[i : i + 1], existence[i : i + 1], view, config)[0] for i in range(3)]
        for first, second in zip(together, alone, strict=True):
            assert [lane[0] for lane in first] == [lane[0] for lane in second]
            for single, batched in zip(first, second, strict=True):
                np.testing.assert_allclose(single[1], batched[1], atol=1e-2)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(150, 1450),
    st.floats(600, 1040),
    st.floats(-80, 80),
    st.sampled_from([((288, 800), 0, 16), ((96, 256), 240, 24), ((64, 176), 240, 30)]),
)
def test_a_decoded_label_map_is_within_the_maps_resolution_of_the_lane(bottom, top, bend, size):
    image_size, crop_top, width = size
    view = View((590, 1640), image_size, crop_top)
    up = np.linspace(0, 1, 34)
    xs = bottom + (top - bottom) * up + bend * up * (1 - up)
    slots = assign_slots([np.stack([xs, 590 - 330 * up], axis=1).astype(np.float32)])
    label = view.label(label_map(slots, lane_width=width))
    planes = np.stack([label == slot for slot in range(1, 5)]).astype(np.float32)[None]
    column = view.scale[0]
    for config, within in (
        (DecodeConfig(method="centroid"), 0.6 * column + 1),
        (DecodeConfig(method="official"), 5 * column + width),
    ):
        ((_, points, confidence),) = decode(planes, np.asarray(slots.existence)[None], view, config)[0]
        ys = points[:, 1]
        inside = (ys <= 580) & (ys >= 285)
        expected = np.interp(590 - ys, 330 * up, xs)
        assert inside.any() and 0.3 < confidence <= 1
        assert np.abs(points[inside, 0] - expected[inside]).max() <= within, config.method


def test_gaps_are_bridged_outliers_ignored_and_lanes_extended_to_the_bottom():
    view = View((590, 1640), (64, 176), 240)
    rows = np.arange(64)
    lane = 60 + 0.8 * rows
    maps = np.exp(-0.5 * ((np.arange(176) - lane[:, None]) / 1.5) ** 2)
    maps[20:30] = 0  # hidden by a car
    maps[55:] = 0  # hidden by the bonnet
    maps[40] = 0
    maps[40, 150] = 1  # noise
    planes = np.zeros((1, 4, 64, 176), np.float32)
    planes[0, 1] = maps
    ((slot, points, _),) = decode(planes, np.ones((1, 4)), view, DecodeConfig())[0]
    map_points = view.to_image(points)
    assert slot == 2 and points[0, 1] == 590
    np.testing.assert_allclose(map_points[:, 0], 60 + 0.8 * map_points[:, 1], atol=0.35)
    ((_, short, _),) = decode(planes, np.ones((1, 4)), view, DecodeConfig(to_bottom=False))[0]
    assert short[0, 1] < 550


def test_no_lane_is_decoded_in_empty_maps_or_absent_slots():
    view = View((590, 1640), (64, 176), 240)
    nothing, everything = np.zeros((2, 4, 64, 176), np.float32), np.ones((2, 4, 64, 176), np.float32)
    assert decode(nothing, np.ones((2, 4)), view, DecodeConfig()) == [[], []]
    assert decode(everything, np.zeros((2, 4)), view, DecodeConfig()) == [[], []]


def test_thresholds_out_of_range_are_refused():
    with pytest.raises(ValueError, match="peak_threshold"):
        DecodeConfig(peak_threshold=1.5)


def softmax_maps(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return maps with blobs of all widths, plateaus, cut-off blobs and noise, float32 (B, slots, h, w)."""
    frames, slots, height, width = shape
    centre = rng.uniform(-0.1 * width, 1.1 * width, (frames, slots, 1, 1))
    slope = rng.uniform(-2, 2, (frames, slots, 1, 1))
    spread = np.exp(rng.uniform(0, 4.5, (frames, slots, 1, 1)))  # 1 to 90 columns
    column = np.arange(width) - centre - slope * (np.arange(height)[:, None] - height / 2)
    maps = np.exp(-0.5 * (column / spread) ** 2) * rng.uniform(0.2, 1.3, (frames, slots, height, 1))
    return (maps + rng.uniform(0, 0.1, shape)).clip(0, 1).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 4, 40, 60), (2, 3, 72, 400), (1, 4, 288, 800)])
def test_torch_and_numpy_find_the_same_row_maxima_and_lanes(shape):
    maps = softmax_maps(np.random.default_rng(0), shape)
    expected = [tensor.numpy() for tensor in tensor_decoding.row_peaks(torch.from_numpy(maps))]
    found = row_peaks.row_peaks(maps.reshape(-1, *shape[2:]))
    for name, tensor, array in zip(RowPeaks._fields, expected, found, strict=True):
        np.testing.assert_allclose(array.reshape(tensor.shape), tensor, atol=2e-4, err_msg=name)
    view, existence = View((590, 1640), shape[2:], 240), np.ones(shape[:2])
    direct = decode(maps, existence, view, DecodeConfig())
    from_rows = decode_rows(RowPeaks(*expected), existence, view, DecodeConfig())
    assert sum(map(len, direct)) >= 3
    for lanes, others in zip(direct, from_rows, strict=True):
        assert [lane[0] for lane in lanes] == [lane[0] for lane in others]
        for lane, other in zip(lanes, others, strict=True):
            np.testing.assert_allclose(lane[1], other[1], atol=0.01)
            assert lane[2] == pytest.approx(other[2], abs=1e-5)


def test_a_row_maximum_is_the_centroid_of_its_blob():
    maps = np.zeros((1, 6, 40), np.float32)
    maps[0, :, 10:14] = [0.4, 0.8, 0.8, 0.4]  # smoothed 0.4 0.67 0.67 0.4: all four reach half of the maximum
    maps[0, :, 30] = 0.3  # another blob, not part of the run
    peaks = row_peaks.row_peaks(maps)
    np.testing.assert_allclose(peaks.centre[0], 11.5, atol=1e-6)
    np.testing.assert_allclose(peaks.peak[0], 2 / 3, atol=1e-6)
    np.testing.assert_allclose(peaks.weight[0], 2 / 3, atol=1e-6)
    at_border = row_peaks.row_peaks(maps[:, :, 10:])
    np.testing.assert_allclose(at_border.weight, 0.02 * at_border.peak, rtol=1e-6)
    assert not row_peaks.row_peaks(maps, least_peak=0.7).weight.any()
