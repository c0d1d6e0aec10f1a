from pathlib import Path

import pytest

from lgad_pipeline.datasets.importing.convert import Conversion, Format, convert
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.datasets.importing.summary import summary
from tests.datasets.importing_files import LANES, image, labelme, shape


def imported(tmp_path: Path, shapes: list) -> Conversion:
    image(tmp_path / "source/a.jpg")
    labelme(tmp_path / "source/a.json", shapes)
    return convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)


@pytest.mark.parametrize(
    ("points", "is_lane"),
    [
        ([[10, 55], [30, 30], [50, 10], [30, 31], [12, 55]], False),  # both edges of the paint
        ([[10, 55], [50, 10], [30, 30]], False),  # the last two points in the wrong order
        ([[10, 55], [50, 10], [48, 12]], True),  # a hook of 3 px at the end
        ([[10, 55], [60, 20], [90, 20], [120, 30]], True),  # a sharp bend
        ([[10, 55], [50, 10], [120, 55], [90, 10]], False),  # two lanes in one line
    ],
)
def test_a_line_that_turns_round_is_no_lane(tmp_path, points, is_lane):
    done = imported(tmp_path, [shape(points), shape(LANES[1])])
    assert done.count == 1 + is_lane
    reasons = [reason for _, _, reason in done.shapes.rejected]
    assert is_lane or (len(reasons) == 1 and reasons[0].startswith("folds back on itself"))


def test_lines_of_one_group_are_pointed_out(tmp_path):
    pieces = [shape([[10, 55], [20, 40]], group_id=1), shape([[24, 34], [40, 10]], group_id=1)]
    done = imported(tmp_path, [*pieces, shape(LANES[1], group_id=2)])
    assert done.count == 3
    assert any(line.startswith("2 lines have the group of another line") for line in summary(done))


def test_dashes_that_are_drawn_one_by_one_are_pointed_out(tmp_path):
    dashes = [shape([[10.5, 59.5], [20.5, 49.5]]), shape([[26.5, 43.5], [36.5, 33.5]])]
    (note,) = imported(tmp_path, [*dashes, shape(LANES[1])]).notes
    assert note.startswith(
        "1 annotated lane continues another lane of the frame, such as in a.jpg, as dashes do"
    )


def test_lanes_that_do_not_fit_their_frames_are_pointed_out(tmp_path):
    for number in range(24):
        image(tmp_path / f"source/{number:02}.jpg", number)
        lanes = [[[x / 2, y / 2] for x, y in lane] for lane in LANES] if number == 5 else LANES
        labelme(tmp_path / f"source/{number:02}.json", [shape(lane) for lane in lanes])
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    (note,) = done.notes
    assert note.startswith(
        "In 1 of 24 frames, such as 05.jpg, all annotated lanes are in the upper left part"
    )
    assert note in list(summary(done))
    swapped = tmp_path / "swapped"
    image(swapped / "a.jpg", size=(60, 80))
    labelme(swapped / "a.json", [shape([[59, 75], [30, 50]])], size=(60, 80))  # (y, x)
    (note,) = convert(swapped, tmp_path / "second", annotations=Format.LABELME).notes
    assert note.startswith("In 1 of 1 frame annotated lanes reach below 80 x 60 px (down to y = 74")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (" 1.jpg", "no blank at the ends"),
        ("1\n.jpg", "control characters"),
        (f"{'n' * 230}.jpg", "more than 220 bytes"),
    ],
)
def test_an_image_that_no_list_can_name_is_rejected_alone(tmp_path, name, words):
    for number, path in enumerate([name, "2.jpg"]):
        image(tmp_path / "source" / path, number)
        labelme(tmp_path / f"source/{number}.json", [shape(LANES[0])], path)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    assert done.splits["train"] == ["2.jpg"]
    [(file, _, reason)] = done.rejected
    assert file == "0.json" and words in reason


def test_links_out_of_the_source_are_followed_on_request_alone(tmp_path):
    source = tmp_path / "source"
    for number, name in enumerate(["disk/a.jpg", "disk/images/b.jpg", "source/c.jpg"]):
        image(tmp_path / name, number)
    for name in "abc":
        labelme(source / f"{name}.json", [shape(LANES[0])])
    (source / "a.jpg").symlink_to(tmp_path / "disk/a.jpg")
    (source / "images").symlink_to(tmp_path / "disk/images")
    (source / "images/again").symlink_to(source)  # a folder above itself
    done = convert(source, tmp_path / "one", annotations=Format.LABELME)
    assert done.splits["train"] == ["c.jpg"]
    reasons = {file: reason for file, _, reason in done.rejected}
    assert "--follow-links of lgad import" in reasons["a.jpg"]
    assert "the link images is not followed, so give --follow-links" in reasons["b.json"]
    done = convert(source, tmp_path / "all", annotations=Format.LABELME, follow_links=True)
    frames = [name for names in done.splits.values() for name in names]
    assert sorted(frames) == ["a.jpg", "c.jpg", "images/b.jpg"] and not done.rejected
    assert not (tmp_path / "all/a.jpg").is_symlink()


def test_links_in_hidden_folders_are_not_named_because_those_are_not_read(tmp_path):
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "link").symlink_to(tmp_path)
    assert Source(tmp_path).skipped_link() is None
    (tmp_path / "link").symlink_to(tmp_path)
    assert Source(tmp_path).skipped_link() == "link"
