import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.tusimple import evaluate_tusimple, score_frame
from lgad_pipeline.evaluation.tusimple_export import on_rows, write_tusimple
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes

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
    assert score_frame([upright], [[69.9, 50, 31, -5]], run_time=10, rows=ROWS) == (1, 0, 0)
    assert score_frame([upright], [[70, 50, 30, -2]], run_time=10, rows=ROWS) == (
        0.5,
        1,
        1,
    )  # 20 px off is too far
    slanted = [50.0, 60.0, 70.0, 80.0]  # 45 degrees: 20 * sqrt(2) px
    assert score_frame([slanted], [[x + 28 for x in slanted]], run_time=10, rows=ROWS) == (1, 0, 0)
    assert score_frame([upright], [], run_time=10, rows=ROWS) == (0, 0, 1)
    assert score_frame([], [upright], run_time=10, rows=ROWS) == (0, 1, 0)
    assert score_frame([upright], [upright], run_time=201, rows=ROWS) == (0, 0, 1)
    assert score_frame([upright], [upright] * 4, run_time=10, rows=ROWS) == (0, 0, 1)
    five = [[x] * 4 for x in (0.0, 100.0, 200.0, 300.0, 400.0)]
    assert score_frame(five, five[:4], run_time=10, rows=ROWS) == (1, 0, 0)  # one miss is forgiven


def write(path: Path, *entries: object) -> Path:
    path.write_text("\n".join(entry if isinstance(entry, str) else json.dumps(entry) for entry in entries))
    return path


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("{", "not a JSON object"),
        ({"raw_file": "b", "lanes": [[1, 2]]}, "no `run_time`"),
        ({"raw_file": "b", "lanes": [[1]], "run_time": 1}, "h_samples"),
        ({"raw_file": "b", "lanes": [["x", 2]], "run_time": 1}, "lists of numbers"),
        ({"raw_file": "b", "lanes": [[10**400, 2]], "run_time": 1}, "below a million"),
        ({"raw_file": "b", "lanes": [[float("nan"), 2]], "run_time": 1}, "below a million"),
        ({"raw_file": "b", "lanes": [[True, 2]], "run_time": 1}, "below a million"),
        ("[" * 100_000, "not a JSON object"),
        ({"raw_file": "c", "lanes": [], "run_time": 1}, "not annotated"),
        ({"raw_file": "a", "lanes": [], "run_time": 1}, "predicted twice"),
    ],
)
def test_bad_predictions_are_rejected_or_named(tmp_path: Path, bad: object, says: str):
    truth = [{"raw_file": name, "lanes": [[5, 5]], "h_samples": [10, 20]} for name in "ab"]
    annotations = write(tmp_path / "gt.json", *truth)
    predictions = write(tmp_path / "p.json", {"raw_file": "a", "lanes": [[5, 5]], "run_time": 1}, bad)
    scores = evaluate_tusimple(annotations, predictions)
    assert (scores.accuracy, scores.fn, len(scores.without_prediction)) == (0.5, 0.5, 1)
    assert [(fault.line, says in fault.reason) for fault in scores.rejected] == [(2, True)]
    with pytest.raises(LgadError, match=r"p\.json, line 2"):
        evaluate_tusimple(annotations, predictions, strict=True)


def test_predictions_of_other_frames_are_an_error(tmp_path: Path):
    annotations = write(tmp_path / "gt.json", {"raw_file": "a", "lanes": [], "h_samples": []})
    predictions = write(tmp_path / "p.json", {"raw_file": "z", "lanes": [], "run_time": 1})
    with pytest.raises(LgadError, match="holds no prediction of the 1 frame in"):
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
    assert write_tusimple(truth, tmp_path / "found", output=tmp_path / "predicted.json").frames == 2
    scores = evaluate_tusimple(truth, tmp_path / "predicted.json", strict=True)
    assert (scores.accuracy, scores.fp, scores.fn) == (1, 0, 0)


