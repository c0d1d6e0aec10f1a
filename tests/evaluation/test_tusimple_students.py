import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.evaluation.tusimple_students import score_tusimple_students
from lgad_pipeline.lanes.lane_files import write_lanes
from lgad_pipeline.view import View
from resources.paths import ProjectPaths

SIZE = (180, 320)
ROWS = list(range(60, 180, 6))  # 20 rows
LEFT = [150 - 2.0 * k for k in range(20)]
RIGHT = [170 + 2.0 * k for k in range(20)]


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    root = tmp_path / "tusimple"
    for seed, (file, clip) in enumerate(
        (("label_data_0313", "1"), ("label_data_0531", "2"), ("test_label", "3"))
    ):
        image = root / f"clips/{clip}/20.jpg"
        image.parent.mkdir(parents=True)
        small = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), np.uint8)
        assert cv2.imwrite(str(image), cv2.resize(small, SIZE[::-1]))
        line = {"raw_file": f"clips/{clip}/20.jpg", "lanes": [LEFT, RIGHT], "h_samples": ROWS}
        gone = line | {"raw_file": f"clips/{clip}/gone.jpg"}
        (root / f"{file}.json").write_text(f"{json.dumps(line)}\n{json.dumps(gone)}\n")
    paths = ProjectPaths(tmp_path / "state", root, "mine", "enet", has_lane_files=False)
    frames = ingest(root, SIZE, kind="tusimple").frames
    pack_shards(
        frames,
        assign_lane_slots(frames, scheme=SlotScheme(4, 46)),
        root=root,
        output=paths.shards,
        view=View(SIZE, (72, 128)),
        lane_width=6,
    )
    return paths


def test_the_benchmarks_figures_by_hand(paths):
    found = np.array([LEFT, ROWS], np.float32).T
    wrong = found + np.array([60, 0], np.float32)  # px, more than 20 across the lane
    half = np.array([RIGHT, ROWS], np.float32).T[10:]
    frame = "test/clips/3/20.lines.txt"
    write_lanes(paths.predictions / "student_alone" / frame, [found, wrong])
    above = np.array([[50, 50], [60, 20]], np.float32)  # no row, so no lane
    write_lanes(paths.predictions / "student_lgad" / frame, [found, half, above])
    alone, lgad = score_tusimple_students(
        recordings=paths.recordings, shards=ShardSet.open(paths.shards), predictions=paths.predictions
    ).values()
    # The frame that is gone counts for nobody. Wrong lanes meet RIGHT on those rows where they cross it.
    crossing = np.mean(np.abs(wrong[:, 0] - RIGHT) < 20 / np.cos(np.arctan(1 / 3)))
    assert alone.accuracy == pytest.approx((1 + crossing) / 2) and alone.fp == alone.fn == 0.5
    assert lgad.accuracy == pytest.approx((1 + 0.5) / 2) and lgad.fp == lgad.fn == 0.5
