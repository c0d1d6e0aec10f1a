import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from lgad_pipeline.cli.main import app
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.evaluation.frame_sizes import FrameSizes
from lgad_pipeline.evaluation.types import Counts
from lgad_pipeline.lanes.lane_files import write_lanes

HD, FULL_HD, CULANE = (720, 1280), (1080, 1920), (590, 1640)


def image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.zeros((*size, 3), np.uint8))


def lanes(
    size: tuple[int, int], scale: tuple[float, float] = (1, 1), shift: float = 0, down: float = 0
) -> list[np.ndarray]:
    """Two lanes from the lower border to half the height, (x, y) in pixels of the size, changed."""
    height, width = size
    ys = np.linspace(height, height / 2, 12)
    xs = [width * (0.5 + side * (0.05 + 0.4 * (2 * ys / height - 1))) + shift for side in (-1, 1)]
    return [np.stack([x * scale[0], ys * scale[1] + down], axis=1).astype(np.float32) for x in xs]


def folders(
    root: Path, sizes: dict[str, tuple[int, int]], images: bool = True, **changes
) -> tuple[Path, Path]:
    """Annotations, with images next to them, and predictions that are changed as `lanes` does it."""
    for frame, size in sizes.items():
        stem = frame.removesuffix(".jpg")
        if images:
            image(root / "anno" / frame, size)
        write_lanes(root / "anno" / f"{stem}.lines.txt", lanes(size))
        write_lanes(root / "pred" / f"{stem}.lines.txt", lanes(size, **changes))
    return root / "anno", root / "pred"


def test_every_frame_is_compared_in_the_size_of_its_own_image(tmp_path: Path):
    sizes = {"a.jpg": FULL_HD, "b.jpg": HD, "c.jpg": CULANE}
    found = evaluate_culane(*folders(tmp_path, sizes, shift=3), lists={"all": list(sizes)})
    assert found.scores["all"][0.5] == Counts(6, 0, 0)
    assert found.sizes == {"1920x1080": 1, "1280x720": 1, "1640x590": 1}
    assert found.size_note.startswith("Frame sizes: ") and "from the images" in found.size_note
    assert found.notes == []


def test_lanes_below_row_590_of_a_larger_frame_count(tmp_path: Path):
    """Cut off at CULane's 590 rows, predictions that are wrong on the lower half would be right."""
    anno, pred = folders(tmp_path, {"a.jpg": HD})
    wrong = lanes(HD)
    for lane in wrong:
        lane[lane[:, 1] > 560, 0] += 200
    write_lanes(pred / "a.lines.txt", wrong)
    assert evaluate_culane(anno, pred, lists={"all": ["a.jpg"]}).scores["all"][0.5] == Counts(0, 2, 2)


def test_a_size_that_disagrees_with_an_image_is_an_error_that_names_both(tmp_path: Path):
    where = folders(tmp_path, {"a.jpg": HD})
    says = r"a\.jpg has 1280 x 720 px, but the frame size is given as 1640 x 590 px"
    with pytest.raises(LgadError, match=says):
        evaluate_culane(*where, lists={"all": ["a.jpg"]}, frame_size=CULANE)
    assert evaluate_culane(*where, lists={"all": ["a.jpg"]}, frame_size=HD).scores["all"][0.5].tp == 2
    later = folders(tmp_path / "later", {"a.jpg": CULANE, "b.jpg": HD})
    with pytest.raises(LgadError, match=r"b\.jpg has 1280 x 720 px"):
        evaluate_culane(*later, lists={"all": ["a.jpg", "b.jpg"]}, frame_size=CULANE)


def test_the_turn_that_a_camera_notes_is_part_of_the_size(tmp_path: Path):
    _, data = cv2.imencode(".jpg", np.zeros((64, 48, 3), np.uint8))
    turned = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    header = b"\xff\xe1" + (len(turned) + 2).to_bytes(2, "big") + turned
    (tmp_path / "a.jpg").write_bytes(data.tobytes()[:2] + header + data.tobytes()[2:])
    sizes = FrameSizes.of(["a.jpg"], (tmp_path,), stated=None, default=CULANE)
    assert sizes(["a.jpg"]).tolist() == [[48, 64, 1]]


