import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.datasets.llamas import parse_annotation
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.errors import LgadError

SIZE = (717, 1276)


def lane(*markers: tuple, name: str = "l0") -> dict:
    """A lane of markers from their near end to their far one; the published files have texts for numbers."""
    ends = [
        {
            "lane_marker_id": str(number),
            "world_start": {"x": "0", "y": "0", "z": "5"},
            "pixel_start": {"x": str(near[0]), "y": str(near[1])},
            "pixel_end": {"x": str(far[0]), "y": str(far[1])},
        }
        for number, (near, far) in enumerate(markers)
    ]
    return {"lane_id": name, "markers": ends}


# Two dashes on each side of the car, on straight lines; the nearer dash ends at row 676.
LEFT = lane(((440, 676), (480, 616)), ((520, 556), (560, 496)))
RIGHT = lane(((840, 676), (800, 616)), ((760, 556), (720, 496)), name="r0")
ARTEFACT = lane(((600, 500), (601, 490)), ((602, 495), (603, 490)))
ALONE = lane(((100, 676), (150, 600)))


def write(root: Path, split: str, recording: str, name: str, found: list[dict]) -> None:
    label = root / f"labels/{split}/{recording}/{name}.json"
    label.parent.mkdir(parents=True, exist_ok=True)
    label.write_text(json.dumps({"image_name": name, "projection_matrix": [], "lanes": found}))
    image = root / f"color_images/{split}/{recording}/{name}_color_rect.png"
    image.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(len(list(root.rglob("*.png")))).integers(0, 255, (9, 16, 3), np.uint8)
    assert cv2.imwrite(str(image), cv2.resize(small, SIZE[::-1]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "train", "drive-1", "10_1", [LEFT, RIGHT, ARTEFACT, ALONE])
    write(tmp_path, "train", "drive-2", "20_1", [])
    write(tmp_path, "valid", "drive-3", "30_1", [LEFT])
    return tmp_path


def test_label_files_become_splits_and_markers_become_lanes(root):
    found = ingest(root, SIZE, kind="llamas")
    assert found.rejected.empty
    assert found.frames[["frame", "split"]].values.tolist() == [
        ["color_images/train/drive-1/10_1_color_rect.png", "train"],
        ["color_images/train/drive-2/20_1_color_rect.png", "val"],
        ["color_images/valid/drive-3/30_1_color_rect.png", "test"],
    ]
    left, right = lanes_of(found.frames["lanes"][0])
    # The lines go through (440, 676) and (840, 676) and move 2 px sideways in 3 rows.
    np.testing.assert_allclose(left[:, 0], 440 + (676 - left[:, 1]) * 2 / 3, atol=1e-3)
    np.testing.assert_allclose(right[:, 0], 840 - (676 - right[:, 1]) * 2 / 3, atol=1e-3)
    assert left[0, 1] == 716 and left[-1, 1] == 496 and (np.diff(left[:, 1]) < 0).all()
    existence = assign_lane_slots(found.frames)["existence"]
    assert [list(flags) for flags in existence[:2]] == [[False, True, True, False], [False] * 4]


def test_where_markers_overlap_the_lane_runs_between_them_and_leaves_the_frame_at_its_side():
    overlapping = lane(((100, 600), (100, 500)), ((110, 620), (110, 500)))
    (found,) = parse_annotation(json.dumps({"lanes": [overlapping]}).encode())
    assert set(found[found[:, 1] <= 600][:, 0].tolist()) == {105}
    leaving = lane(((40, 600), (140, 500)), ((180, 460), (200, 440)))
    (found,) = parse_annotation(json.dumps({"lanes": [leaving]}).encode())
    assert 0 <= found[0, 0] < 10 and 630 < found[0, 1] <= 640


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not a label file"),
        ("[" * 100_000, "is not a label file"),
        ('{"lanes": 3}', "is not a label file"),
        ('{"lanes": [{"markers": [{"pixel_start": {"x": 1}}]}]}', "is not a label file"),
        (
            json.dumps({"lanes": [lane(((1, 717), (1, 500)), ((1, 400), (1, 300)))]}),
            "above or below",
        ),
        (
            json.dumps({"lanes": [lane(((1, -1), (1, 500)), ((1, 400), (1, 300)))]}),
            "above or below",
        ),
        (json.dumps({"lanes": [lane((("nan", 3), (1, 5)))]}), "not near a frame"),
        (json.dumps({"lanes": [lane(((1, 1e300), (1, 5)))]}), "not near a frame"),
        (json.dumps({"lanes": [lane((("x", 3), (1, 5)))]}), "not made of x y pairs"),
    ],
)
def test_only_a_bad_label_file_is_rejected(root, text, words):
    (root / "labels/train/drive-1/10_1.json").write_text(text)
    found = ingest(root, SIZE, kind="llamas")
    (row,) = found.rejected.itertuples()
    assert len(found.frames) == 2 and row.file == "labels/train/drive-1/10_1.json" and words in row.reason


def test_names_that_are_no_text_and_missing_frames_are_rejected(root):
    (root / b"labels/train/drive-1/\xff.json".decode(errors="surrogateescape")).write_text("{}")
    (root / "color_images/train/drive-1/10_1_color_rect.png").unlink()
    found = ingest(root, SIZE, kind="llamas").rejected
    assert found["file"].tolist() == ["labels/train/drive-1/\\udcff.json", "labels/train/drive-1/10_1.json"]
    assert "does not exist" in found["reason"][1]


def test_missing_labels(root):
    (root / "labels/valid").rename(root / "moved")
    assert [note.file for note in ingest(root, SIZE, kind="llamas").notes] == ["labels/valid"]
    (root / "labels/train").rename(root / "moved too")
    with pytest.raises(LgadError, match="has no label files"):
        ingest(root, SIZE, kind="llamas")


def test_a_lane_without_markers_is_none():
    assert parse_annotation(b'{"lanes": [{"markers": []}]}') == []
    with pytest.raises(AnnotationError):
        parse_annotation(b"[]")


@pytest.mark.parametrize(("near", "count"), [(581, 0), (580, 1)])
def test_a_lane_is_as_high_as_the_near_ends_of_its_markers_as_in_the_scripts(near, count):
    low = lane(((440, 600), (480, 540)), ((520, near), (560, near - 60)))
    assert len(parse_annotation(json.dumps({"lanes": [low]}).encode())) == count
