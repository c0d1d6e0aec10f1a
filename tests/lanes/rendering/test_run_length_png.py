import io

import cv2
import numpy as np
import pytest
from PIL import Image

from lgad_pipeline.lanes.rendering.run_length_png import LabelRuns, encode_pngs


def runs_of(pictures: np.ndarray) -> LabelRuns:
    padded = np.pad(pictures.astype(np.int64), ((0, 0), (0, 0), (1, 1)))
    picture, row, column = np.nonzero(np.diff(padded))
    return LabelRuns(picture, row, column, padded[picture, row, column + 1])


@pytest.mark.parametrize("size", [(60, 33), (7, 1), (3, 700), (1, 9)])
def test_opencv_and_pillow_read_back_what_was_written(size: tuple[int, int]):
    rng = np.random.default_rng(size[0])
    pictures = rng.integers(0, 5, (6, *size)).astype(np.uint8)
    pictures[1] = 0
    pictures[2, : size[0] // 2] = 0
    pictures[3:5] = np.sort(pictures[3:5], axis=2)  # long runs
    pictures[5] = 4
    for picture, content in zip(pictures, encode_pngs(runs_of(pictures), 6, size=size), strict=True):
        decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert decoded is not None and np.array_equal(decoded, picture)
        assert np.array_equal(np.array(Image.open(io.BytesIO(content))), picture)


def test_runs_of_every_length():
    pictures = (np.arange(600) < np.arange(1, 600)[:, None]).astype(np.uint8)[None] * 3
    (content,) = encode_pngs(runs_of(pictures), 1, size=pictures.shape[1:])
    assert np.array_equal(np.array(Image.open(io.BytesIO(content))), pictures[0])
