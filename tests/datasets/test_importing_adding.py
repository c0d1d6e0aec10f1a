"""Frames that are added to a data set which has files of theirs already."""

import base64
from pathlib import Path

import pytest

from lgad_pipeline.datasets.images import image_orientation
from lgad_pipeline.datasets.importing.adding import add_frames
from lgad_pipeline.datasets.importing.convert import Conversion, Format, convert
from lgad_pipeline.errors import LgadError
from tests.datasets.importing_files import LANES, image, labelme, shape

SHAPES = [shape(LANES[0], flags={"solid": True})]


def data_set(root: Path, listed: list[tuple[str, tuple[int, int]]] | None = None) -> None:
    (root / "list").mkdir(parents=True)
    for seed, (name, size) in enumerate(listed or [("b.jpg", (60, 160))], 50):
        image(root / name, seed, size)
        (root / name).with_suffix(".lines.txt").write_text("")
    names = "".join(f"{name}\n" for name, _ in listed or [("b.jpg", None)])
    for split in ("train", "val", "test"):
        (root / f"list/{split}.txt").write_text(names if split == "train" else "")


def added(tmp_path: Path) -> Conversion:
    return add_frames(tmp_path / "source", tmp_path / "set", annotations=Format.LABELME)


def test_types_of_lanes_that_are_there_already_are_neither_replaced_nor_used(tmp_path):
    data_set(tmp_path / "set")
    image(tmp_path / "source/a.jpg")
    labelme(tmp_path / "source/a.json", SHAPES)
    types = tmp_path / "set/a.types.txt"
    types.write_text("dashed\n")
    with pytest.raises(LgadError, match=r"file of lane types in .*set, a\.types\.txt, with other types"):
        added(tmp_path)
    labelme(tmp_path / "source/a.json", [shape(LANES[0])])
    with pytest.raises(LgadError, match="with other types; remove it"):
        added(tmp_path)
    assert types.read_text() == "dashed\n" and not (tmp_path / "set/a.jpg").exists()
    labelme(tmp_path / "source/a.json", [shape(LANES[0], flags={"dashed": True})])
    assert added(tmp_path).splits["train"] == ["a.jpg"]


@pytest.mark.parametrize("orientation", [1, 6])
def test_an_import_that_was_interrupted_before_the_lists_is_completed(tmp_path, orientation):
    data_set(tmp_path / "set", [("b.jpg", (60, 160) if orientation == 1 else (160, 60))])
    image(tmp_path / "source/a.jpg", orientation=orientation)
    labelme(tmp_path / "source/a.json", [shape([[20, 20], [20, 50]])], size=None)
    assert added(tmp_path).splits["train"] == ["a.jpg"]
    (tmp_path / "set/list/train.txt").write_text("b.jpg\n")
    for _ in range(2):
        assert added(tmp_path).splits["train"] == ["a.jpg"]
        (tmp_path / "set/list/train.txt").write_text("b.jpg\n")
    assert image_orientation((tmp_path / "set/a.jpg").read_bytes()) == 1
    found = {path.name for path in (tmp_path / "set").iterdir()}
    assert found == {".lock", "a.jpg", "a.lines.txt", "b.jpg", "b.lines.txt", "list"}


@pytest.mark.parametrize("name", ["a", "a.jpg"])  # of the annotation file, without .json
def test_an_embedded_image_is_used_and_compared_if_there_is_no_file(tmp_path, name):
    data_set(tmp_path / "set")
    image(tmp_path / "picture.jpg", 1)
    content = (tmp_path / "picture.jpg").read_bytes()
    text = base64.b64encode(content).decode()
    labelme(tmp_path / f"source/{name}.json", SHAPES, "somewhere/else.jpg", imageData=text)
    image(tmp_path / "source/c.jpg", 2)
    labelme(tmp_path / "source/c.json", SHAPES)
    (tmp_path / "set/a.jpg").write_bytes(content)
    assert added(tmp_path).splits["train"] == ["a.jpg", "c.jpg"]
    assert (tmp_path / "set/a.jpg").read_bytes() == content


def test_an_embedded_image_is_not_that_of_another_annotation(tmp_path):
    texts = {}
    for name in ("one.jpg", "two.jpg", "three.png"):
        image(tmp_path / name, len(texts))
        texts[name] = base64.b64encode((tmp_path / name).read_bytes()).decode()
    labelme(tmp_path / "source/a.json", SHAPES, "x.jpg", imageData=texts["one.jpg"])
    labelme(tmp_path / "source/a.jpg.json", SHAPES, "y.jpg", imageData=texts["two.jpg"])
    image(tmp_path / "source/b.png", 9)
    labelme(tmp_path / "source/other.json", SHAPES, "b.png")
    labelme(tmp_path / "source/b.jpg.json", SHAPES, "z.jpg", imageData=texts["three.png"])
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    assert sorted(name for names in done.splits.values() for name in names) == ["a.jpg", "b.png"]
    reasons = sorted(fault.reason for fault in done.rejected)
    assert reasons == [
        f"is the image of another annotation, too; rename {name}.json" for name in ("a", "b.jpg")
    ]
    assert (tmp_path / "out/b.png").read_bytes() == (tmp_path / "source/b.png").read_bytes()
    assert (tmp_path / "out/a.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()


def test_a_turned_image_that_is_damaged_is_rejected_alone(tmp_path):
    for number in range(4):
        image(tmp_path / f"source/{number}.jpg", number)
        labelme(tmp_path / f"source/{number}.json", SHAPES)
    image(tmp_path / "source/turned.jpg", 9, orientation=6)
    data = (tmp_path / "source/turned.jpg").read_bytes()
    (tmp_path / "source/turned.jpg").write_bytes(data[: len(data) // 2] + b"\xff\xd9")
    labelme(tmp_path / "source/turned.json", [shape([[20, 20], [20, 50]])], size=None)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    (fault,) = done.rejected
    assert fault.file == "turned.jpg" and "damaged" in fault.reason
    assert sum(done.frames.values()) == 4


def test_the_size_of_the_data_set_is_that_of_most_frames(tmp_path):
    sizes = [("b0.jpg", (30, 80)), ("b1.jpg", (60, 160)), ("b2.jpg", (60, 160))]
    data_set(tmp_path / "set", sizes)
    image(tmp_path / "source/a.jpg")
    labelme(tmp_path / "source/a.json", SHAPES)
    assert added(tmp_path).splits["train"] == ["a.jpg"]


def test_a_name_that_is_too_long_is_rejected_alone(tmp_path):
    image(tmp_path / "source/a.jpg")
    labelme(tmp_path / "source/a.json", SHAPES)
    labelme(tmp_path / "source/long.json", SHAPES, f"{'x' * 300}.bmp")
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    (fault,) = done.rejected
    assert fault.file == "long.json" and sum(done.frames.values()) == 1
