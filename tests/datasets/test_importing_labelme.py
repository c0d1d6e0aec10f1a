import base64
import json

import cv2
import numpy as np
import pytest

from lgad_pipeline.datasets.importing.convert import Conversion, Format, convert
from lgad_pipeline.datasets.importing.summary import summary
from tests.datasets.importing_files import BOTTOM_FIRST, LANES, SIZE, image, labelme, lines, shape

SHAPES = [*map(shape, LANES)]


def imported(tmp_path) -> Conversion:
    return convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)


@pytest.mark.parametrize(
    ("annotation", "stated", "picture"),
    [
        ("labels/f.json", "../images/f.jpg", "images/f.jpg"),
        ("labels/f.json", "..\\images\\f.jpg", "images/f.jpg"),
        ("labels/f.json", "f.jpg", "images/f.jpg"),
        ("labels/day 1/f.json", "f.jpg", "images/day 1/f.jpg"),
        ("day/json/f.json", "f.jpg", "day/f.jpg"),
        ("day/json/f.json", "../f.jpg", "day/f.jpg"),
        ("f.json", "f.jpg", "images/f.jpg"),
        ("annotations/json/f.json", "f.jpg", "pictures/jpg/f.jpg"),
        ("f.json", "C:\\Users\\someone\\pics\\f.jpg", "f.jpg"),
        ("labels/f.json", "/home/someone/pics/f.jpg", "images/f.jpg"),
        ("f.json", "IMG_0001.jpg", "f.jpg"),
        ("f.json", "f.png", "f.jpg"),
        ("f.json", "F.JPG", "f.jpg"),
        ("a.json", "caf\u00e9.jpg", "cafe\u0301.jpg"),
        ("f.json", "../../elsewhere/f.jpg", "f.jpg"),
    ],
)
def test_the_image_is_found_where_people_have_it(tmp_path, annotation, stated, picture):
    image(tmp_path / "source" / picture)
    labelme(tmp_path / "source" / annotation, SHAPES, stated)
    done = imported(tmp_path)
    assert done.splits["train"] == [picture] and not done.rejected
    assert lines((tmp_path / "out" / picture).with_suffix(".lines.txt")) == BOTTOM_FIRST


def test_an_absolute_path_below_the_source_is_followed(tmp_path):
    for folder in ("x", "y"):
        image(tmp_path / f"source/{folder}/f.jpg")
    labelme(tmp_path / "source/f.json", SHAPES, str((tmp_path / "source/y/f.jpg").resolve()))
    assert imported(tmp_path).splits["train"] == ["y/f.jpg"]


def test_another_drives_image_of_the_same_name_is_not_used(tmp_path):
    image(tmp_path / "source/day1/images/0.jpg")
    labelme(tmp_path / "source/day1/labels/0.json", SHAPES)
    labelme(tmp_path / "source/day1/labels/1.json", SHAPES)
    image(tmp_path / "source/day2/images/1.jpg")
    image(tmp_path / "source/day3/2.jpg")
    labelme(tmp_path / "source/day3/2.json", SHAPES)
    labelme(tmp_path / "source/day4/2.json", SHAPES)
    done = imported(tmp_path)
    assert sorted(frame for frames in done.splits.values() for frame in frames) == [
        "day1/images/0.jpg",
        "day3/2.jpg",
    ]
    assert [row[0] for row in done.rejected] == ["day1/labels/1.json", "day4/2.json"]
    assert done.unused == 1


def test_of_two_annotations_of_an_image_the_one_with_shapes_counts(tmp_path):
    image(tmp_path / "source/f.jpg")
    labelme(tmp_path / "source/a.json", [], "f.jpg")
    labelme(tmp_path / "source/b.json", SHAPES, "f.jpg")
    labelme(tmp_path / "source/c.json", SHAPES[:1], "f.jpg")
    done = imported(tmp_path)
    assert lines(tmp_path / "out/f.lines.txt") == BOTTOM_FIRST
    assert [row[0] for row in done.rejected] == ["a.json", "c.json"]
    assert all("annotates f.jpg, which b.json annotates, too" in row[2] for row in done.rejected)


def test_of_an_annotation_and_its_copy_the_one_of_the_images_name_counts(tmp_path):
    image(tmp_path / "source/f.jpg")
    labelme(tmp_path / "source/f (1).json", SHAPES[:1], "f.jpg")
    labelme(tmp_path / "source/f.json", SHAPES, "f.jpg")
    assert [item.file for item in imported(tmp_path).rejected] == ["f (1).json"]
    assert lines(tmp_path / "out/f.lines.txt") == BOTTOM_FIRST


