"""Notes on lanes of TuSimple's files that are probably not meant."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lgad_pipeline.evaluation.tusimple import evaluate_tusimple
from lgad_pipeline.evaluation.tusimple_export import write_tusimple
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes

CLIP, ROWS = "clips/1/20.jpg", [100.0, 110.0, 120.0, 130.0]


def write(path: Path, entry: dict[str, object]) -> Path:
    path.write_text(json.dumps(entry))
    return path


def test_a_lane_without_a_point_on_the_rows_is_left_out_and_noted(tmp_path: Path):
    truth = write(tmp_path / "gt.json", {"raw_file": CLIP, "lanes": [[50.0] * 4], "h_samples": ROWS})
    above, left = [[50, 99], [60, 20]], [[-9, 100], [-9, 130]]
    found = [np.array(lane) for lane in ([[50, 100], [50, 130]], above, left)]
    write_lanes(lane_file(tmp_path / "found", CLIP), found)
    done = write_tusimple(truth, tmp_path / "found", output=tmp_path / "o.json")
    assert json.loads((tmp_path / "o.json").read_text())["lanes"] == [[50.0] * 4]
    assert "2 predicted lanes have no x of 0 or more on the rows of h_samples and are left out." in done.notes
    assert evaluate_tusimple(truth, tmp_path / "o.json").fp == 0  # 2/3 with two lanes of -2


def test_a_lane_that_runs_up_and_down_is_noted_in_the_export(tmp_path: Path):
    truth = write(tmp_path / "gt.json", {"raw_file": CLIP, "h_samples": ROWS})
    two_in_one = np.array([[50, 130], [50, 100], [300, 130], [300, 100]])
    write_lanes(lane_file(tmp_path / "found", CLIP), [two_in_one])
    notes = write_tusimple(truth, tmp_path / "found", output=tmp_path / "o.json").notes
    assert any(note.startswith("1 predicted lane runs up and down") for note in notes)


def test_zeros_in_place_of_absent_points_of_annotations_are_noted(tmp_path: Path):
    truth = write(tmp_path / "gt.json", {"raw_file": CLIP, "lanes": [[0, 0, 50, 60]], "h_samples": ROWS})
    guess = write(tmp_path / "p.json", {"raw_file": CLIP, "lanes": [[-2, -2, 50, 60]], "run_time": 1})
    scores = evaluate_tusimple(truth, guess)
    assert scores.accuracy == 0.5  # the two rows with 0 are points of the annotation that are missed
    (note,) = scores.notes
    assert note.startswith("1 annotated lane has x = 0 in two rows or more, which counts as a point")


def test_predicted_lanes_without_any_point_are_noted(tmp_path: Path):
    lanes = [[50.0] * 4, [-2] * 4]  # the published annotations have lanes without points too
    truth = write(tmp_path / "gt.json", {"raw_file": CLIP, "lanes": lanes, "h_samples": ROWS})
    padded = write(tmp_path / "p.json", {"raw_file": CLIP, "lanes": [*lanes, [-1] * 4], "run_time": 1})
    assert (
        "2 predicted lanes without any point count, as a false positive"
        in evaluate_tusimple(truth, padded).notes[0]
    )
    plain = write(tmp_path / "q.json", {"raw_file": CLIP, "lanes": lanes[:1], "run_time": 1})
    assert evaluate_tusimple(truth, plain).notes == []


def test_annotations_given_as_predictions_are_noted(tmp_path: Path):
    entry = {"raw_file": CLIP, "lanes": [[50.0, 51, -2, -2]], "h_samples": ROWS, "run_time": 1}
    truth = write(tmp_path / "gt.json", entry)
    says = "The predicted lanes are exactly the annotated ones in the 1 frame; give the file"
    assert any(note.startswith(says) for note in evaluate_tusimple(truth, truth).notes)
    moved = write(tmp_path / "p.json", {**entry, "lanes": [[50.0, 51.5, -2, -2]]})
    assert not any(note.startswith(says) for note in evaluate_tusimple(truth, moved).notes)


def test_predictions_in_other_coordinates_are_noted(tmp_path: Path):
    rows = [float(y) for y in range(240, 720, 10)]
    ways = [[700 + slope * (y - 230) for y in rows] for slope in (-0.9, -0.3, 0.3, 0.9)]
    frames = [[[x + shift for x in way] for way in ways] for shift in range(0, 100, 20)]
    truth, guess = tmp_path / "gt.json", tmp_path / "p.json"

    def notes_of(change: Callable[[np.ndarray], np.ndarray], count: int = 5) -> list[str]:
        """Return the notes on the annotated lanes as predictions, the x of each lane changed."""
        annotated, predicted = [], []
        for number, lanes in enumerate(frames[:count]):
            name = {"raw_file": f"clips/{number}/20.jpg"}
            changed = [change(np.array(lane)).tolist() for lane in lanes]
            annotated.append(json.dumps({**name, "lanes": lanes, "h_samples": rows}))
            predicted.append(json.dumps({**name, "lanes": changed, "run_time": 1}))
        truth.write_text("\n".join(annotated))
        guess.write_text("\n".join(predicted))
        return evaluate_tusimple(truth, guess).notes

    all_points = "100 % of the annotated points have a predicted point near them, without it"
    (note,) = notes_of(lambda x: x * 800 / 1280)
    assert note.startswith(f"With x multiplied by 1.6 and y by 1, {all_points} ")
    assert "in pixels of frames of about 800 x 720 px instead of 1280 x 720 px" in note
    assert "in pixels of frames of about 1 x 720 px instead of 1280" in notes_of(lambda x: x / 1280)[0]
    assert notes_of(lambda x: 1279 - x)[0].startswith(f"With left and right exchanged, {all_points} ")
    assert notes_of(lambda x: x[::-1])[0].startswith(
        f"With the x of each lane in reverse order, {all_points} "
    )
    for nothing in (lambda x: x + 1, lambda x: x + 40, lambda x: x - 200):  # no other coordinates
        assert notes_of(nothing) == []
    assert notes_of(lambda x: x * 800 / 1280, count=2) == []  # too few frames to tell


def test_exported_lanes_in_other_coordinates_than_the_annotated_ones_are_noted(tmp_path: Path):
    rows = [float(y) for y in range(240, 720, 10)]
    lanes = [[600 + slope * (y - 230) for y in rows] for slope in (-0.6, 0.6)]
    entries = [{"raw_file": f"clips/{n}/20.jpg", "lanes": lanes, "h_samples": rows} for n in range(3)]
    truth, tasks = tmp_path / "gt.json", tmp_path / "tasks.json"
    truth.write_text("\n".join(map(json.dumps, entries)))
    tasks.write_text("\n".join(json.dumps({**entry, "lanes": []}) for entry in entries))
    for entry in entries:  # in pixels of frames of CULane
        found = [np.stack([xs, rows], axis=1) * (1640 / 1280, 590 / 720) for xs in lanes]
        write_lanes(lane_file(tmp_path / "found", str(entry["raw_file"])), found)
    (note,) = write_tusimple(truth, tmp_path / "found", output=tmp_path / "o.json").notes
    assert "as in pixels of frames of about 1640 x 590 px instead of 1280 x 720 px" in note
    assert write_tusimple(tasks, tmp_path / "found", output=tmp_path / "o.json").notes == []
