"""TuSimple's files with frames of several drives, whose paths are equal from `clips/` on."""

import json
from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.evaluation.tusimple import TusimpleScores, evaluate_tusimple
from lgad_pipeline.evaluation.tusimple_export import write_tusimple
from lgad_pipeline.lanes.lane_files import lane_file, write_lanes

ROWS = [100.0, 110.0, 120.0, 130.0]
CLIP = "clips/1/20.jpg"
MONDAY, TUESDAY = [50.0] * 4, [300.0] * 4  # lanes of the two drives, 250 px apart


def scores(
    folder: Path, annotated: dict[str, list[float]], predicted: dict[str, list[float]]
) -> TusimpleScores:
    files = []
    for name, lanes, more in (("a", annotated, {"h_samples": ROWS}), ("p", predicted, {"run_time": 1})):
        files.append(folder / f"{name}.json")
        lines = [json.dumps({"raw_file": frame, "lanes": [lane], **more}) for frame, lane in lanes.items()]
        files[-1].write_text("\n".join(lines))
    return evaluate_tusimple(*files)


@pytest.mark.parametrize("prefix", ["", "/data/sets/", "sets\\"])
def test_frames_of_two_drives_are_scored_apart(tmp_path: Path, prefix: str) -> None:
    annotated = {f"mon/{CLIP}": MONDAY, f"tue/{CLIP}": TUESDAY}
    predicted = {f"{prefix}tue/{CLIP}": TUESDAY, f"{prefix}mon/{CLIP}": TUESDAY}
    found = scores(tmp_path, annotated, predicted)
    assert (found.frames, found.accuracy, found.fp, found.fn) == (2, 0.5, 0.5, 0.5)
    assert (found.rejected, found.notes) == ([], [])
    back = scores(tmp_path, {f"{prefix}{name}": lane for name, lane in annotated.items()}, annotated)
    assert (back.frames, back.accuracy) == (2, 1)


def test_a_prediction_counts_only_where_its_drive_is_known(tmp_path: Path) -> None:
    both = {f"mon/{CLIP}": MONDAY, f"tue/{CLIP}": TUESDAY}
    other = "clips/2/20.jpg"
    unknown = scores(tmp_path, both | {other: MONDAY}, {CLIP: MONDAY, other: MONDAY})
    assert [fault.line for fault in unknown.rejected] == [1]
    assert "'clips/1/20.jpg' is not annotated by this name" in unknown.rejected[0].reason
    assert unknown.accuracy == pytest.approx(1 / 3) and len(unknown.without_prediction) == 2
    # Predictions of two drives, annotations of one: the other drive's frame is no prediction of it.
    one = scores(tmp_path, {f"mon/{CLIP}": MONDAY}, {f"tue/{CLIP}": TUESDAY, f"mon/{CLIP}": MONDAY})
    assert (one.accuracy, [fault.line for fault in one.rejected]) == (1, [1])
    # Both drives may be meant, so neither prediction counts.
    neither = scores(tmp_path, {CLIP: MONDAY, other: MONDAY}, {**both, other: MONDAY})
    assert (neither.accuracy, [fault.line for fault in neither.rejected]) == (0.5, [1, 2])


def test_a_single_drive_may_have_another_prefix(tmp_path: Path) -> None:
    found = scores(tmp_path, {f"train/{CLIP}": MONDAY}, {f"/home/me/out/{CLIP}": MONDAY})
    assert (found.accuracy, found.rejected) == (1, [])


def test_frames_of_two_drives_are_exported_apart(tmp_path: Path) -> None:
    tasks = [{"raw_file": f"{drive}/{CLIP}", "h_samples": ROWS} for drive in ("mon", "tue")]
    (tmp_path / "tasks.json").write_text("\n".join(map(json.dumps, tasks)))
    write_lanes(lane_file(tmp_path / "found", f"mon/{CLIP}"), [np.array([[50, 100], [50, 130]])])
    write_lanes(lane_file(tmp_path / "found", CLIP), [np.array([[9, 100], [9, 130]])])  # of which drive?
    done = write_tusimple(tmp_path / "tasks.json", tmp_path / "found", output=tmp_path / "o.json")
    lines = [json.loads(line) for line in (tmp_path / "o.json").read_text().splitlines()]
    assert [(line["raw_file"], line["lanes"]) for line in lines] == [
        (f"mon/{CLIP}", [MONDAY]),
        (f"tue/{CLIP}", []),
    ]
    assert (done.without_file, len(done.rejected)) == ((f"tue/{CLIP}",), 0)
