"""TuSimple's metric of annotations that became label maps and were decoded again."""

import numpy as np
import pytest

from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.slots import CULANE, SlotScheme
from lgad_pipeline.evaluation.tusimple import score_frame
from lgad_pipeline.evaluation.tusimple_export import on_rows
from lgad_pipeline.lanes.decoding import decode
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.lanes.slots import SlotLanes, assign_slots
from lgad_pipeline.view import View

FRAME_SIZE = (720, 1280)
ROWS = np.arange(240.0, 711, 10)  # TuSimple's h_samples
TUSIMPLE = SlotScheme(6, 57, 72)


def lanes_in_a_bend() -> list[np.ndarray]:
    """Five lanes x = 640 + s (y - 200) + 8000 / (y - 200) that end between y = 240 and 270, (N, 2) each."""
    lanes = []
    for slope, top in ((-2.2, 260), (-1.0, 250), (-0.1, 240), (0.9, 250), (2.0, 270)):
        points = np.stack([640 + slope * (ROWS - 200) + 8000 / (ROWS - 200), ROWS], axis=1)
        inside = (points[:, 0] >= 0) & (points[:, 0] < FRAME_SIZE[1]) & (top <= ROWS)
        lanes.append(points[inside].astype(np.float32))
    return lanes


@pytest.mark.parametrize("image_size", [(144, 256), (288, 512)])
def test_annotations_match_themselves_through_label_maps(image_size: tuple[int, int]) -> None:
    lanes = lanes_in_a_bend()
    slots = assign_slots(lanes, FRAME_SIZE, scheme=TUSIMPLE)
    assert slots.existence.sum() == 5
    view = View(FRAME_SIZE, image_size)
    label = view.label(label_map(slots, FRAME_SIZE, lane_width=20))
    planes = (label == np.arange(1, 7)[:, None, None]).astype(np.float32)[None]

    def accuracy(config: DecodeConfig) -> tuple[float, float, float]:
        decoded = decode(planes, slots.existence[None], view, config)[0]
        found = [on_rows(points, ROWS).tolist() for _, points, _ in decoded]
        annotated = [on_rows(lane, ROWS).tolist() for lane in lanes]
        return score_frame(annotated, found, run_time=0, rows=ROWS.tolist())

    config = DecodeConfig(to_bottom=False, outlier_distance=12 * image_size[1] / 256)
    assert accuracy(config) == pytest.approx((1, 0, 0))
    assert accuracy(DecodeConfig())[0] < 0.99


@pytest.mark.parametrize(("scheme", "beyond"), [(TUSIMPLE, 0), (CULANE, 10)])
def test_lanes_end_on_their_rows_or_half_a_width_beyond_them_as_in_culanes_tool(
    scheme: SlotScheme, beyond: int
) -> None:
    height = 720 if scheme == TUSIMPLE else 590
    rows = height - height / scheme.divisions * np.arange(scheme.rows)
    xs = np.full((scheme.slots, scheme.rows), np.nan)
    xs[1, 10:20] = 300
    existence = np.arange(scheme.slots) == 1
    label = label_map(SlotLanes(rows, xs, existence), (height, 640), lane_width=20)
    drawn = np.flatnonzero((label == 2).any(axis=1))
    assert drawn.min() == pytest.approx(rows[19] - beyond, abs=beyond / 10)
    assert drawn.max() == pytest.approx(rows[10] + beyond, abs=beyond / 10)
