"""LLAMAS' metric against values computed by hand from the definition of its evaluator."""

import json
from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.cli.main import app
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.llamas import annotated_points, evaluate_llamas, match_lanes
from lgad_pipeline.evaluation.llamas_labels import reference_lanes
from lgad_pipeline.evaluation.types import Counts


def marker(start: tuple, end: tuple, distance: float = 5) -> dict:
    """A marker; the published files have texts for numbers."""
    return {
        "world_start": {"x": "0", "y": "0", "z": str(distance)},
        "world_end": {"x": "0", "y": "0", "z": str(distance + 3)},
        "pixel_start": {"x": str(start[0]), "y": str(start[1])},
        "pixel_end": {"x": str(end[0]), "y": str(end[1])},
    }


def label(**lanes: list[dict]) -> bytes:
    found = [{"lane_id": name, "markers": markers} for name, markers in lanes.items()]
    return json.dumps({"image_name": "a", "projection_matrix": [], "lanes": found}).encode()


# On the line x = 400 + (700 - y): dashes at rows 700..660 and 600..560.
DIAGONAL = [marker((400, 700), (440, 660), 5), marker((500, 600), (540, 560), 20)]


def test_markers_become_an_x_for_each_row():
    lane = reference_lanes(label(l0=DIAGONAL))["l0"]
    # The nearest marker is extended to row 716, where the line is at x = 384; nothing is above row 560.
    rows = np.arange(560, 717)
    assert np.isnan(lane[:560]).all()
    assert np.allclose(lane[rows], 400 + (700 - rows))


def test_extension_stops_at_the_border_of_the_frame():
    # x falls by 5 a row from (50, 690), so the border x = 0 is at row 700.
    steep = [marker((50, 690), (150, 670), 5), marker((300, 640), (400, 620), 9)]
    lane = reference_lanes(label(l0=steep))["l0"]
    assert lane[700] == 0 and np.isnan(lane[701:]).all() and lane[690] == 50
    # Mirrored on the right: x = 1276 at row 700.
    mirrored = [marker((1226, 690), (1126, 670), 5), marker((976, 640), (876, 620), 9)]
    assert reference_lanes(label(r0=mirrored))["r0"][700] == 1276
    behind = [marker((400, 700), (440, 660), -1), marker((500, 600), (540, 560), 20)]
    assert np.isnan(reference_lanes(label(l0=behind))["l0"][701:]).all()


def test_rows_of_two_markers_are_averaged_and_the_near_end_counts_twice():
    # Both markers are vertical, so nothing is extended: x = 100 on rows 500..480, x = 103 on rows 480..440.
    lane = reference_lanes(label(l0=[marker((100, 500), (100, 480)), marker((103, 480), (103, 440))]))["l0"]
    assert lane[500] == 100 and lane[440] == 103
    # Row 480: the end of the first marker once, the near end of the second one twice.
    assert lane[480] == pytest.approx((100 + 103 + 103) / 3)


def test_artefacts_are_left_out_and_lanes_are_numbered_from_the_car():
    single, low = [DIAGONAL[0]], [marker((10, 500), (20, 490)), marker((11, 490), (21, 480))]
    lanes = reference_lanes(label(l3=DIAGONAL, l1=DIAGONAL, l0=single, r0=low, r2=DIAGONAL))
    assert list(lanes) == ["l1", "l0", "r0"]  # l1 became l0, l3 became l1, r2 became r0


def test_a_lane_on_neither_side_is_refused():
    with pytest.raises(AnnotationError, match="has the lane_id 'L0'; write l0"):
        reference_lanes(label(L0=DIAGONAL, r0=DIAGONAL))
    assert list(reference_lanes(label(none=[DIAGONAL[0]], r0=DIAGONAL))) == ["r0"]  # an artefact is left out


