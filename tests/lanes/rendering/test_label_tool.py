from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from lgad_pipeline.cli.main import app
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import full_lane_file, write_lanes
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.rendering.label_tool import rasterize
from lgad_pipeline.lanes.slots import assign_slots

CULANE, HD = (590, 1640), (720, 1280)


def lane(size: tuple[int, int], side: float = 1) -> np.ndarray:
    height, width = size
    ys = np.linspace(height, height / 2, 12)
    return np.stack([width * (0.5 + side * (0.05 + 0.3 * (2 * ys / height - 1))), ys], axis=1).astype(
        np.float32
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for frame, size in (("a", CULANE), ("b", HD)):
        write_lanes(tmp_path / "set" / "d" / f"{frame}.lines.txt", [lane(size, -1), lane(size)])
        assert cv2.imwrite(str(tmp_path / "set" / "d" / f"{frame}.jpg"), np.zeros((*size, 3), np.uint8))
    (tmp_path / "train.txt").write_text("/d/a.jpg\n/d/b.jpg\n")
    return tmp_path


def command(root: Path, *words: object, output: Path | None = None):
    where = ["--annotations", root / "set", "--list", root / "train.txt", "--output", output or root / "out"]
    return CliRunner().invoke(app, ["rasterize", *(str(word) for word in (*where, *words))])


def drawn(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return picture


def test_every_label_map_has_the_size_of_its_frame(root: Path):
    result = command(root)
    assert (
        result.exit_code == 0
        and "Frame sizes: 1640 x 590 px (1 frame), 1280 x 720 px (1 frame)" in result.output
    )
    for frame, size in (("a", CULANE), ("b", HD)):
        expected = label_map(assign_slots([lane(size, -1), lane(size)], size), size)
        assert np.array_equal(drawn(root / f"out/laneseg_label_w16/d/{frame}.png"), expected)
    lines = (root / "out/list/train_gt.txt").read_text().splitlines()
    assert lines == [f"/d/{frame}.jpg /laneseg_label_w16/d/{frame}.png 0 1 1 0" for frame in "ab"]


def test_a_size_that_disagrees_with_an_image_draws_nothing(root: Path):
    result = command(root, "--frame-height", 1080, "--frame-width", 1920)
    assert result.exit_code == 1 and "a.jpg has 1640 x 590 px" in str(result.exception)
    assert not (root / "out").exists()


def test_without_images_the_size_is_stated_and_lanes_that_do_not_fit_are_reported(root: Path):
    for frame in "ab":
        (root / "set" / "d" / f"{frame}.jpg").unlink()
    result = command(root)
    assert result.exit_code == 0 and "1640 x 590 px is assumed" in result.output
    assert "In 1 of 2 frames annotated lanes reach below 1640 x 590 px" in result.output


def test_the_lists_and_label_maps_of_a_data_set_are_never_replaced(root: Path):
    (root / "set" / "list").mkdir()
    own = root / "set" / "list" / "train_gt.txt"
    own.write_text(
        "/d/a.jpg /laneseg_label_w16/d/a.png 1 1 1 1\n/d/b.jpg /laneseg_label_w16/d/b.png 0 1 1 0\n"
    )
    (root / "set" / "d" / "b.lines.txt").unlink()
    before = own.read_text()
    result = command(root, output=root / "set")
    assert result.exit_code == 1 and "train_gt.txt exists already" in str(result.exception)
    assert own.read_text() == before and not (root / "set" / "laneseg_label_w16").exists()
    own.unlink()
    label = root / "set" / "laneseg_label_w16" / "d" / "b.png"
    label.parent.mkdir(parents=True)
    label.write_bytes(b"drawn by hand")
    result = command(root, output=root / "set")
    assert result.exit_code == 1 and "d/b.png exists already" in str(result.exception)
    assert label.read_bytes() == b"drawn by hand" and not own.exists()
    label.unlink()
    result = command(root, output=root / "set")
    assert result.exit_code == 0 and "1 frame has no lane file in " in result.output
    assert own.read_text().splitlines()[1].endswith("0 0 0 0")


def test_a_wrong_folder_of_annotations_writes_nothing(root: Path):
    with pytest.raises(LgadError, match="holds no lane file of the 1 frame"):
        rasterize(root, ["d/a.jpg"], output=root / "out")
    with pytest.raises(LgadError, match="names no frame"):
        rasterize(root / "set", [], output=root / "out")
    assert not (root / "out").exists()


def test_frames_that_differ_in_their_ending_alone_get_a_label_map_each(root: Path):
    for frame, side in (("d/c.jpg", 1), ("d/c.png", -1)):
        write_lanes(full_lane_file(root / "set", frame), [lane(CULANE, side)])
    done = rasterize(root / "set", ["d/c.jpg", "d/c.png", "d/a.jpg"], output=root / "out")
    maps = [line.split()[1] for line in done.label_list.read_text().splitlines()]
    assert [path.rpartition("/")[2] for path in maps] == ["c.jpg.png", "c.png.png", "a.png"]
    assert [sorted(set(np.unique(drawn(root / "out" / path.strip("/"))))) for path in maps[:2]] == [
        [0, 3],
        [0, 2],
    ]


def test_doubled_points_are_left_out_and_reported(root: Path):
    double = lane(CULANE)[[*range(12), 11]]
    write_lanes(root / "set" / "d" / "a.lines.txt", [lane(CULANE, -1), double])
    done = rasterize(root / "set", ["d/a.jpg"], output=root / "out")
    expected = label_map(assign_slots([lane(CULANE, -1), lane(CULANE)]))
    assert np.array_equal(drawn(root / "out/laneseg_label_w16/d/a.png"), expected)
    assert done.notes[0].startswith("1 annotated lane has two equal neighbouring points")


def test_lanes_that_find_no_slot_are_counted(root: Path):
    """Three lanes to the left of the car have two slots."""
    left = [np.array([[x, 589], [x + 200, 400], [x + 300, 300]], np.float32) for x in (10, 200, 400)]
    right = np.array([[1200, 589], [1100, 400], [1000, 300]], np.float32)
    write_lanes(root / "set" / "d" / "a.lines.txt", [*left, right])
    done = rasterize(root / "set", ["d/a.jpg"], output=root / "out")
    assert done.label_list.read_text().split()[2:] == ["1", "1", "1", "0"]
    assert [note.partition(":")[0] for note in done.notes] == ["1 annotated lane is not drawn"]
    write_lanes(root / "set" / "d" / "a.lines.txt", [*left[1:], right])
    assert rasterize(root / "set", ["d/a.jpg"], output=root / "again").notes == []


def test_a_lane_too_long_to_be_sampled_is_rejected(root: Path):
    path = root / "set/d/a.lines.txt"
    # three steps of 2,000,000 px in x and 10 px in y
    path.write_text(path.read_text() + "-1000000 580 1000000 570 -1000000 560 1000000 550\n")
    with pytest.raises(
        LgadError, match=r"a\.lines\.txt, line 3: the lane has a length of 6000000 px; correct"
    ):
        rasterize(root / "set", ["d/a.jpg"], output=root / "strict", strict=True)
    done = rasterize(root / "set", ["d/a.jpg", "d/b.jpg"], output=root / "out", frame_size=CULANE)
    assert [(fault.file, fault.line) for fault in done.rejected] == [(str(path), 3)]
    assert (done.frames, done.left_out) == (1, ("d/a.jpg",))


def test_a_frame_with_a_bad_line_is_in_neither_the_list_nor_the_label_maps(root: Path):
    path = root / "set/d/a.lines.txt"
    path.write_text(path.read_text().replace("\n", "\n12 , 34\n", 1))
    result = command(root)
    assert result.exit_code == 0 and "a.lines.txt, line 2: ',' is not a number" in result.output
    assert "1 label map, named in" in result.output
    note = "1 frame with a bad line in the lane file, such as d/a.jpg, left out of label maps and list."
    assert note in result.output.replace("\n", " ")
    lines = (root / "out/list/train_gt.txt").read_text().splitlines()
    assert lines == ["/d/b.jpg /laneseg_label_w16/d/b.png 0 1 1 0"]
    assert not (root / "out/laneseg_label_w16/d/a.png").exists()
    (root / "train.txt").write_text("/d/a.jpg\n")
    with pytest.raises(
        LgadError, match=r"The lane file of every frame has a bad line.*a\.lines\.txt, line 2"
    ):
        rasterize(root / "set", ["d/a.jpg"], output=root / "none")
    assert not list((root / "none").rglob("*.*"))


def test_names_with_spaces_survive_the_list_that_is_written(root: Path):
    write_lanes(root / "set" / "day one" / "0.lines.txt", [lane(CULANE)])
    (root / "train.txt").write_text("day one/0.jpg\n")
    assert command(root).exit_code == 0
    repeated = CliRunner().invoke(
        app,
        [
            *("rasterize", "--annotations", str(root / "set"), "--output", str(root / "again")),
            *("--list", str(root / "out" / "list" / "train_gt.txt")),
        ],
    )
    assert repeated.exit_code == 0, repeated.output
    written = [(root / name / "list" / "train_gt.txt").read_text() for name in ("out", "again")]
    assert written[0] == written[1]
