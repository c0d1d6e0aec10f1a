import json
from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple, score_frame

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
        ({"raw_file": "b", "lanes": [["x", 2]], "run_time": 1}, "finite numbers"),
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
