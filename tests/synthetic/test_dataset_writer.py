import hashlib
from pathlib import Path

import cv2
import pytest

from lgad_pipeline.config.synthetic import SyntheticConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import read_lanes
from lgad_pipeline.synthetic.dataset_writer import CATEGORY_FILES, frame_path, write_dataset

CONFIG = SyntheticConfig(seed=2, train=5, val=2, test=9)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("synthetic") / "data"
    write_dataset(root, CONFIG, workers=1)
    return root


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_the_layout_is_that_of_culane(written: Path) -> None:
    lists = {path.relative_to(written / "list").as_posix() for path in written.glob("list/**/*.txt")}
    assert lists == {
        "train.txt",
        "train_gt.txt",
        "val.txt",
        "val_gt.txt",
        "test.txt",
        *(f"test_split/{name}" for name in CATEGORY_FILES.values()),
    }
    for split, count in (("train", 5), ("val", 2), ("test", 9)):
        frames = (written / "list" / f"{split}.txt").read_text().split()
        assert len(frames) == count
        for frame in frames:
            path = written / frame.removeprefix("/")
            assert path.read_bytes().endswith(b"\xff\xd9")
            image = cv2.imread(str(path))
            assert image is not None and image.shape == (590, 1640, 3)
            assert path.with_suffix(".lines.txt").is_file()


def test_the_categories_divide_the_test_list(written: Path) -> None:
    test = {frame.removeprefix("/") for frame in (written / "list/test.txt").read_text().split()}
    parts = [(written / "list/test_split" / name).read_text().split() for name in CATEGORY_FILES.values()]
    assert all(parts)
    assert sorted(frame for part in parts for frame in part) == sorted(test)
    (cross,) = (written / "list/test_split/test7_cross.txt").read_text().split()
    assert (written / cross).with_suffix(".lines.txt").read_text() == ""


def test_existence_flags_count_the_lanes(written: Path) -> None:
    for line in (written / "list/train_gt.txt").read_text().splitlines():
        frame, label, *flags = line.split()
        assert label == "/laneseg_label_w16" + frame.removesuffix(".jpg") + ".png"
        lanes = read_lanes((written / frame.removeprefix("/")).with_suffix(".lines.txt"))
        assert len(flags) == 4
        assert sum(int(flag) for flag in flags) == len(lanes)


def test_an_interrupted_run_is_completed_to_the_same_bytes(written: Path, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_dataset(root, CONFIG, workers=1)
    for number, path in enumerate(sorted(root.rglob("*.*"))):
        if path.is_file() and path.name != "synthetic.json" and number % 6 < 3:
            path.unlink()
    reports: list[tuple[int, int]] = []
    write_dataset(root, CONFIG, workers=1, progress=lambda done, total: reports.append((done, total)))
    assert digests(root) == digests(written)
    assert 0 < reports[0][0] < 16
    assert reports[-1] == (16, 16)


def test_processes_write_what_one_process_writes(tmp_path: Path) -> None:
    config = SyntheticConfig(seed=5, train=16, val=0, test=0)
    write_dataset(tmp_path / "one", config, workers=1)
    write_dataset(tmp_path / "two", config, workers=2)
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_another_configuration_replaces_the_frames(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", SyntheticConfig(train=2, val=0, test=0), workers=1)
    write_dataset(tmp_path / "a", SyntheticConfig(seed=9, train=1, val=0, test=0), workers=1)
    write_dataset(tmp_path / "b", SyntheticConfig(seed=9, train=1, val=0, test=0), workers=1)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert not (tmp_path / "a" / frame_path("train", 1)).exists()


def test_a_folder_of_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "driver_23_30frame").mkdir()
    with pytest.raises(LgadError, match="name an empty or a new folder"):
        write_dataset(tmp_path, CONFIG, workers=1)
    assert (tmp_path / "driver_23_30frame").exists()
