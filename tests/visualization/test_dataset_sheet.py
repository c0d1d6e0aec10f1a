import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.cli.datasets import show_dataset
from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.errors import LgadError
from lgad_pipeline.visualization.dataset_sheet import lane_positions, slot_positions
from lgad_pipeline.visualization.overlays import SLOT_COLOURS

# BGR of the slots 2 and 3 over the road.
LEFT, RIGHT = (16, 132, 168), (100, 156, 36)

SETTINGS = """
datasets: {mine: {kind: culane, root: data, frame_size: [118, 328], image_size: [48, 128]}}
recipes: {enet: {teacher: {steps: 200}, student: {steps: 200}}}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "data/list").mkdir(parents=True)
    for split in ("train", "val", "test"):
        image = np.full((118, 328, 3), (40, 90, 60), np.uint8)
        image[0, 0] = len(split)
        assert cv2.imwrite(str(tmp_path / f"data/{split}.png"), image)
        (tmp_path / f"data/{split}.lines.txt").write_text("100 117 120 97 150 67 \n240 117 220 97 190 67 \n")
        (tmp_path / f"data/list/{split}.txt").write_text(f"{split}.png\n")
    with (tmp_path / "data/list/train.txt").open("a") as stream:
        stream.write("gone.png\n")
    (tmp_path / "lgad.yaml").write_text(SETTINGS)
    monkeypatch.setenv("LGAD_SETTINGS", str(tmp_path / "lgad.yaml"))
    return tmp_path


def test_the_sheet_shows_frames_lanes_labels_and_rejected_frames(project, capsys):
    show_dataset("mine", project / "sheet.png", count=8)
    printed = capsys.readouterr().out
    assert (
        "3 frames, 1 rejected\n  1 train, 1 val, 1 test\n" in printed
        and str(project / "sheet.png") in printed
    )
    sheet = cv2.imread(str(project / "sheet.png"))
    assert sheet is not None
    bgr = sheet.reshape(-1, 3)
    # The road; a frame that is gone; slot 2, three fifths of (240, 160, 0) RGB over the road.
    for colour in ((40, 90, 60), (90, 90, 90), (16, 132, 168)):
        assert (bgr == np.array(colour)).all(axis=1).any(), colour


def test_lanes_that_find_no_slot_are_counted(project, capsys):
    show_dataset("mine", project / "sheet.png")
    printed = capsys.readouterr().out
    assert "  6 annotated lanes, 6 with a label\n" in printed and "without a label" not in printed
    left = "".join(f"{x} 117 {x + 20} 97 {x + 50} 67\n" for x in (10, 40, 70, 100))
    (project / "data/train.lines.txt").write_text(left + "240 117 220 97 190 67\n")
    show_dataset("mine", project / "sheet.png")
    printed = capsys.readouterr().out
    assert "  9 annotated lanes, 7 with a label\n  note: 2 without a label: the 4 slots" in printed
    settings = project / "lgad.yaml"
    settings.write_text(settings.read_text().replace("kind: culane", "kind: culane, slots: 8"))
    show_dataset("mine", project / "sheet.png")
    assert "  9 annotated lanes, 9 with a label\n" in capsys.readouterr().out


def test_the_sheet_shows_the_labels_that_a_training_gets(project, capsys):
    """Rows above crop_top are dark and without labels, and labels have the pixels of the training size."""
    settings = project / "lgad.yaml"
    text = settings.read_text()
    settings.write_text(text.replace("image_size", "crop_top: 94, lane_width: 7, image_size"))
    show_dataset("mine", project / "sheet.png", count=1)
    sheet = cv2.imread(str(project / "sheet.png"))
    assert sheet is not None
    assert "note: 6 of 6 labelled lanes reach above crop_top 94" in capsys.readouterr().out
    tile = sheet[13 : 13 + 288, 13 : 13 + 800].astype(int)  # 2.44 pixels for each of the frame
    above, below = tile[: int(2.44 * 93)], tile[int(2.44 * 95) :]
    assert above[9, 9].tolist() == [13, 30, 20] and below[9, 9].tolist() == [40, 90, 60]
    labelled = (np.abs(below - (16, 132, 168)) < 4).all(axis=2)
    assert labelled.any() and not (np.abs(above - (16, 132, 168)) < 4).all(axis=2).any()


def test_a_wrong_size_is_reported_with_its_count_and_the_rejected_frames_are_drawn(project, capsys):
    settings = project / "lgad.yaml"
    settings.write_text(settings.read_text().replace("[118, 328]", "[120, 320]"))
    show_dataset("mine")
    printed = capsys.readouterr().out
    assert "0 frames, 4 rejected" in printed
    assert "  3 rejected, such as train.png: is 328 x 118 px where 320 x 120 is declared" in printed
    assert "  1 rejected, such as list/train.txt: names gone.png, which does not exist" in printed
    sheet = cv2.imread(str(project / ".lgad/shown/mine.png"))
    assert sheet is not None and not (project / "data.png").exists()
    road = (sheet == np.array((40, 90, 60))).all(axis=2).sum()
    assert road > 3 * 0.8 * 800 * 300  # three frames, drawn whole though their size is not the declared one


def test_lists_without_frames_are_named(project):
    for split in ("train", "val", "test"):
        (project / f"data/list/{split}.txt").write_text("")
    with pytest.raises(LgadError, match=r"lists of .*data name no frame; write one frame path a line"):
        show_dataset("mine", project / "sheet.png")


def test_no_file_of_the_data_set_is_replaced_by_the_sheet(project):
    before = (project / "data/train.png").read_bytes()
    with pytest.raises(LgadError, match=r"train\.png is a file of the data set"):
        show_dataset("mine", project / "data/train.png")
    with pytest.raises(LgadError, match=r"list\.txt does not end in \.png"):
        show_dataset("mine", project / "list.txt")
    assert (project / "data/train.png").read_bytes() == before


def test_no_frame_of_another_data_set_is_replaced_by_the_sheet(project):
    (project / "frame.jpg").write_bytes(b"frame")
    (project / "frame.lines.txt").touch()
    with pytest.raises(LgadError, match=r"frame\.jpg has a lane file next to it, so it is a frame"):
        show_dataset("mine", project / "frame.jpg")
    assert (project / "frame.jpg").read_bytes() == b"frame"


def test_a_rendered_data_set_has_no_folder_to_show(project):
    with pytest.raises(LgadError, match="is rendered by the pipeline"):
        show_dataset("synthetic", project / "sheet.png", count=1)


def test_positions_are_bright_where_lanes_run_and_each_slot_has_its_colour(project):
    frames = ingest(project / "data", (118, 328)).frames
    heat = lane_positions(frames, (118, 328)).sum(axis=2)
    assert heat.shape == (118, 328) and heat[97, 120] > 250 and heat[97, 220] > 250
    assert heat[97, 170] < 30 and heat[10].max() < 30
    slots = slot_positions(assign_lane_slots(frames), (118, 328))
    for x, colour in ((120, SLOT_COLOURS[1]), (220, SLOT_COLOURS[2])):
        seen = slots[90:104, x - 8 : x + 8].reshape(-1, 3).max(axis=0)
        np.testing.assert_allclose(seen, colour, atol=40)
    assert slots[:, 165:175].max() < 30


def test_the_sheet_of_augmentation_shows_each_change_alone(project):
    """The frame, its mirror image with the slots' colours exchanged, then two of all changes: two rows."""
    names = set(AugmentationConfig.model_fields) - {"flip", "min_lane_pixels"}
    changes = json.dumps(dict.fromkeys(names, 0))
    text = SETTINGS.replace("student:", f"augmentation: {changes}, student:")
    (project / "lgad.yaml").write_text(text)
    show_dataset("mine", project / "sheet.png", augmented="enet")
    sheet = cv2.imread(str(project / "sheet.png"))
    assert sheet is not None
    height = 150  # of a tile 400 px wide; 6 px between tiles, 22 px for a caption
    assert sheet.shape == (2 * (height + 22 + 6) + 6, 3 * 406 + 6, 3)
    frame, mirrored = sheet[6 : 6 + height, 6:406], sheet[6 : 6 + height, 412:812]
    slot_2, slot_3 = ((frame == np.array(colour)).all(axis=2) for colour in (LEFT, RIGHT))
    assert slot_2.any() and slot_3.any()
    for colour, before in ((RIGHT, slot_2), (LEFT, slot_3)):
        after = (mirrored == np.array(colour)).all(axis=2)
        shared = after & before[:, ::-1]  # all but some pixels at the rims, which the enlargement rounds
        assert shared.sum() > 0.9 * (after | before[:, ::-1]).sum()