@pytest.mark.parametrize("content", [b"", b"[]", b'{"lanes": [{}]}', label(l0=[marker((1, 900), (2, 3))])])
def test_damaged_labels_are_refused(content):
    with pytest.raises(AnnotationError):
        reference_lanes(content)


def vertical(x: float, top: int = 300, bottom: int = 716) -> np.ndarray:
    ys = np.arange(bottom, top - 1, -8, dtype=float)
    return np.stack([np.full(len(ys), x), ys], axis=1)


def test_lanes_match_above_an_iou_of_one_half():
    """Vertical lanes of width w at a distance d have IoU (w - d) / (w + d): above 0.5 while d < w / 3."""
    rows = np.arange(300, 717)
    truth = [np.stack([np.full(len(rows), x), rows], axis=1) for x in (400.0, 800.0)]
    # OpenCV draws a line of thickness 30 over 31 columns: IoU 21 / 41 at 10 px, 20 / 42 at 11 px.
    assert match_lanes([vertical(410), vertical(789)], truth) == Counts(tp=1, fp=1, fn=1)
    assert match_lanes([vertical(400), vertical(800), vertical(600)], truth) == Counts(tp=2, fp=1, fn=0)
    assert match_lanes([], truth) == Counts(0, 0, 2) and match_lanes([vertical(1)], []) == Counts(0, 1, 0)
    # A lane of one point is ignored, repeated points are used once.
    repeated = np.repeat(vertical(400), 2, axis=0)
    assert match_lanes([vertical(400)[:1], repeated], truth) == Counts(tp=1, fp=0, fn=1)


def test_points_nearer_than_numbers_can_tell_apart_count_once():
    rows = np.arange(300, 717)
    truth = [np.stack([np.full(len(rows), 400.0), rows], axis=1)]
    lane = np.array([[400, 716], [0, 716], [1e-40, 716], [400, 716], [400, 300]], np.float32)
    assert match_lanes([lane], truth) == match_lanes([lane[[0, 1, 3, 4]]], truth)
    near = np.array([[0, 716], [1e-40, 716]], np.float32)
    assert match_lanes([near, near[:1], near[:0], vertical(400)], truth).tp == 1


def test_a_prediction_matches_one_lane_only():
    rows = np.arange(300, 717)
    truth = [np.stack([np.full(len(rows), x), rows], axis=1) for x in (400.0, 404.0)]
    assert match_lanes([vertical(402)], truth) == Counts(tp=1, fp=0, fn=1)


