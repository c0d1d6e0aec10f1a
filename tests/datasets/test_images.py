import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgad_pipeline.datasets.image_headers import ImageError
from lgad_pipeline.datasets.images import image_size, read_image, read_small, whole_image_size

PICTURE = cv2.resize(np.random.default_rng(0).integers(0, 255, (9, 13, 3), np.uint8), (130, 90))


def encode(suffix: str, *options: int) -> bytes:
    return cv2.imencode(suffix, PICTURE, options)[1].tobytes()


JPEG = encode(".jpg")
PROGRESSIVE = encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = encode(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
PNG = encode(".png")


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS, PNG])
def test_the_size_is_that_of_the_decoded_image(data):
    assert image_size(data) == whole_image_size(data) == read_image(data).shape[:2] == (90, 130)


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS, PNG])
def test_bytes_after_the_end_do_no_harm(data):
    for tail in (bytes(100), b"\n", b"<html>" * 50):
        assert whole_image_size(data + tail) == (90, 130)
        assert np.array_equal(read_image(data + tail), read_image(data))


@pytest.mark.parametrize("data", [JPEG, PROGRESSIVE, RESTARTS, PNG])
def test_an_image_cut_off_anywhere_is_refused(data):
    for length in range(0, len(data) - 1, 37):
        with pytest.raises(ImageError):
            whole_image_size(data[:length])
        with pytest.raises(ImageError):
            read_image(data[:length] + bytes(len(data) - length))


def test_the_end_of_an_embedded_thumbnail_is_not_the_end_of_the_image():
    exif = b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2) + JPEG
    whole = JPEG[:2] + exif + JPEG[2:]
    assert whole_image_size(whole) == (90, 130)
    with pytest.raises(ImageError, match="cut off"):
        whole_image_size(whole[:-200])


def test_an_image_that_claims_to_be_vast_is_refused_without_decoding():
    start = JPEG.index(b"\xff\xc0")
    jpeg = JPEG[: start + 5] + (65000).to_bytes(2) * 2 + JPEG[start + 9 :]
    png = PNG[:16] + (100_000).to_bytes(4) * 2 + PNG[24:]
    for data, claim in ((jpeg, "65000 x 65000"), (png, "100000 x 100000")):
        for read in (image_size, read_image, read_small):
            with pytest.raises(ImageError, match=f"claims to be {claim} px"):
                read(data)


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: JPEG[:200] + tail))
def test_any_bytes_have_a_size_or_an_image_error(data):
    try:
        height, width = image_size(data)
    except ImageError:
        return
    assert height > 0 and width > 0


def scene(*options: int) -> bytes:
    image = cv2.resize(np.random.default_rng(1).integers(0, 255, (30, 40, 3), np.uint8), (640, 480))
    return cv2.imencode(".jpg", image, options)[1].tobytes()


@pytest.mark.parametrize(
    ("damage", "options"),
    [
        ("lost block", ()),
        ("lost block", (cv2.IMWRITE_JPEG_RST_INTERVAL, 9)),
        ("lost block", (cv2.IMWRITE_JPEG_QUALITY, 40)),
        ("foreign bytes", ()),
        ("early end", ()),
        ("early end", (cv2.IMWRITE_JPEG_RST_INTERVAL, 9)),
    ],
)
def test_a_jpeg_that_a_decoder_fills_with_grey_is_refused(damage, options):
    data = scene(*options)
    middle = len(data) // 2
    changed = {
        "lost block": data[:middle] + data[middle + 2000 :],
        "foreign bytes": data[:middle] + np.random.default_rng(0).bytes(4096) + data[middle + 4096 :],
        "early end": data[:middle] + data[-2:],
    }[damage]
    for read in (read_image, read_small):
        with pytest.raises(ImageError, match="is damaged: its data end before the picture does"):
            read(changed)


