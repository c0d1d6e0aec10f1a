import io
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from rich.console import Console

import demo
import ui
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import FolderDataset, Settings, local_path

TEXT = """# mine
datasets:
  # the world
  synthetic: {kind: synthetic}
recipes:
  enet: {teacher: {}, student: {}}
"""


def quiet() -> Console:
    return Console(file=io.StringIO())


def own_set(folder: Path, size: tuple[int, int] = (72, 128), splits: str = "train val test") -> Path:
    """Three frames of a camera, one a split, with a lane each; (H, W) in pixels."""
    height, width = size
    for split in ("train", "val", "test"):
        frame = folder / "drive" / f"{split}.jpg"
        frame.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(frame), np.zeros((height, width, 3), np.uint8))
        lane = f"{width // 2} {height - 1} {width // 2} {height // 2}\n"
        frame.with_suffix(".lines.txt").write_text(lane)
        listed = folder / "list" / f"{split}.txt"
        listed.parent.mkdir(exist_ok=True)
        listed.write_text(f"drive/{split}.jpg\n" if split in splits.split() else "")
    return folder


@pytest.fixture
def project(tmp_path):
    (tmp_path / "lgad.yaml").write_text(TEXT)
    return tmp_path / "lgad.yaml"


@pytest.mark.parametrize(
    "name", ["plain", "my drives #2", "it's: 'a' [test] {x} &y *z", "- ein Ordner", "Été", "no"]
)
def test_folder_of_any_name_is_added_to_the_local_file(tmp_path, project, name):
    root = own_set(tmp_path / name, (720, 1280))
    demo.require_dataset(project, "mine", str(root), quiet())
    assert project.read_text() == TEXT  # the shared file is left alone
    entry = Settings.load(project).dataset("mine")
    assert isinstance(entry, FolderDataset) and entry.root == root
    # A lane from the bottom to row 360: 5 % of 720 rows above it, in steps of 10. 5 columns of 256 are 25 px.
    assert (entry.frame_size, entry.crop_top, entry.lane_width) == ((720, 1280), 320, 25)
    text = local_path(project).read_text()
    demo.require_dataset(project, "mine", str(root), quiet())
    assert local_path(project).read_text() == text


def test_local_file_keeps_its_comments(tmp_path, project):
    local_path(project).write_text("# of this machine\ndatasets:\n  synthetic: {crop_top: 16}  # lower\n")
    demo.require_dataset(project, "mine", str(own_set(tmp_path / "set")), quiet())
    text = local_path(project).read_text()
    assert text.startswith("# of this machine\n") and "# lower" in text and "frame_size: [72, 128]" in text


@pytest.mark.parametrize(
    ("name", "splits", "message"),
    [
        ("other", None, "ROOT="),
        ("other", "nowhere", "does not exist"),
        ("synthetic", "train val test", "already has a data set"),
        ("Bad Name", "train val test", "'Bad Name' cannot be used for a data set; use 'bad_name'"),
        (
            "other",
            "val test",
            r"No usable frame is in the split train \(frames: train 0, val 1, test 1\).*`--run`",
        ),
        ("other", "", "has no frames in its lists"),
        ("other", "empty", "has neither list/train_gt.txt nor list/train.txt"),
    ],
)
def test_one_sentence_for_each_mistake_and_no_entry(tmp_path, project, name, splits, message):
    root = tmp_path / "set"
    if splits == "empty":
        root.mkdir()
    elif splits not in (None, "nowhere"):
        own_set(root, splits=splits)
    with pytest.raises(LgadError, match=message):
        demo.require_dataset(project, name, "" if splits is None else str(root), quiet())
    assert project.read_text() == TEXT and not local_path(project).exists()


def test_frames_that_cannot_be_read_are_named(tmp_path, project):
    root = own_set(tmp_path / "set")
    for frame in root.glob("drive/*.jpg"):
        frame.write_text("no picture")
    with pytest.raises(LgadError, match=r"No frame of .* can be read; the first error: .*train\.jpg"):
        demo.require_dataset(project, "mine", str(root), quiet())
    assert not local_path(project).exists()


def test_root_that_is_away_stops_its_own_demo_alone(tmp_path, project):
    local_path(project).write_text("datasets: {away: {kind: culane, root: /mnt/not/mounted}}\n")
    with pytest.raises(LgadError, match="mount its disk"):
        demo.require_dataset(project, "away", "", quiet())
    demo.require_dataset(project, "synthetic", "", quiet())


def test_second_demo_at_once_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LGAD_SETTINGS", str(tmp_path / "lgad.yaml"))
    with demo.only_demo(), pytest.raises(LgadError, match="Another"), demo.only_demo():
        pass


def test_port_in_use_is_one_sentence():
    with socket.socket() as other:
        other.bind((ui.HOST, 0))
        other.listen()
        with pytest.raises(LgadError, match="make ui PORT=3001"):
            ui.check_free(other.getsockname()[1], "make ui PORT=3001")
