from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.lanes.lane_files import read_lanes
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.rendering.label_runs import draw_label_runs
from lgad_pipeline.lanes.rendering.run_length_png import encode_pngs
from lgad_pipeline.lanes.slots import ROWS, SlotLanes, assign_frames


def check(frames: list[SlotLanes], size: tuple[int, int], width: int) -> None:
    pictures = encode_pngs(draw_label_runs(frames, size, lane_width=width), len(frames), size=size)
    for lanes, content in zip(frames, pictures, strict=True):
        read = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        assert read is not None and np.array_equal(read, label_map(lanes, size, lane_width=width))


@pytest.mark.parametrize(("size", "width"), [((590, 1640), 16), ((720, 1280), 7), ((40, 60), 16)])
def test_pngs_are_the_label_maps(seg_labels: Path, size: tuple[int, int], width: int):
    files = sorted((seg_labels / "annotations").rglob("*.lines.txt"))[:20]
    check(assign_frames([read_lanes(file) for file in files], size), size, width)


def test_later_slots_cover_earlier_ones_and_lanes_may_cross_the_borders():
    rng = np.random.default_rng(0)
    ends = rng.uniform(-200, 1840, (8, 4, 2))
    frames = [
        SlotLanes(
            ROWS, np.linspace(pair[:, 0], pair[:, 1], len(ROWS), axis=1), np.array([True, True, False, True])
        )
        for pair in ends
    ]
    empty = SlotLanes(ROWS, np.full((4, 35), np.nan), np.zeros(4, bool))
    check([empty, *frames, empty], (590, 1640), 30)
    check([empty], (590, 1640), 16)
