import json
from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple, on_rows, score_frame, write_tusimple
from lgad_pipeline.lanes.files import lane_file, write_lanes

ROWS = [100.0, 110.0, 120.0, 130.0]


def test_figures_are_the_official_scripts(official: Path):
    folder = official / "tusimple_eval"
    scores = evaluate_tusimple(folder / "gt.json", folder / "pred.json")
    expected = json.loads((folder / "expected.json").read_text())
    assert scores.accuracy == pytest.approx(expected["Accuracy"], abs=1e-9)
    assert scores.fp == pytest.approx(expected["FP"], abs=1e-9)
    assert scores.fn == pytest.approx(expected["FN"], abs=1e-9)


def test_one_frame_by_hand():
    upright = [50.0, 50.0, 50.0, -2.0]
    assert score_frame([upright], [[69.9, 50, 31, -5]], 10, ROWS) == (1, 0, 0)
    assert score_frame([upright], [[70, 50, 30, -2]], 10, ROWS) == (0.5, 1, 1)  # 20 px off is too far
    slanted = [50.0, 60.0, 70.0, 80.0]  # 45 degrees: 20 * sqrt(2) px
    assert score_frame([slanted], [[x + 28 for x in slanted]], 10, ROWS) == (1, 0, 0)
    assert score_frame([upright], [], 10, ROWS) == (0, 0, 1)
    assert score_frame([], [upright], 10, ROWS) == (0, 1, 0)
    assert score_frame([upright], [upright], 201, ROWS) == (0, 0, 1)
    assert score_frame([upright], [upright] * 4, 10, ROWS) == (0, 0, 1)
    five = [[x] * 4 for x in (0.0, 100.0, 200.0, 300.0, 400.0)]
    assert score_frame(five, five[:4], 10, ROWS) == (1, 0, 0)  # one miss is forgiven


def write(path: Path, *entries: object) -> Path:
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries))
    return path


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "no JSON object"),
        ({"raw_file": "b", "lanes": [[1, 2]]}, "no `run_time`"),
        ({"raw_file": "b", "lanes": [[1]], "run_time": 1}, "h_samples"),
        ({"raw_file": "b", "lanes": [["x", 2]], "run_time": 1}, "lists of numbers"),
        ({"raw_file": "b", "lanes": [[10**400, 2]], "run_time": 1}, "below a million"),
        ({"raw_file": "b", "lanes": [[float("nan"), 2]], "run_time": 1}, "below a million"),
        ("[" * 100_000, "no JSON object"),
        ({"raw_file": "c", "lanes": [], "run_time": 1}, "not annotated"),
        ({"raw_file": "a", "lanes": [], "run_time": 1}, "predicted twice"),
    ],
)
def test_bad_predictions_are_set_aside_or_named(tmp_path: Path, bad: object, says: str):
    truth = [{"raw_file": name, "lanes": [[5, 5]], "h_samples": [10, 20]} for name in "ab"]
    annotations = write(tmp_path / "gt.json", *truth)
    predictions = write(tmp_path / "p.json", {"raw_file": "a", "lanes": [[5, 5]], "run_time": 1}, bad)
    scores = evaluate_tusimple(annotations, predictions)
    assert (scores.accuracy, scores.fn, scores.without_prediction) == (0.5, 0.5, 1)
    assert [(fault.line, says in fault.reason) for fault in scores.set_aside] == [(2, True)]
    with pytest.raises(LgadError, match=r"p\.json, line 2"):
        evaluate_tusimple(annotations, predictions, strict=True)


def test_predictions_of_other_frames_are_an_error(tmp_path: Path):
    annotations = write(tmp_path / "gt.json", {"raw_file": "a", "lanes": [], "h_samples": []})
    predictions = write(tmp_path / "p.json", {"raw_file": "z", "lanes": [], "run_time": 1})
    with pytest.raises(LgadError, match="predicts none of the 1 frames"):
        evaluate_tusimple(annotations, predictions)


def test_a_lane_is_interpolated_between_its_points_and_absent_beyond():
    lane = np.array([[30, 130], [10, 110]], np.float32)
    assert on_rows(lane, np.array([*ROWS, 140])).tolist() == [-2, 10, 20, 30, -2]
    assert on_rows(lane[:0], np.array(ROWS)).tolist() == [-2] * 4


def test_annotated_lanes_written_as_predictions_score_in_full(tmp_path: Path):
    lanes = [[50.0, 60.0, 70.0, -2.0], [-2.0, 90.0, 95.0, 100.0]]
    names = ["clips/1/20.jpg", "clips/2/20.jpg"]
    truth = write(tmp_path / "gt.json", *({"raw_file": n, "lanes": lanes, "h_samples": ROWS} for n in names))
    for name in names:
        points = [np.array([(x, y) for x, y in zip(xs, ROWS, strict=True) if x >= 0]) for xs in lanes]
        write_lanes(lane_file(tmp_path / "found", name), points)
    assert write_tusimple(truth, tmp_path / "found", tmp_path / "predicted.json").frames == 2
    scores = evaluate_tusimple(truth, tmp_path / "predicted.json", strict=True)
    assert (scores.accuracy, scores.fp, scores.fn) == (1, 0, 0)
