"""Loss of the lane slots on TuSimple's annotations, by the benchmark's metric (the table of docs/data.md).

    python benchmarks/tusimple_slots.py label_data_0313.json label_data_0531.json

Prints accuracy / FN, against the annotations, of the slots' lanes, of the lanes decoded from their label maps
(six slots; lane_width 20), and of the annotations themselves.
"""

import json
import sys
from pathlib import Path

import numpy as np

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.evaluation.tusimple import score_frame
from lgad_pipeline.evaluation.tusimple_export import on_rows
from lgad_pipeline.lanes.decoding import decode
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.slots import SlotLanes, assign_frames
from lgad_pipeline.view import View

FRAME_SIZE = (720, 1280)
TUSIMPLE = SlotScheme(6, 57, 72)
SCHEMES = {"4 slots, CULane": SlotScheme(), "6 slots, 57 rows": TUSIMPLE}
IMAGE_SIZES = ((144, 256), (288, 512), (368, 640))
LANE_WIDTH = 20


def main(paths: list[str]) -> None:
    """Print one line for each file and each scheme of slots."""
    for path in map(Path, paths):
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        frames = [_lanes(row) for row in rows]
        for name, scheme in SCHEMES.items():
            slots = assign_frames(frames, FRAME_SIZE, scheme=scheme)
            lanes = [[part.points(int(slot)) for slot in np.flatnonzero(part.existence)] for part in slots]
            print(f"{path.name:24} {name:34} {_score(rows, lanes)}", flush=True)
        slots = assign_frames(frames, FRAME_SIZE, scheme=TUSIMPLE)
        for size in IMAGE_SIZES:
            fitted = DecodeConfig(to_bottom=False, outlier_distance=12 * size[1] / 256)
            for settings, config in (("default", DecodeConfig()), ("TuSimple's", fitted)):
                lanes = [_through_label_map(part, View(FRAME_SIZE, size), config) for part in slots]
                name = f"label maps {size[0]} x {size[1]}, {settings}"
                print(f"{path.name:24} {name:34} {_score(rows, lanes)}", flush=True)
        annotated = [[lane[::-1] for lane in frame] for frame in frames]
        print(f"{path.name:24} {'annotations':34} {_score(rows, annotated)}", flush=True)


def _through_label_map(slots: SlotLanes, view: View, config: DecodeConfig) -> list[np.ndarray]:
    """Draw the label map of a frame at training size, and decode it as a network's probability maps."""
    label = view.label(label_map(slots, view.frame_size, lane_width=LANE_WIDTH))
    planes = (label == np.arange(1, TUSIMPLE.slots + 1)[:, None, None]).astype(np.float32)
    return [points for _, points, _ in decode(planes[None], slots.existence[None], view, config)[0]]


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
