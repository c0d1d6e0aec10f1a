import numpy as np
import pyarrow as pa
import pytest

from assets.data_checks import frames_table_faults
from assets.network_checks import late_loss_share
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA


def frames_table(**columns: list) -> pa.Table:
    rows = {
        "frame": ["a.jpg", "b.jpg", "c.jpg"],
        "split": list(SPLITS),
        "scenario": [None, None, "night"],
        "lanes": [[[[1.0, 2.0], [3.0, 4.0]]], [], []],
        "lane_types": [["dashed white"], None, None],
        "existence": [None, None, [True, False, False, False]],
        "width": [1640] * 3,
        "height": [590] * 3,
        "picture_hash": [None] * 3,
        **{name: ["0"] * 3 for name in ("fingerprint", "lane_fingerprint", "stamp")},
        **columns,
    }
    kinds = {field.name: field.type for field in FRAMES_SCHEMA}
    return pa.table({name: pa.array(values, kinds[name]) for name, values in rows.items()})


@pytest.mark.parametrize(
    ("columns", "fault"),
    [
        ({"split": ["train", "train", "val"]}, "no frame is in the split test"),
        ({"split": ["train", "val", "tset"]}, "1 frames are in the split tset"),
        ({"frame": ["a.jpg", "a.jpg", "c.jpg"]}, "1 frames are there twice"),
        ({"lanes": [None, [], []]}, "1 frames have no lanes"),
    ],
)
def test_faults_of_a_frames_table(columns, fault):
    assert frames_table_faults(frames_table()) == []
    assert fault in frames_table_faults(frames_table(**columns))


def test_other_columns_are_a_fault():
    assert "where" in frames_table_faults(frames_table().drop_columns("stamp"))[0]
    other = frames_table().set_column(6, "width", pa.array(["1640"] * 3))
    assert "'width': 'string'" in frames_table_faults(other)[0]


def test_share_of_the_fall_that_came_late():
    flat = np.r_[np.full(10, 5.0), np.full(90, 1.0)]
    assert late_loss_share(flat) == 0
    # Steps of 1/99: the fifths lie 20 of them apart, the first tenth and the last fifth 85.
    assert late_loss_share(np.linspace(2, 1, 100)) == pytest.approx(20 / 85)
    assert late_loss_share(np.full(100, 3.0)) == 1 and late_loss_share(np.array([1.0, np.nan])) == 1