CLIP, OTHER = "clips/1/20.jpg", "clips/2/20.jpg"
LANES = [[50.0, 60.0, 70.0, 80.0], [300.0, 290.0, 280.0, 270.0]]


def predicted(path: Path, *changes: dict, text=json.dumps) -> Path:
    """Predictions of two frames that equal the annotations, as changed."""
    frames = [{"raw_file": name, "lanes": LANES, "run_time": 10} for name in (CLIP, OTHER)]
    return write(
        path, *(text(frame | change) for frame, change in zip(frames, changes or ({}, {}), strict=True))
    )


@pytest.fixture
def truth(tmp_path: Path) -> Path:
    frames = [{"raw_file": name, "lanes": LANES, "h_samples": ROWS} for name in (CLIP, OTHER)]
    return write(tmp_path / "gt.json", *frames)


@pytest.mark.parametrize(
    "form",
    [
        json.dumps,
        lambda entries: json.dumps(entries, indent=1),
        lambda entries: "\n".join(json.dumps(entry, indent=1) for entry in entries),
        lambda entries: "".join(json.dumps(entry) + ",\r\n" for entry in entries),
        lambda entries: "[\n" + "".join(json.dumps(entry) + ",\n" for entry in entries) + "]\n",
        lambda entries: "\ufeff" + "\n\n".join(map(json.dumps, entries)),
        lambda entries: "\n".join(map(json.dumps, entries)).encode("utf-16"),
        lambda entries: "\n".join(map(json.dumps, entries)).encode("utf-16-be"),
    ],
)
def test_files_are_read_in_every_form_that_people_write(tmp_path: Path, truth: Path, form):
    entries = [json.loads(line) | {"run_time": 5} for line in truth.read_text().splitlines()]
    content = form(entries)
    (tmp_path / "p.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    scores = evaluate_tusimple(truth, tmp_path / "p.json", strict=True)
    assert (scores.accuracy, scores.fp, scores.fn, scores.frames) == (1, 0, 0, 2)
    assert evaluate_tusimple(tmp_path / "p.json", tmp_path / "p.json", strict=True).frames == 2


def test_zeros_in_place_of_absent_points_are_pointed_out(tmp_path: Path, truth: Path):
    zeros = [[0 if x < 0 else x for x in lane] for lane in LANES]
    predicted = write(
        tmp_path / "p.json", {"raw_file": CLIP, "lanes": [[0, 0, *zeros[0][2:]]], "run_time": 5}
    )
    notes = evaluate_tusimple(truth, predicted).notes
    assert any(note.startswith("1 predicted lane has x = 0 in two rows or more") for note in notes)


@pytest.mark.parametrize(
    "raw_file", [f"/{CLIP}", CLIP.replace("/", "\\"), f"/data/TUSimple/test_set/{CLIP}", f"./{CLIP}"]
)
def test_a_frame_is_found_however_its_path_is_written(tmp_path: Path, truth: Path, raw_file: str):
    predictions = predicted(tmp_path / "p.json", {"raw_file": raw_file}, {})
    assert evaluate_tusimple(truth, predictions, strict=True).accuracy == 1
    write_lanes(lane_file(tmp_path / "found", CLIP), [np.array([[50, 100], [80, 130]])])
    tasks = write(tmp_path / "tasks.json", {"raw_file": raw_file, "h_samples": ROWS})
    write_tusimple(tasks, tmp_path / "found", output=tmp_path / "o.json")
    written = json.loads((tmp_path / "o.json").read_text())
    assert written == {"raw_file": raw_file, "lanes": [LANES[0]], "run_time": 0.0}


def test_pythons_notation_is_named(tmp_path: Path, truth: Path):
    with pytest.raises(LgadError, match=r"line 1: is Python's notation .* json\.dumps"):
        evaluate_tusimple(truth, predicted(tmp_path / "p.json", text=str))


def test_one_bad_object_over_several_lines_is_one_fault(tmp_path: Path, truth: Path):
    good = json.dumps({"raw_file": CLIP, "lanes": LANES, "run_time": 1}, indent=1)
    bad = json.dumps({"raw_file": OTHER, "lanes": LANES, "run_time": 1}, indent=1).replace("50.0", "5O")
    for text in (f"{bad}\n{good}", f"[{bad},\n{good}]"):
        (tmp_path / "p.json").write_text(text)
        scores = evaluate_tusimple(truth, tmp_path / "p.json")
        assert (scores.accuracy, [fault.line for fault in scores.rejected]) == (0.5, [1])


def test_frames_that_the_benchmark_counts_as_zero_are_reported_with_the_reason(tmp_path: Path, truth: Path):
    slow = evaluate_tusimple(truth, predicted(tmp_path / "p.json", {"run_time": 350}, {"lanes": LANES * 3}))
    assert (slow.accuracy, slow.fp, slow.fn, slow.slow, slow.crowded) == (0, 0, 1, 1, 1)
    assert slow.notes == [
        "2 of 2 frames count as accuracy 0 and FN 1 by the benchmark's rules: 1 with a run_time above 200 ms "
        "and 1 with more than 2 lanes beyond the annotated ones.",
        "4 predicted lanes are equal to another lane of the same frame; remove the copies, since every lane "
        "counts.",
    ]
    more = [[x + 1 for x in lane] for lane in LANES]
    limit = evaluate_tusimple(
        truth, predicted(tmp_path / "q.json", {"run_time": 200}, {"lanes": LANES + more})
    )
    assert (limit.slow, limit.crowded, limit.notes) == (0, 0, [])


def test_other_rows_seconds_and_frames_annotated_twice_are_reported(tmp_path: Path, truth: Path):
    rows = {"h_samples": [row + 5 for row in ROWS]}
    near = [[x + 1 for x in lane] for lane in LANES]
    found = evaluate_tusimple(
        truth, predicted(tmp_path / "p.json", {**rows, "lanes": near}, {"h_samples": ROWS})
    )
    assert found.accuracy == 1 and len(found.notes) == 1
    assert found.notes[0].startswith("1 prediction states h_samples other than the annotation's")
    seconds = evaluate_tusimple(truth, predicted(tmp_path / "p.json", {"run_time": 0.3}, {"run_time": 0.2}))
    assert seconds.notes[0].startswith("Every run_time is below 1 ms (at most 0.3)")
    again = {"raw_file": f"/{CLIP}", "lanes": [LANES[0]], "h_samples": ROWS}
    truth.write_text(truth.read_text() + "\n" + json.dumps(again) + "\n")
    found = evaluate_tusimple(truth, predicted(tmp_path / "p.json"))
    assert (found.frames, found.accuracy, found.fp) == (2, 1, 0.25)  # the last annotation counts
    assert "1 line annotates a frame again (the first is line 3, clips/1/20.jpg)" in found.notes[0]


def test_annotations_as_predictions_and_tasks_as_annotations(tmp_path: Path):
    both = {"lanes": LANES, "h_samples": ROWS, "run_time": 1}
    path = write(tmp_path / "a.json", {"raw_file": CLIP, **both})
    assert "is given as annotations and as predictions" in evaluate_tusimple(path, path).notes[0]
    tasks = write(tmp_path / "tasks.json", {"raw_file": CLIP, "h_samples": ROWS})
    with pytest.raises(
        LgadError, match=r"tasks\.json, line 1: .* there is no `lanes`; give frames with lanes"
    ):
        evaluate_tusimple(tasks, path)


def full_frame(scale: float) -> dict:
    rows = list(range(240, 720, 10))
    return {
        "lanes": [[scale * (640 + side * row) for row in rows] for side in (-0.5, 0.8)],
        "h_samples": rows,
    }


def test_predictions_in_pixels_of_another_size_are_pointed_out(tmp_path: Path):
    truth = write(tmp_path / "gt.json", {"raw_file": CLIP, **full_frame(1)})
    network = [np.array([[400, 288], [380, 150]]), np.array([[500, 288], [420, 150]])]
    write_lanes(lane_file(tmp_path / "found", CLIP), network)
    done = write_tusimple(truth, tmp_path / "found", output=tmp_path / "o.json")
    assert done.notes[0].startswith("All predicted lanes are in the upper left corner of 1280 x 720 px")
    assert "1280 x 720 px is assumed" in done.size_note
    scores = evaluate_tusimple(truth, tmp_path / "o.json")
    assert scores.notes[0].startswith("All predicted lanes are in the upper left corner of 1280 x 720 px")
    write_lanes(lane_file(tmp_path / "found", CLIP), [lane * [1, 0.4] for lane in network])
    with pytest.raises(LgadError, match=r"No lane in .* reaches a row of h_samples"):
        write_tusimple(truth, tmp_path / "found", output=tmp_path / "none.json")
    assert not (tmp_path / "none.json").exists()


def test_an_image_of_another_size_than_given_stops_the_export(tmp_path: Path, truth: Path):
    (tmp_path / "clips" / "1").mkdir(parents=True)
    assert cv2.imwrite(str(tmp_path / CLIP), np.zeros((72, 128, 3), np.uint8))
    write_lanes(lane_file(tmp_path / "found", CLIP), [np.array([[50, 100], [80, 130]])])
    with pytest.raises(
        LgadError, match=r"20\.jpg has 128 x 72 px, but the frame size is given as 1280 x 720"
    ):
        write_tusimple(truth, tmp_path / "found", output=tmp_path / "o.json", frame_size=(720, 1280))


def test_an_export_never_writes_an_answer_without_lane_files(tmp_path: Path, truth: Path):
    (tmp_path / "other").mkdir()
    output = tmp_path / "o.json"
    for folder, says in (
        (tmp_path / "nowhere", "does not exist"),
        (tmp_path / "other", "holds no lane file of the 2 frames"),
    ):
        with pytest.raises(LgadError, match=says):
            write_tusimple(truth, folder, output=output)
    write_lanes(lane_file(tmp_path / "found", CLIP), [np.array([[50, 100], [80, 130]])])
    with pytest.raises(LgadError, match="would be replaced"):
        write_tusimple(truth, tmp_path / "found", output=truth)
    empty = write(tmp_path / "empty.json", "[]")
    with pytest.raises(LgadError, match="names no frame"):
        write_tusimple(empty, tmp_path / "found", output=output)
    assert not output.exists()
    assert write_tusimple(truth, tmp_path / "found", output=output).without_file == ("clips/2/20.jpg",)


def test_bad_lines_of_tasks_and_lane_files_are_rejected_with_their_reason(tmp_path: Path):
    task = {"raw_file": CLIP, "h_samples": ROWS}
    tasks = write(
        tmp_path / "t.json", task, {"raw_file": "../a"} | {"h_samples": []}, {"raw_file": OTHER}, task
    )
    path = lane_file(tmp_path / "found", CLIP)
    path.parent.mkdir(parents=True)
    path.write_text("50 100 80 130\n1 2 x\n")
    done = write_tusimple(tasks, tmp_path / "found", output=tmp_path / "o.json")
    assert (done.frames, [fault.line for fault in done.rejected]) == (1, [2, 3, 2])
    assert "leads out" in done.rejected[0].reason and "no `h_samples`" in done.rejected[1].reason
    assert "names frames again in 1 line" in done.notes[0]
    with pytest.raises(LgadError, match=r"t\.json, line 2"):
        write_tusimple(tasks, tmp_path / "found", output=tmp_path / "o.json", strict=True)


def test_annotations_without_lanes_count_as_frames_of_tusimples_size(tmp_path: Path):
    truth = write(tmp_path / "truth.json", {"raw_file": CLIP, **full_frame(1), "lanes": []})
    guess = write(tmp_path / "guess.json", {"raw_file": CLIP, **full_frame(1), "run_time": 1})
    assert evaluate_tusimple(truth, guess).notes == []