def test_rows_above_300_are_not_evaluated():
    high = [marker((600, 340), (600, 320)), marker((600, 299), (600, 260))]
    (points,) = annotated_points(reference_lanes(label(l0=high)))
    assert points[:, 1].tolist() == list(range(300, 341))


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Two label files of the validation split: one with a lane file, one with that of its frame."""
    for name in ("1", "2"):
        path = tmp_path / f"labels/valid/drive/{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(label(l0=DIAGONAL))
    perfect = "384 716 540 560\n"
    for path in ("drive/1.lines.txt", "color_images/valid/drive/2_color_rect.lines.txt"):
        file = tmp_path / "predictions" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(perfect)
    return tmp_path


def test_files_are_found_and_counted(files, capsys):
    labels, predictions = files / "labels/valid", files / "predictions"
    assert evaluate_llamas(labels, predictions).counts == Counts(tp=2)
    (predictions / "drive/1.lines.txt").write_text("384 716 540 560\n10 700 10 400\n3 x\n")
    (labels / "drive/3.json").write_bytes(label(r0=DIAGONAL, l0=DIAGONAL))
    (labels / "drive/4.json").write_bytes(b"{}")
    scores = evaluate_llamas(labels, predictions)
    assert scores.counts == Counts(tp=2, fp=1, fn=2) and scores.frames == 4
    assert scores.without_prediction == ["drive/3.json"]
    assert [fault.file for fault in scores.rejected] == ["drive/1.lines.txt", "drive/4.json"]
    arguments = ["--annotations", labels, "--predictions", predictions, "--json", files / "scores.json"]
    app(["evaluate-llamas", *map(str, arguments)], standalone_mode=False)
    printed = capsys.readouterr()
    assert "0.5714" in printed.out  # 2 * 2 / (2 * 2 + 1 + 2)
    assert "2 lines rejected.\n" in printed.err  # the command has no --strict
    assert json.loads((files / "scores.json").read_text())["tp"] == 2


def test_a_lane_file_that_cannot_be_read_counts_as_without_lanes_and_links_are_followed(files):
    labels, predictions = files / "labels/valid", files / "predictions"
    file = predictions / "drive/1.lines.txt"
    file.rename(files / "elsewhere.txt")
    file.symlink_to(files / "elsewhere.txt")
    assert evaluate_llamas(labels, predictions).counts == Counts(tp=2)
    file.unlink()
    with file.open("wb") as stream:
        stream.truncate((16 << 20) + 1)
    scores = evaluate_llamas(labels, predictions)
    (fault,) = scores.rejected
    assert fault.file == "drive/1.lines.txt" and fault.reason.endswith("its frame counts as without lanes")
    assert scores.counts == Counts(tp=1, fn=1) and not scores.without_prediction


def test_label_files_that_cannot_be_used_give_no_score(files):
    for name in ("1", "2"):
        (files / f"labels/valid/drive/{name}.json").write_bytes(b"{}")
    with pytest.raises(
        LgadError, match=r"No label file in .* can be used; drive/1\.json: is not a label file"
    ):
        evaluate_llamas(files / "labels/valid", files / "predictions")


def test_folders_without_files_are_one_sentence(files):
    (files / "empty").mkdir()
    for labels, predictions, reason in (
        ("labels/valid", "gone", "does not exist"),
        ("empty", "predictions", "no label file"),
        ("labels/valid", "empty", "a lane file for none"),
    ):
        with pytest.raises(LgadError, match=reason):
            evaluate_llamas(files / labels, files / predictions)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        # The line of the labels, 384 716 to 540 560, times 800 / 1276 and 288 / 717.
        ("240.8 287.6 338.6 224.9\n", "All predicted lanes are in the upper left corner of 1276 x 717 px"),
        # Times 1640 / 1276 and 590 / 717: within the frame, but beyond the width of the lane.
        (
            "493.5 589.2 694.0 460.8\n",
            "No predicted lane matches an annotated one; give lanes of these frames",
        ),
        ("", "hold no lane in the 2 frames"),
        ("384 716 540 560\n384 716 540 560\n", "2 predicted lanes are equal to another lane"),
        ("384 716 540 560\n600 500\n", "2 predicted lanes have a single point"),
    ],
)
def test_lanes_that_are_probably_not_meant_are_noted(files, text, says):
    labels, predictions = files / "labels/valid", files / "predictions"
    assert evaluate_llamas(labels, predictions).notes == []
    for path in predictions.rglob("*.lines.txt"):
        path.write_text(text)
    (note,) = evaluate_llamas(labels, predictions).notes
    assert says in note


def test_lanes_in_pixels_of_another_width_are_noted(files):
    labels, predictions = files / "labels/valid", files / "predictions"
    for name in ("3", "4"):
        (labels / f"drive/{name}.json").write_bytes(label(l0=DIAGONAL))
        (predictions / f"drive/{name}.lines.txt").write_text("")
    (labels / "drive/5.json").write_bytes(b"{}")
    for path in predictions.rglob("*.lines.txt"):
        path.write_text("240.8 716 338.6 560\n")  # x of the labels, 384 to 540, times 800 / 1276
    (note,) = evaluate_llamas(labels, predictions).notes
    assert note.startswith("With x multiplied by 1.59 and y by 1, 100 % of the annotated points")
    assert "of about 800 x 717 px instead of 1276 x 717 px" in note
