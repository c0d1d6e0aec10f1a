"""Readers of CurveLanes and VIL-100: hand-made data sets in the published layouts."""

import json
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets import curvelanes, vil100
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.datasets.registry import dataset_reader
from lgad_pipeline.errors import LgadError

SIZE = (64, 128)
LANES = [[[10.5, 60.0], [40.25, 20.0]], [[90.0, 20.0], [120.0, 60.0]]]
BOTTOM_FIRST = [LANES[0], LANES[1][::-1]]
ONE_POINT = [[5.0, 5.0]]
SINGLE = "{} annotated lanes have a single point and no length"


def picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = zlib.crc32("/".join(path.parts[-3:]).encode())  # frames with equal pictures are rejected
    small = np.random.default_rng(seed).integers(0, 255, (8, 16, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, size[::-1]))


def curvelanes_label(path: Path, lanes: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [[{"y": str(y), "x": str(x)} for x, y in lane] for lane in lanes]
    path.write_text(json.dumps({"Lines": lines}))


def vil100_label(path: Path, lanes: list) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    found = [
        # 2 is "single white dotted"; 6 is no published code.
        {"id": number, "lane_id": 1, "attribute": (2, 6)[number % 2], "occlusion": 0, "points": lane}
        for number, lane in enumerate(lanes, 1)
    ]
    path.write_text(json.dumps({"camera_id": 8272, "annotations": {"lane": found}}))


@pytest.fixture
def curvelanes_root(tmp_path: Path) -> Path:
    for split, names in (("train", "abc"), ("valid", "x")):
        for name in names:
            picture(tmp_path / f"{split}/images/{name}.jpg")
            curvelanes_label(tmp_path / f"{split}/labels/{name}.lines.json", [*LANES, ONE_POINT])
        lines = "".join(f"images/{name}.jpg\n" for name in names)
        (tmp_path / f"{split}/{split}.txt").write_text(lines)
    return tmp_path


def test_curvelanes_becomes_splits_and_lanes(curvelanes_root):
    found = ingest(curvelanes_root, SIZE, kind="curvelanes")
    assert found.rejected.empty
    # Of three training frames the second one is held out; the published validation frames are the test.
    assert found.frames[["frame", "split"]].values.tolist() == [
        ["train/images/a.jpg", "train"],
        ["train/images/c.jpg", "train"],
        ["train/images/b.jpg", "val"],
        ["valid/images/x.jpg", "test"],
    ]
    assert [lane.tolist() for lane in lanes_of(found.frames["lanes"].iloc[0])] == [*BOTTOM_FIRST, ONE_POINT]
    assert [note.text.partition(";")[0] for note in found.notes] == [SINGLE.format(4)]


def test_curvelanes_frames_that_cannot_be_used_are_rejected_with_their_line(curvelanes_root):
    (curvelanes_root / "train/labels/a.lines.json").write_text('{"Lines": [[{"x": "1"}]]}')
    picture(curvelanes_root / "train/images/c.jpg", (66, 157))
    lists = curvelanes_root / "train/train.txt"
    lists.write_text(lists.read_text() + "images/b.jpg\nimages/gone.jpg\nimages/b.txt\n../../b.jpg\n")
    found = ingest(curvelanes_root, SIZE, kind="curvelanes")
    reasons = {(row.file, row.line): str(row.reason) for row in found.rejected.itertuples()}
    assert len(found.frames) == 2 and len(reasons) == 5, reasons
    assert any("is not a label file with `Lines`" in reason for reason in reasons.values())
    assert any("157 x 66" in reason for reason in reasons.values())
    assert [note.file for note in found.notes] == ["train/train.txt", "annotations"]
    (curvelanes_root / "valid/valid.txt").unlink()
    assert "no test frames" in ingest(curvelanes_root, SIZE, kind="curvelanes").notes[-2].text
    lists.unlink()
    with pytest.raises(LgadError, match=r"train/train\.txt is missing"):
        dataset_reader("curvelanes").list_frames(curvelanes_root, [])


def test_curvelanes_frames_of_one_name_in_two_folders_are_rejected(curvelanes_root):
    for folder in ("d1", "d2"):
        picture(curvelanes_root / f"train/images/{folder}/a.jpg")
    (curvelanes_root / "train/train.txt").write_text("images/d1/a.jpg\nimages/b.jpg\nimages/d2/a.jpg\n")
    found = ingest(curvelanes_root, SIZE, kind="curvelanes")
    assert found.frames["frame"].tolist() == ["train/images/b.jpg", "valid/images/x.jpg"]
    assert [(row.file, row.line) for row in found.rejected.itertuples()] == [
        ("train/train.txt", 1),
        ("train/train.txt", 3),
    ]
    assert found.rejected["reason"].str.contains("the label file train/labels/a.lines.json together").all()


@pytest.fixture
def vil100_root(tmp_path: Path) -> Path:
    videos = {"0_Road001": "train", "1_Road002": "train", "39_Road003": "test", "3268_Road004": "test"}
    sequences = "".join(f"- {{name: {video}, set: {split}}}\n" for video, split in videos.items())
    (tmp_path / "data").mkdir()
    (tmp_path / "data/db_info.yaml").write_text(f"sequences:\n{sequences}")
    for video in videos:
        for name in ("00000", "00003"):
            picture(tmp_path / f"JPEGImages/{video}/{name}.jpg")
            vil100_label(tmp_path / f"Json/{video}/{name}.jpg.json", [*LANES, ONE_POINT])
    return tmp_path


def test_vil100_becomes_splits_scenarios_and_lanes(vil100_root):
    found = ingest(vil100_root, SIZE, kind="vil100")
    table = found.frames.assign(video=found.frames["frame"].str.split("/").str[1])
    table["scenario"] = table["scenario"].fillna("none")
    assert table[["video", "split", "scenario"]].drop_duplicates().values.tolist() == [
        ["0_Road001", "train", "none"],
        ["1_Road002", "val", "none"],
        ["39_Road003", "test", "none"],  # damaged road and crossroad are not categories of CULane
        ["3268_Road004", "test", "curve"],
    ]
    assert len(table) == 8 and found.rejected.empty
    assert [lane.tolist() for lane in lanes_of(table["lanes"].iloc[0])] == [*BOTTOM_FIRST, ONE_POINT]
    assert list(table["lane_types"].iloc[0]) == ["", "single white dotted", ""]
    assert [note.text.partition(";")[0] for note in found.notes] == [SINGLE.format(8)]


def test_vil100_videos_and_labels_that_cannot_be_used_are_rejected(vil100_root):
    (vil100_root / "Json/0_Road001/00000.jpg.json").write_text("[]")
    (vil100_root / "Json/0_Road001/notes.json").write_text("{}")
    splits = vil100_root / "data/db_info.yaml"
    splits.write_text(
        splits.read_text()
        + "- {name: 2_Road009, set: train}\n- {name: ../x, set: train}\n- {name: a, set: b}\n"
    )
    found = ingest(vil100_root, SIZE, kind="vil100")
    reasons = "\n".join(f"{row.file}: {row.reason}" for row in found.rejected.itertuples())
    assert "00000.jpg.json: is not a label file" in reasons and "notes" in reasons
    assert "2_Road009, which has no label files" in reasons
    assert "'../x' of 'train'" in reasons and "'a' of 'b'" in reasons
    assert len(found.frames) == 7 and len(found.rejected) == 5
    for content in ("sequences: 7", "- a", ": :", ""):
        splits.write_text(content)
        with pytest.raises(LgadError, match="no `sequences`"):
            vil100.list_frames(vil100_root, [])
    splits.unlink()
    with pytest.raises(LgadError, match=r"db_info\.yaml is missing"):
        vil100.list_frames(vil100_root, [])


@pytest.mark.parametrize("reader", [curvelanes, vil100])
@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[" * 9999, b'{"Lines": [3]}', b'{"annotations": {"lane": [{"points": [[1]]}]}}'],
)
def test_damaged_labels_are_refused(reader, content):
    with pytest.raises(AnnotationError):
        reader.parse_annotation(content)
