import cv2
import numpy as np
import pytest

from lgad_pipeline.lanes.png import encode_png


@pytest.mark.parametrize("first", [0, 1, 16, 40, 59, 60])
def test_opencv_reads_back_what_was_written(first: int):
    picture = np.random.default_rng(first).integers(0, 5, (60, 33)).astype(np.uint8)
    picture[:first] = 0
    again = cv2.imdecode(np.frombuffer(encode_png(picture), np.uint8), cv2.IMREAD_UNCHANGED)
    assert again is not None and np.array_equal(again, picture)
