import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.data.commands import import_data
from lgad_pipeline.data.frames import lanes_of
from lgad_pipeline.data.importing.convert import Format, convert, draw_splits
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.errors import LgadError

SIZE = (60, 160)
LANES = [[[40.5, 20.5], [30.5, 59.5]], [[120.5, 59.5], [100.5, 20.5]]]
BOTTOM_FIRST = [[[30, 59], [40, 20]], [[120, 59], [100, 20]]]


def image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (6, 16, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, SIZE[::-1]))


def shape(points: object, kind: str = "linestrip") -> dict:
    return {"label": "lane", "points": points, "shape_type": kind}


def write_labelme(source: Path, count: int = 10) -> None:
    for number in range(count):
        image(source / "drive" / f"{number:03d}.jpg", number)
        shapes = [*map(shape, LANES), shape([[1, 2], [3, 4], [5, 6]], "polygon")]
        content = {"imagePath": f"{number:03d}.jpg", "shapes": shapes, "imageData": None}
        (source / "drive" / f"{number:03d}.json").write_text(json.dumps(content))


def write_cvat(source: Path, images: str, before: str = "") -> None:
    source.mkdir(exist_ok=True)
    head = '<?xml version="1.0" encoding="utf-8"?>'
    (source / "annotations.xml").write_text(
        f"{head}\n{before}<annotations><version>1.1</version>{images}</annotations>"
    )


def polylines() -> str:
    points = (";".join(f"{x},{y}" for x, y in lane) for lane in LANES)
    return "".join(f'<polyline label="lane" source="manual" points="{text}"/>' for text in points)


def test_labelme_becomes_a_data_set(tmp_path):
    write_labelme(tmp_path / "source")
    done = convert(tmp_path / "source", tmp_path / "out", Format.LABELME, run=1)
    assert done.frames == {"train": 7, "val": 1, "test": 2}
    assert done.sizes == {SIZE: 10} and not done.set_aside
    found = ingest(tmp_path / "out", SIZE)
    assert len(found.frames) == 10 and found.set_aside.empty
    assert [lane.tolist() for lane in lanes_of(found.frames["lanes"][0])] == BOTTOM_FIRST


def test_cvat_becomes_a_data_set(tmp_path, capsys):
    for number in range(4):
        image(tmp_path / "source/images" / f"{number}.png", number)
    images = "".join(
        f'<image id="{number}" name="{number}.png" width="160" height="60">{polylines()}</image>'
        for number in range(4)
    )
    write_cvat(tmp_path / "source", images)
    import_data(Format.CVAT, tmp_path / "source", tmp_path / "mine", val=0.25, test=0.25, run=1, seed=0)
    printed = capsys.readouterr().out
    assert "2 train, 1 val, 1 test; 0 set aside" in printed and "frame_size: [60, 160]" in printed
    found = ingest(tmp_path / "mine", SIZE)
    assert len(found.frames) == 4 and found.set_aside.empty
    assert [lane.tolist() for lane in lanes_of(found.frames["lanes"][3])] == BOTTOM_FIRST


def test_splits_are_drawn_by_runs_within_folders():
    frames = sorted(f"{folder}/{number:02d}.jpg" for folder in "ab" for number in range(25))
    splits = draw_splits(frames, val=0.2, test=0.2, run=10, seed=3)
    assert sorted(frame for members in splits.values() for frame in members) == frames
    assert splits == draw_splits(frames, val=0.2, test=0.2, run=10, seed=3)
    assert splits != draw_splits(frames, val=0.2, test=0.2, run=10, seed=4)
    run_of = {frame: (frame[0], int(frame[2:4]) // 10) for frame in frames}
    for split in splits:
        others = {run_of[frame] for other in splits if other != split for frame in splits[other]}
        assert not others & {run_of[frame] for frame in splits[split]}
    assert len(splits["test"]) >= 10 and len(splits["val"]) >= 10 and len(splits["train"]) > 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is no labelme file"),
        ("[" * 50_000, "is no labelme file"),
        ('{"imagePath": 3, "shapes": []}', "is no labelme file"),
        ('{"imagePath": "../../etc/passwd", "shapes": []}', "leads out of the data root"),
        ('{"imagePath": "gone.jpg", "shapes": []}', "annotated but missing"),
        ('{"imagePath": "000.jpg", "shapes": []}', "annotated twice"),
        (json.dumps({"imagePath": "a.jpg", "shapes": [shape([[1, 2]])]}), "fewer than two points"),
        (
            json.dumps({"imagePath": "a.jpg", "shapes": [shape([[1, 1e300], [2, 3]])]}),
            "no place near",
        ),
        (json.dumps({"imagePath": "a.jpg", "shapes": [shape([[1, 10**400], [2, 3]])]}), "not made of x y"),
    ],
)
def test_a_bad_labelme_file_is_set_aside_alone(tmp_path, content, words):
    write_labelme(tmp_path / "source", 3)
    (tmp_path / "source/drive/bad.json").write_text(content)
    done = convert(tmp_path / "source", tmp_path / "out", Format.LABELME)
    assert sum(done.frames.values()) == 3
    assert len(done.set_aside) == 1 and words in done.set_aside[0][2]


def test_a_bad_cvat_image_is_set_aside_alone(tmp_path):
    image(tmp_path / "source/0.jpg", 0)
    write_cvat(
        tmp_path / "source",
        f'\n<image name="0.jpg">{polylines()}</image>\n<image name="../0.jpg">{polylines()}</image>'
        '\n<image name="1.jpg"><polyline points="1,2;3"/></image>\n<image name="2.jpg"/>',
    )
    done = convert(tmp_path / "source", tmp_path / "out", Format.CVAT, val=0, test=0)
    assert done.frames == {"train": 1, "val": 0, "test": 0}
    assert [row[:2] for row in done.set_aside] == [
        ("annotations.xml", 4),
        ("annotations.xml", 5),
        ("images/2.jpg", None),
    ]


BOMB = (
    '<!DOCTYPE a [<!ENTITY x "ha">'
    + "".join(f'<!ENTITY x{n} "{f"&x{n - 1 or str()};" * 10}">' for n in range(1, 9))
    + "]>"
)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (BOMB, "declares a document type"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd">', "declares a document type"),
        ("<", "is no XML"),
        ('<?xml version="1.0" encoding="utf-9"?>', "is no XML"),
        ('<?xml version="1.0" encoding="big5"?>', "is no XML"),
    ],
)
def test_hostile_xml_is_refused(tmp_path, before, words):
    write_cvat(tmp_path / "source", "", before)
    with pytest.raises(LgadError, match=words):
        convert(tmp_path / "source", tmp_path / "out", Format.CVAT)


def test_what_cannot_be_imported_is_one_clear_sentence(tmp_path):
    with pytest.raises(LgadError, match="is missing; name the folder"):
        convert(tmp_path / "none", tmp_path / "out", Format.LABELME)
    (tmp_path / "source").mkdir()
    with pytest.raises(LgadError, match="holds no annotated image"):
        convert(tmp_path / "source", tmp_path / "out", Format.LABELME)
    with pytest.raises(LgadError, match=r"annotations.xml is missing"):
        convert(tmp_path / "source", tmp_path / "out", Format.CVAT)
    with pytest.raises(LgadError, match="is not empty"):
        convert(tmp_path / "source", tmp_path, Format.LABELME)
