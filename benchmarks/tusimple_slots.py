"""Loss of the lane slots on TuSimple's annotations, by the benchmark's metric (the table of docs/data.md).

    python benchmarks/tusimple_slots.py label_data_0313.json label_data_0531.json

Prints accuracy / FN of the slots' lanes, and of the annotations themselves, against the annotations.
"""

import json
import sys
from pathlib import Path

import numpy as np

from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.evaluation.tusimple import score_frame
from lgad_pipeline.evaluation.tusimple_export import on_rows
from lgad_pipeline.lanes.slots import assign_frames

FRAME_SIZE = (720, 1280)
SCHEMES = {"4 slots, CULane": SlotScheme(), "6 slots, 57 rows": SlotScheme(6, 57, 72)}


def main(paths: list[str]) -> None:
    """Print one line for each file and each scheme of slots."""
    for path in map(Path, paths):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        frames = [_lanes(row) for row in rows]
        for name, scheme in SCHEMES.items():
            slots = assign_frames(frames, FRAME_SIZE, scheme=scheme)
            lanes = [[part.points(int(slot)) for slot in np.flatnonzero(part.existence)] for part in slots]
            print(f"{path.name:24} {name:18} {_score(rows, lanes)}")
        print(
            f"{path.name:24} {'annotations':18} {_score(rows, [[lane[::-1] for lane in f] for f in frames])}"
        )


def _lanes(row: dict) -> list[np.ndarray]:
    """Return the annotated lanes of a frame with two points or more, (N, 2) x and y."""
    lanes = [
        np.array([(x, y) for x, y in zip(xs, row["h_samples"], strict=True) if x >= 0], np.float32)
        for xs in row["lanes"]
    ]
    return [lane for lane in lanes if len(lane) > 1]


def _score(rows: list[dict], lanes: list[list[np.ndarray]]) -> str:
    scores = [
        score_frame(
            row["lanes"],
            [on_rows(points, np.array(row["h_samples"], float)).tolist() for points in predicted],
            run_time=10,
            rows=row["h_samples"],
        )
        for row, predicted in zip(rows, lanes, strict=True)
    ]
    accuracy, _, missed = np.mean(scores, axis=0)
    return f"accuracy {accuracy:.4f}  FN {missed:.4f}"


if __name__ == "__main__":
    main(sys.argv[1:])