@pytest.mark.parametrize("ending", [".jpg", ".png"])
def test_an_image_that_only_the_annotation_holds_is_written(tmp_path, ending):
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    data = cv2.imencode(ending, pixels)[1].tobytes()
    labelme(tmp_path / "source/day/f.json", SHAPES, "gone.jpg", imageData=base64.b64encode(data).decode())
    done = imported(tmp_path)
    assert done.embedded == 1 and done.splits["train"] == [f"day/f{ending}"]
    assert (tmp_path / f"out/day/f{ending}").read_bytes() == data
    labelme(tmp_path / "source/day/g.json", SHAPES, "gone.jpg", imageData="QUJD")
    labelme(tmp_path / "source/day/h.json", SHAPES, "gone.jpg", imageData="=?")
    done = convert(tmp_path / "source", tmp_path / "out2", annotations=Format.LABELME)
    assert sum(done.frames.values()) == 1 and len(done.rejected) == 2
    assert "neither a JPEG nor a PNG" in done.rejected[0][2]
    assert "holds no image in imageData that can be decoded" in done.rejected[1][2]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "gbk"])
def test_annotations_are_read_in_any_usual_encoding(tmp_path, encoding):
    image(tmp_path / "source/车道.jpg")
    content = {"imagePath": "车道.jpg", "shapes": [shape(LANES[0], label="车道线")], "imageData": ""}
    (tmp_path / "source/f.json").write_bytes(json.dumps(content, ensure_ascii=False).encode(encoding))
    done = imported(tmp_path)
    assert done.splits["train"] == ["车道.jpg"] and done.shapes.labels == {"车道线": 1}


@pytest.mark.parametrize("without", [{}, {"shape_type": None}])
def test_shapes_of_old_versions_without_a_type_are_polygons(tmp_path, without):
    image(tmp_path / "source/f.jpg")
    band = {"label": "lane", "points": [[100, 59], [106, 59], [122, 19], [120, 19]], **without}
    line = {"label": "lane", "points": [[30, 59], [36, 40], [40, 20]], **without}
    labelme(tmp_path / "source/f.json", [band, line], size=None)
    done = imported(tmp_path)
    assert lines(tmp_path / "out/f.lines.txt") == [
        [[102.5, 58.5], [120.5, 18.5]],
        [[29.5, 58.5], [35.5, 39.5], [39.5, 19.5]],
    ]
    assert done.shapes.used == {("polygon", "centre line"): 2}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[" * 50_000, "is not JSON"),
        (b"\xff\xff\xff\x80", "neither UTF-8 nor UTF-16 nor GBK"),
        ('["lane"]', "is not a labelme file"),
        ("{}", "is not a labelme file"),
        ('{"imagePath": 3, "shapes": []}', "names no image in imagePath"),
        ('{"imagePath": "../../etc/passwd", "shapes": []}', "is outside the source folder"),
        ('{"imagePath": "gone.jpg", "shapes": []}', "is not found near it"),
        ('{"imagePath": "000.bmp", "shapes": []}', "is a .bmp file; convert it"),
        ('{"imagePath": "000.jpg", "shapes": []}', "annotates drive/000.jpg, which drive/000.json annotates"),
        ('{"images": [], "annotations": [], "categories": []}', "annotation of COCO"),
        ('{"_via_img_metadata": {}}', "annotation of VIA"),
        ('[{"data": {}, "annotations": []}]', "annotation of Label Studio"),
        ('{"raw_file": "a", "lanes": [], "h_samples": []}', "kind tusimple"),
        ('{"raw_file": "a", "lanes": [], "h_samples": []}\n{"raw_file": "b"}', "kind tusimple"),
        ('[{"name": "a.jpg", "labels": []}]', "kind bdd100k"),
    ],
)
def test_a_bad_file_is_rejected_alone(tmp_path, content, words):
    for number in range(3):
        image(tmp_path / f"source/drive/{number:03d}.jpg")
        labelme(tmp_path / f"source/drive/{number:03d}.json", SHAPES)
    (tmp_path / "source/drive/000.bmp").write_bytes(b"BM")
    bad = tmp_path / "source/drive/bad.json"
    bad.write_bytes(content if isinstance(content, bytes) else content.encode())
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 3
    [(file, _, reason)] = done.rejected
    assert file == "drive/bad.json" and words in reason


