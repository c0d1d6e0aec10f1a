import numpy as np
import pandas as pd

from lgad_pipeline.data.frame_table import read_table, write_table
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import (
    LABELS_SCHEMA,
    assign_lane_slots,
    coverage,
    cropped_lanes,
    slot_lanes_of,
)

SIZE = (118, 328)


def test_labels_hold_the_lanes_in_their_slots(write_tree, tmp_path):
    frames = ingest(write_tree(), SIZE).frames
    labels = assign_lane_slots(frames)
    write_table(tmp_path / "labels.parquet", labels, schema=LABELS_SCHEMA)
    for table in (
        labels,
        read_table(tmp_path / "labels.parquet"),
        pd.read_parquet(tmp_path / "labels.parquet"),
    ):
        assert table["frame"].tolist() == frames["frame"].tolist()
        lanes = slot_lanes_of(next(table.itertuples(index=False)))
        assert lanes.existence.tolist() == [False, True, True, False]
        assert lanes.xs.shape == (4, 35) and lanes.rows.shape == (35,)
        # The lanes are straight: x = 100 + (117 - y) and x = 240 - (117 - y); label rows are 2 px apart.
        drawn = ~np.isnan(lanes.xs[1])
        assert drawn.sum() >= 20
        np.testing.assert_allclose(lanes.xs[1][drawn], 217 - lanes.rows[drawn], atol=1.0)
        np.testing.assert_allclose(lanes.xs[2][drawn], 123 + lanes.rows[drawn], atol=1.0)
        assert np.isnan(lanes.xs[[0, 3]]).all()


def test_progress_counts_frames(write_tree):
    seen = []
    assign_lane_slots(
        ingest(write_tree(), SIZE).frames, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(number, 10) for number in range(1, 11)]


def test_coverage_by_hand(write_tree):
    root = write_tree()
    folder = root / "drive/train.MP4"
    (folder / "00000.lines.txt").write_text("")  # its list states two lanes
    (folder / "00001.lines.txt").write_text("100 117 101 117 \n")  # two points on one row: no lane
    frames = ingest(root, SIZE).frames
    assert coverage(frames, assign_lane_slots(frames)) == {
        "frames": 10,
        "annotated_lanes": 8 * 2 + 1,
        "labelled_lanes": 8 * 2,
        "frames_without_label": 1,
        "flags_stated": 7,
        "flags_agreeing": 5,
    }


def test_lanes_that_crop_top_cuts_off_are_counted(write_tree):
    labels = assign_lane_slots(ingest(write_tree(), SIZE).frames)
    lanes = slot_lanes_of(next(labels.itertuples()))
    rows, drawn = lanes.rows, ~np.isnan(lanes.xs[1:3])
    assert cropped_lanes(labels, 0) == cropped_lanes(labels, int(rows[drawn.any(axis=0)].min())) == ""
    share = 100 * (drawn & (rows < 100)).sum() / drawn.sum()
    assert 0 < share < 100
    assert cropped_lanes(labels, 100) == (
        "20 of 20 labelled lanes reach above crop_top 100, where their labels are cut off "
        f"({share:.0f} % of their rows); set a smaller crop_top."
    )


def test_coverage_of_frames_without_stated_flags(write_tree):
    frames = ingest(write_tree(), SIZE).frames
    test = frames[frames["split"] == "test"]
    figures = coverage(test, assign_lane_slots(test))
    assert figures["flags_stated"] == figures["flags_agreeing"] == 0