def test_without_images_the_size_used_is_stated(tmp_path: Path):
    where = folders(tmp_path, {"a.jpg": CULANE}, images=False)
    assert "1640 x 590 px is assumed" in evaluate_culane(*where, lists={"all": ["a.jpg"]}).size_note
    given = evaluate_culane(*where, lists={"all": ["a.jpg"]}, frame_size=(600, 1700))
    assert "1700 x 600 px as given" in given.size_note


def test_a_frame_without_a_readable_image_is_like_the_first_with_one(tmp_path: Path):
    anno, pred = folders(tmp_path, {"a.jpg": HD, "b.jpg": HD, "c.jpg": HD}, shift=2)
    (anno / "a.jpg").unlink()
    (anno / "c.jpg").write_bytes(b"\xff\xd8 no image")
    found = evaluate_culane(anno, pred, lists={"all": ["a.jpg", "b.jpg", "c.jpg"]})
    assert found.sizes == {"1280x720": 3} and found.scores["all"][0.5].tp == 6
    assert "assumed for 2 frames without a readable image (1 cannot be read)" in found.size_note


def test_images_are_found_next_to_the_lists_and_for_entries_with_another_ending_or_none(tmp_path: Path):
    anno, pred = folders(tmp_path / "lanes", {"d/a.jpg": HD}, images=False)
    image(tmp_path / "set" / "d" / "a.png", HD)
    (tmp_path / "set" / "list").mkdir()
    words = ["evaluate", "--annotations", anno, "--predictions", pred]
    listed = ["--list", tmp_path / "set" / "list" / "test.txt"]
    for entry, ending in (("d/a", "png"), ("d/a.jpg", "png"), ("d/a", "JPG"), ("d/a.png", "JPG")):
        (tmp_path / "set" / "list" / "test.txt").write_text(f"{entry}\n")
        (picture,) = (tmp_path / "set" / "d").iterdir()
        picture.rename(picture.with_suffix(f".{ending}"))
        result = CliRunner().invoke(app, [str(word) for word in [*words, *listed]])
        assert result.exit_code == 0 and "Frame size: 1280 x 720 px, from the images." in result.output


@pytest.mark.parametrize(
    ("size", "given", "changes", "says"),
    [
        (FULL_HD, CULANE, {}, "annotated lanes reach below 1640 x 590 px (down to y = 1080)"),
        (CULANE, FULL_HD, {}, "All annotated lanes are in the upper part of 1920 x 1080 px (x up to 15"),
        (HD, FULL_HD, {}, "All annotated lanes are in the upper left corner of 1920 x 1080 px"),
        (
            CULANE,
            None,
            {"scale": (800 / 1640, 288 / 590)},
            "All predicted lanes are in the upper left corner",
        ),
        (CULANE, None, {"scale": (0.85, 0.85)}, "to 0.85 of their greatest x and 0.85 of their greatest y"),
        (CULANE, None, {"scale": (1640 / 800, 590 / 288)}, "predicted lanes reach below 1640 x 590 px"),
        (CULANE, None, {"scale": (3, 1)}, "far to the left or right of 1640 x 590 px"),
        (CULANE, None, {"scale": (800 / 1640, 1)}, "With x multiplied by 2.05 and y by 1, 100 % of the"),
        (CULANE, None, {"scale": (1, 0.8)}, "With x multiplied by 0.998 and y by 1.25, 100 % of the"),
        (HD, HD, {"scale": (1.15, 590 / 720)}, "y by 1.22, 100 % of the annotated points"),
        (CULANE, None, {"shift": 150}, None),  # wrong lanes of the right size
        (CULANE, None, {"down": -100}, "With +100 px added to y, 100 % of the annotated points have a"),
        (CULANE, None, {"shift": 9}, None),
    ],
)
def test_coordinates_that_do_not_fit_are_pointed_out(tmp_path: Path, size, given, changes, says):
    sizes = {f"{n}.jpg": size for n in range(4)}
    where = folders(tmp_path, sizes, images=False, **{"shift": 1, **changes})
    notes = evaluate_culane(*where, lists={"all": list(sizes)}, frame_size=given).notes
    assert (says is None) == (notes == []) and all(says in note for note in notes[:1])