@pytest.mark.parametrize("grey", [0, 127, 128, 129, 255])
@pytest.mark.parametrize(
    "options",
    [
        (),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
        (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
    ],
)
def test_a_sound_jpeg_may_be_grey(grey, options):
    for image in (np.full((90, 130, 3), grey, np.uint8), np.full((90, 130), grey, np.uint8)):
        data = cv2.imencode(".jpg", image, options)[1].tobytes()
        assert (read_image(data) == grey).all() and (read_small(data) == grey).all()
    half = PICTURE.copy()
    half[40:] = grey
    data = cv2.imencode(".jpg", half, options)[1].tobytes()
    assert (read_image(data + b"\xff\xd8")[60:] == grey).all()


def test_colours_are_red_green_blue():
    red = np.zeros((8, 8, 3), np.uint8)
    red[..., 2] = 255  # OpenCV writes blue, green, red
    assert read_image(cv2.imencode(".png", red)[1].tobytes())[0, 0].tolist() == [255, 0, 0]


def test_bytes_that_cannot_be_decoded_are_an_image_error():
    for data in (b"", b"\xff\xd8 no image \xff\xd9"):
        with pytest.raises(ImageError):
            read_image(data)


def tiff(orientation: int, order: str = "<") -> bytes:
    """An EXIF structure with a make, the orientation and an entry behind it."""
    entries = [(0x010F, 2, 4, 0x41424300), (0x0112, 3, 1, None), (0x0128, 3, 1, 2)]
    content = (b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", 42, 8, len(entries))
    for tag, kind, count, value in entries:
        content += struct.pack(order + "HHI", tag, kind, count)
        content += (
            struct.pack(order + "HH", orientation, 0) if value is None else struct.pack(order + "I", value)
        )
    return content + bytes(4)


def jpeg_with(*segments: bytes) -> bytes:
    """The JPEG with APP1 segments behind its start."""
    return JPEG[:2] + b"".join(b"\xff\xe1" + (len(one) + 2).to_bytes(2) + one for one in segments) + JPEG[2:]


def png_with(exif: bytes, at: int = 33) -> bytes:
    """The PNG with an eXIf chunk behind its IHDR, or `at` another place."""
    chunk = len(exif).to_bytes(4) + b"eXIf" + exif + zlib.crc32(b"eXIf" + exif).to_bytes(4)
    return PNG[:at] + chunk + PNG[at:]


TURNED = {
    **{f"jpeg {order}": lambda o, order=order: jpeg_with(b"Exif\0\0" + tiff(o, order)) for order in "<>"},
    "jpeg behind xmp": lambda o: jpeg_with(b"http://ns.adobe.com/xap/1.0/\0<x/>", b"Exif\0\0" + tiff(o)),
    "jpeg behind broken": lambda o: jpeg_with(b"Exif\0\0II", b"Exif\0\0" + tiff(o)),
    "png": lambda o: png_with(tiff(o)),
    "png at its end": lambda o: png_with(tiff(o), PNG.index(b"IEND") - 4),
}


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("made", TURNED)
def test_an_image_is_read_as_opencv_and_the_annotation_tools_show_it(made, orientation, tmp_path):
    path = tmp_path / "frame"
    path.write_bytes(data := TURNED[made](orientation))
    shown = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    assert shown.shape[:2] == ((130, 90) if 5 <= orientation <= 8 else (90, 130))
    assert np.array_equal(read_image(data), shown)
    assert np.array_equal(read_image(path), shown)
    assert image_size(data) == image_size(path) == whole_image_size(data) == shown.shape[:2]
    small = np.asarray(cv2.imread(str(path), cv2.IMREAD_REDUCED_GRAYSCALE_8))
    assert np.array_equal(read_small(data), small)


def test_the_hand_made_corner_is_where_the_orientation_puts_it():
    """A red mark stored at the upper left: 3 shows it at the lower right, 6 at the upper right."""
    picture = np.zeros((20, 30, 3), np.uint8)
    picture[:4, :4, 2] = 255
    png = cv2.imencode(".png", picture)[1].tobytes()
    for orientation, place in ((1, (0, 0)), (3, (19, 29)), (6, (0, 19)), (8, (29, 0))):
        exif = tiff(orientation)
        chunk = len(exif).to_bytes(4) + b"eXIf" + exif + zlib.crc32(b"eXIf" + exif).to_bytes(4)
        assert read_image(png[:33] + chunk + png[33:])[place].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    "exif",
    [
        b"",
        b"II",
        b"II*\0" + b"\xff" * 4,
        b"II*\0\x08\0\0\0\xff\xff",
        b"II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0",
        b"XX" + tiff(6)[2:],
        tiff(6)[:20],
        tiff(0),
        tiff(65535),
    ],
)
def test_an_orientation_that_cannot_be_read_changes_nothing(exif):
    data = jpeg_with(b"Exif\0\0" + exif)
    assert image_size(data) == (90, 130)
    assert np.array_equal(read_image(data), read_image(JPEG))


@given(
    st.binary(max_size=60)
    | st.tuples(st.integers(0, 60), st.binary(max_size=8)).map(
        lambda change: tiff(6)[: change[0]] + change[1] + tiff(6)[change[0] + len(change[1]) :]
    )
)
def test_any_exif_gives_the_same_size_from_the_header_and_from_decoding(exif):
    data = jpeg_with(b"Exif\0\0" + exif)
    assert image_size(data) == read_image(data).shape[:2]


def test_a_size_on_disk_needs_the_header_alone(tmp_path):
    path = tmp_path / "cut.jpg"
    path.write_bytes(JPEG[:-200])
    assert image_size(path) == (90, 130)
    with pytest.raises(ImageError, match=r"cut\.jpg is cut off before its end"):
        read_image(path)


def test_a_path_that_is_no_image_is_named(tmp_path):
    (tmp_path / "a.jpg").write_text("<html>")
    for path, reason in (
        (tmp_path / "gone.jpg", "No such file or directory"),
        (tmp_path, "is not a regular file"),
        (tmp_path / "a.jpg", "is neither a JPEG nor a PNG image"),
    ):
        for read in (image_size, read_image):
            with pytest.raises(ImageError, match=reason) as error:
                read(Path(path))
            assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("suffix", "name"),
    [(".webp", "WebP"), (".bmp", "BMP"), (".tiff", "TIFF"), (".jp2", "JPEG 2000"), ("", "")],
)
def test_other_formats_are_named(suffix, name):
    data = encode(suffix) if suffix else b""
    reason = f"is a {name} image, whatever its name says; convert it" if suffix else "is empty; restore"
    for read in (image_size, whole_image_size, read_image, read_small):
        with pytest.raises(ImageError, match=reason):
            read(data)


def test_sixteen_bits_are_read_and_twelve_stored_in_sixteen_are_refused():
    grey = np.linspace(0, 4095, 48 * 32).reshape(32, 48).astype(np.uint16)
    full = cv2.imencode(".png", grey * 16)[1].tobytes()
    assert abs(int(read_image(full).max()) - 255) <= 1
    with pytest.raises(ImageError, match="no value above 4095 of 65535"):
        read_image(cv2.imencode(".png", grey)[1].tobytes())


def test_opacity_and_a_defective_pixel_do_not_hide_twelve_bits_in_sixteen():
    colour = np.full((120, 160, 4), 4095, np.uint16)
    colour[..., 3] = 65535
    hot = np.full((120, 160), 4095, np.uint16)
    hot[7, 9] = 65535  # 1 of 19,200 pixels
    for pixels in (colour, hot):
        with pytest.raises(ImageError, match="no value above 4095 of 65535"):
            read_image(cv2.imencode(".png", pixels)[1].tobytes())
    hot[:2] = 65535  # 1 of 60 pixels is bright
    assert read_image(cv2.imencode(".png", hot)[1].tobytes()).max() == 255
