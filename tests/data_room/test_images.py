import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgad_pipeline.data.images import ImageError, decode_image, image_size

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8), (130, 90))


def encode(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, PICTURE, options)[1].tobytes()


JPEG = encode(".jpg")
PROGRESSIVE = encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = encode(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
PNG = encode(".png")


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS, PNG])
def test_the_size_is_that_of_the_decoded_image(data):
    assert image_size(data) == decode_image(data).shape[:2] == (90, 130)


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS, PNG])
def test_bytes_after_the_end_do_no_harm(data):
    assert image_size(data + bytes(100)) == (90, 130)


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS, PNG])
def test_an_image_cut_off_anywhere_is_refused(data):
    for length in range(0, len(data) - 1, 37):
        with pytest.raises(ImageError):
            image_size(data[:length])
        with pytest.raises(ImageError):
            image_size(data[:length] + bytes(len(data) - length))


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_image():
    exif = b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2) + JPEG
    whole = JPEG[:2] + exif + JPEG[2:]
    assert image_size(whole) == (90, 130)
    with pytest.raises(ImageError, match="cut off"):
        image_size(whole[:-200])


def test_an_image_that_claims_to_be_vast_is_refused_without_decoding():
    start = JPEG.index(b"\xff\xc0")
    jpeg = JPEG[: start + 5] + (65000).to_bytes(2) * 2 + JPEG[start + 9 :]
    png = PNG[:16] + (100_000).to_bytes(4) * 2 + PNG[24:]
    for data, claim in ((jpeg, "65000 x 65000"), (png, "100000 x 100000")):
        with pytest.raises(ImageError, match=f"claims to be {claim} px"):
            image_size(data)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: JPEG[:200] + tail))
def test_any_bytes_have_a_size_or_an_image_error(data):
    try:
        height, width = image_size(data)
    except ImageError:
        return
    assert height >= 0 and width >= 0


def test_colours_are_red_green_blue():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue, green, red
    assert decode_image(cv2.imencode(".png", red)[1].tobytes())[0, 0].tolist() == [255, 0, 0]


def test_bytes_that_cannot_be_decoded_are_an_image_error():
    for data in (b"", b"\xff\xd8 no image \xff\xd9"):
        with pytest.raises(ImageError):
            decode_image(data)