def test_lanes_as_annotators_draw_them_raise_no_doubt(official: Path):
    """300 frames with lanes outside of the frame, empty files and short lanes."""
    folder = official / "culane_eval"
    frames = [line.strip("/ ") for line in (folder / "list" / "test.txt").read_text().split()]
    found = evaluate_culane(folder / "anno", folder / "pred", lists={"all": frames})
    assert not [note for note in found.notes if "px" in note]


def test_annotations_given_as_predictions_are_pointed_out(tmp_path: Path):
    anno, pred = folders(tmp_path, {"a.jpg": CULANE}, shift=1)
    lists = {"all": ["a.jpg"]}
    assert evaluate_culane(anno, anno, lists=lists).notes == [
        f"{anno} is given as annotations and as predictions: every lane matches itself."
    ]
    assert evaluate_culane(anno, pred, lists=lists).notes == []
    write_lanes(pred / "a.lines.txt", lanes(CULANE))
    assert "exactly the annotated ones in the 1 frame" in evaluate_culane(anno, pred, lists=lists).notes[0]


def test_folders_without_any_lane_are_pointed_out(tmp_path: Path):
    anno, pred = folders(tmp_path, {"a.jpg": CULANE})
    (pred / "a.lines.txt").write_text("")
    (note,) = evaluate_culane(anno, pred, lists={"all": ["a.jpg"]}).notes
    assert note == f"The files in {pred} hold no lane in the 1 frame."


def test_lanes_with_doubled_points_are_counted_as_the_official_tool_does_and_pointed_out(tmp_path: Path):
    sizes = {"a.jpg": CULANE, "b.jpg": CULANE, "c.jpg": CULANE}
    anno, pred = folders(tmp_path, sizes, shift=1)
    double = lanes(CULANE)
    (anno / "a.lines.txt").write_text("")
    write_lanes(anno / "c.lines.txt", [double[0], double[1][[*range(12), 11]]])
    found = evaluate_culane(anno, pred, lists={"all": list(sizes)})
    assert found.scores["all"][0.5] == Counts(3, 3, 1)
    assert [(Path(fault.file).name, fault.line) for fault in found.rejected] == [("c.lines.txt", 2)]
    assert found.notes[0].startswith("1 annotated lane has two equal neighbouring points")


def evaluate_command(root: Path, *words: object):
    where = ["evaluate", "--annotations", root / "anno", "--predictions", root / "pred", *words]
    return CliRunner().invoke(app, [str(word) for word in where])


def test_one_of_the_two_size_options_alone_is_an_error(tmp_path: Path):
    folders(tmp_path, {"a.jpg": CULANE})
    (tmp_path / "l.txt").write_text("a.jpg\n")
    result = evaluate_command(tmp_path, "--list", tmp_path / "l.txt", "--frame-height", 590)
    assert result.exit_code == 1 and "both --frame-height and --frame-width" in str(result.exception)


def test_repeats_and_empty_lists_are_reported_and_written_to_json(tmp_path: Path):
    anno, _ = folders(tmp_path, {"a.jpg": CULANE, "b.jpg": CULANE}, shift=1)
    (anno / "b.lines.txt").write_text("10 590 30 300 \n")
    split = tmp_path / "list" / "test_split"
    split.mkdir(parents=True)
    (tmp_path / "list" / "test.txt").write_text("a.jpg\nb.jpg\nb.jpg\n/b.jpg\n")
    (split / "test0_normal.txt").write_text("a.jpg\n")
    (split / "test7_cross.txt").write_text("")
    result = evaluate_command(
        tmp_path, "--list", tmp_path / "list" / "test.txt", "--json", tmp_path / "o.json"
    )
    assert result.exit_code == 0, result.output
    content = json.loads((tmp_path / "o.json").read_text())
    assert content["test"]["0.5"] == content["total"]["0.5"]
    assert content["test"]["0.5"]["tp"] == 2 and content["test"]["0.5"]["fn"] == 1
    notes = "\n".join(content["about"]["notes"])
    assert "names frames again in 2 lines, the first of them line 3" in notes
    assert "test7_cross.txt names no frame" in notes and "test7_cross" not in content
    assert content["about"]["frame_sizes"] == {"1640x590": 2}