def test_flags_of_images_are_named(tmp_path):
    """An annotator may flag images that are not to be used, so the import says that it takes them."""
    for name, flags in (("f", {"blurred": True, "night": False}), ("g", {"blurred": True})):
        image(tmp_path / f"source/{name}.jpg", seed=ord(name))
        labelme(tmp_path / f"source/{name}.json", SHAPES if name == "f" else [], flags=flags)
    labelme(tmp_path / "source/h.json", SHAPES, "g.jpg")
    done = imported(tmp_path)
    assert done.shapes.ignored == {"flag blurred": 1} and done.count == 4
    assert [item.file for item in done.rejected] == ["g.json"]  # it has no shape, and h.json has
    assert "Not imported: flag blurred 1." in summary(done)


def test_labels_may_be_numbers_and_have_blanks_around_them(tmp_path):
    image(tmp_path / "source/f.jpg")
    clicks = [
        shape([point], "point", label)
        for label, lane in zip((1, " 2 "), LANES, strict=True)
        for point in lane
    ]
    labelme(tmp_path / "source/f.json", [*clicks, shape([[80, 20], [80, 50]], label="curb ")])
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME, labels=["1", "2"])
    assert done.shapes.labels == {"1": 2, "2": 2, "curb": 1} and done.shapes.ignored == {"label curb": 1}
    assert lines(tmp_path / "out/f.lines.txt") == BOTTOM_FIRST


def test_images_outside_the_source_are_not_read(tmp_path):
    image(tmp_path / "secret/f.jpg")
    (tmp_path / "source").mkdir()
    (tmp_path / "source/f.jpg").symlink_to(tmp_path / "secret/f.jpg")
    labelme(tmp_path / "source/f.json", SHAPES)
    image(tmp_path / "secret/g.jpg")
    labelme(tmp_path / "source/g.json", SHAPES, "../secret/g.jpg")
    image(tmp_path / "source/h.jpg")
    labelme(tmp_path / "source/h.json", SHAPES)
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 1
    reasons = {file: reason for file, _, reason in done.rejected}
    assert "leads out of the data root by a link" in reasons["f.jpg"]
    assert "is outside the source folder; name a folder that holds both" in reasons["g.json"]


@pytest.mark.parametrize("kind", ["linestrip", "line", "polygon", "points"])
def test_a_shape_without_points_is_rejected_alone(tmp_path, kind):
    image(tmp_path / "source/f.jpg")
    labelme(tmp_path / "source/f.json", [*SHAPES, shape([], kind)])
    done = imported(tmp_path)
    assert lines(tmp_path / "out/f.lines.txt") == BOTTOM_FIRST
    assert [key[2] for key in done.shapes.rejected] == ["has no points; remove it or draw the line"]


def test_an_image_that_ingestion_refuses_is_not_imported(tmp_path):
    image(tmp_path / "source/f.jpg")
    labelme(tmp_path / "source/f.json", SHAPES)
    cv2.imwrite(str(tmp_path / "source/g.png"), np.full((*SIZE, 3), 3825, np.uint16))
    labelme(tmp_path / "source/g.json", SHAPES, "g.png")
    done = imported(tmp_path)
    assert done.splits["train"] == ["f.jpg"]
    ((name, _, reason),) = done.rejected
    assert name == "g.png" and "would be nearly black" in reason


def test_an_image_that_is_not_the_annotated_picture_is_rejected(tmp_path):
    """imageData has the picture as it was annotated; the images were numbered again after it."""
    size = (270, 480)
    for number in range(4):
        image(tmp_path / f"source/{number}.png", number, size)
        pixels = cv2.imread(str(tmp_path / f"source/{number}.png"))
        assert pixels is not None
        if number == 2:  # the picture of 3.png
            image(tmp_path / "annotated.jpg", 3, size)
        elif number == 1:  # the same picture, saved again with less quality and more light
            lighter = np.clip(pixels.astype(int) + 30, 0, 255).astype(np.uint8)
            assert cv2.imwrite(str(tmp_path / "annotated.jpg"), lighter, [cv2.IMWRITE_JPEG_QUALITY, 60])
        else:
            (tmp_path / "annotated.jpg").write_bytes((tmp_path / f"source/{number}.png").read_bytes())
        held = base64.b64encode((tmp_path / "annotated.jpg").read_bytes()).decode()
        labelme(tmp_path / f"source/{number}.json", SHAPES, f"{number}.png", size, imageData=held)
    done = imported(tmp_path)
    assert sum(done.frames.values()) == 3
    [(file, _, reason)] = done.rejected
    assert file == "2.png" and reason.startswith("shows another picture than the one that 2.json holds")
