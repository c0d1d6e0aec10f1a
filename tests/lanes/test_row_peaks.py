import numpy as np
import pytest

from lgad_pipeline.lanes.row_peaks import row_peaks

THRESHOLD = 0.3


def reference(plane: np.ndarray) -> dict[str, np.ndarray]:
    """Centre, weight and peak of each row by the described rules, one pixel at a time."""
    height, width = plane.shape
    smoothed = np.array(
        [
            [plane[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].mean() for x in range(width)]
            for y in range(height)
        ]
    )
    centre, weight = np.zeros(height), np.zeros(height)
    for y, row in enumerate(smoothed):
        maximum = int(row.argmax())
        if row[maximum] <= THRESHOLD:
            continue
        left = right = maximum
        while left > 0 and row[left - 1] >= row[maximum] / 2:
            left -= 1
        while right < width - 1 and row[right + 1] >= row[maximum] / 2:
            right += 1
        mass = plane[y, left : right + 1]
        shift = np.arange(left, right + 1) - maximum  # a row without mass has its maximum as centroid
        centre[y] = maximum + (mass * shift).sum() / max(mass.sum(), 1e-9)
        cut_off = (left == 0 and mass[0] > 0) or (right == width - 1 and mass[-1] > 0)
        weight[y] = row[maximum] * (0.02 if cut_off else 1)
    return {"centre": centre, "weight": weight, "peak": smoothed.max(axis=1)}


def blobs(height: int, width: int, deviation: float, seed: int) -> np.ndarray:
    """Map of one blob a row, at any column, with noise below half of its maximum and without."""
    rng = np.random.default_rng(seed)
    columns = rng.uniform(-0.1 * width, 1.1 * width, (height, 1))
    rows = np.exp(-0.5 * ((np.arange(width) - columns) / deviation) ** 2)
    return rows * rng.uniform(0.1, 1, (height, 1)) + rng.uniform(0, 0.2, (height, width)) * (seed % 2)


@pytest.mark.parametrize("size", [(1, 1), (3, 8), (20, 45), (24, 200)])
@pytest.mark.parametrize("deviation", [0.7, 6, 60])  # the last one is wider than the first window
def test_centroids_follow_the_described_rules(size, deviation):
    planes = np.stack([blobs(size[0], size[1], deviation, seed) for seed in range(4)])
    found = row_peaks(planes.astype(np.float32), THRESHOLD)
    for index, plane in enumerate(planes):
        for name, expected in reference(plane).items():
            np.testing.assert_allclose(getattr(found, name)[index], expected, atol=1e-4, err_msg=name)


def test_maps_with_the_channels_last_are_read_as_others():
    planes = np.stack([blobs(20, 45, 3, seed) for seed in range(4)]).astype(np.float32)
    channels_last = planes.transpose(1, 2, 0).copy().transpose(2, 0, 1)
    np.testing.assert_array_equal(row_peaks(channels_last), row_peaks(planes))
