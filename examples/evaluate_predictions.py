"""Evaluate prediction files with CULane's and TuSimple's metrics, and compare two models on the same frames.

Run it: `python examples/evaluate_predictions.py`
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from made_up_road import lanes_of, write_lane_file

from lgad_pipeline import Counts, Interval, evaluate_culane, evaluate_tusimple, paired_f1_difference


def culane(folder: Path) -> None:
    """Compare two folders of predicted lane files with the annotated lane files."""
    frames = [f"{number:05d}.jpg" for number in range(20)]
    for number in range(20):
        lanes = lanes_of(number)
        offset = np.array([15.0 if number % 2 else 0.0, 0.0])  # every second frame 15 px to the right
        shifted = [lane + offset for lane in lanes]
        write_lane_file(folder / "annotations" / f"{number:05d}.lines.txt", lanes)
        write_lane_file(folder / "first" / f"{number:05d}.lines.txt", lanes[:1])  # one lane is missing
        write_lane_file(folder / "second" / f"{number:05d}.lines.txt", shifted)

    lists = {"test": frames}  # name of a scenario -> its frames
    first = evaluate_culane(folder / "annotations", folder / "first", lists=lists)
    second = evaluate_culane(folder / "annotations", folder / "second", lists=lists)
    for name, scores in (("first", first), ("second", second)):
        counts: Counts = scores.scores["test"][0.5]
        print(f"{name}: TP {counts.tp}, FP {counts.fp}, FN {counts.fn}, F1 {counts.f1:.3f}")

    gain: Interval = paired_f1_difference(first.frames, second.frames, threshold=0.5)
    print(f"second - first: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}] (95 %, paired bootstrap)")


def tusimple(folder: Path) -> None:
    """Compare a JSON file of predictions with the annotations of TuSimple's benchmark."""
    rows = list(range(240, 720, 10))
    lane = [600 + (row - 240) // 2 for row in rows]
    task = {"raw_file": "clips/0601/1/20.jpg", "h_samples": rows, "lanes": [lane]}
    prediction = {"raw_file": task["raw_file"], "lanes": [[x + 3 for x in lane]], "run_time": 10}
    (folder / "annotations.json").write_text(json.dumps(task) + "\n")
    (folder / "predictions.json").write_text(json.dumps(prediction) + "\n")

    scores = evaluate_tusimple(folder / "annotations.json", folder / "predictions.json")
    print(f"TuSimple: accuracy {scores.accuracy:.3f}, FP {scores.fp:.3f}, FN {scores.fn:.3f}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        culane(Path(temporary))
        tusimple(Path(temporary))
