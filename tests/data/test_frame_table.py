import os
import subprocess
import time

import duckdb
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from lgad_pipeline.atomic_files import machine
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA, REJECTED_SCHEMA, FrameRecord, frames_batch
from lgad_pipeline.data.frame_table import (
    dataset_fingerprint,
    lanes_of,
    read_table,
    rejected_table,
    split_leakage,
    to_pandas,
    write_table,
)
from lgad_pipeline.errors import LgadError

LANE = np.array([[-3.5, 589], [10.25, 579], [20, 569]], np.float32)


def record(frame="a.jpg", split="train", fingerprint="f", **changes) -> FrameRecord:
    fields = {"scenario": None, "lanes": [LANE], "lane_types": None, "existence": None, "width": 1640}
    fields |= {"height": 590, "lane_fingerprint": "l", "picture_hash": None, "stamp": "s"}
    return FrameRecord(frame, split, fingerprint=fingerprint, **{**fields, **changes})


def table(*records: FrameRecord) -> pd.DataFrame:
    import pyarrow as pa

    return to_pandas(pa.Table.from_batches([frames_batch(records)]))


def test_a_table_comes_back_as_it_was_written(tmp_path):
    frames = table(
        record(lanes=[LANE, LANE[:2]], existence=(True, False, True, False)),
        record("b.jpg", "test", scenario="night", lanes=[]),
        record("c.jpg", lanes=[LANE[:0], LANE]),
    )
    write_table(tmp_path / "frames.parquet", frames, schema=FRAMES_SCHEMA)
    for back in (read_table(tmp_path / "frames.parquet"), pd.read_parquet(tmp_path / "frames.parquet")):
        assert back["frame"].tolist() == ["a.jpg", "b.jpg", "c.jpg"]
        assert back["scenario"].fillna("").tolist() == ["", "night", ""]
        assert list(back["existence"][0]) == [True, False, True, False]
        assert back["existence"].isna().tolist() == [False, True, True]
        lanes = [lanes_of(cell) for cell in back["lanes"]]
        assert [[len(lane) for lane in frame] for frame in lanes] == [[3, 2], [], [0, 3]]
        np.testing.assert_array_equal(lanes[0][0], LANE)
        assert dataset_fingerprint(back) == dataset_fingerprint(frames)


def test_duckdb_reads_the_table_without_us(tmp_path):
    path = tmp_path / "frames.parquet"
    write_table(
        path,
        table(
            record(lanes=[LANE, LANE[:2]], existence=(True, False, True, False)),
            record("b.jpg", "test", scenario="night", lanes=[]),
        ),
        schema=FRAMES_SCHEMA,
    )
    database = duckdb.connect()
    rows = database.execute(
        f"select frame, scenario, len(lanes), lanes[1][2][1], existence[3] from '{path}'"
    ).fetchall()
    assert rows == [("a.jpg", None, 2, 10.25, True), ("b.jpg", "night", 0, None, None)]
    counts = database.execute(
        f"select split, count(*) from '{path}' group by split order by split"
    ).fetchall()
    assert counts == [("test", 1), ("train", 1)]


def test_half_a_table_of_a_killed_process_is_removed(tmp_path):
    process = subprocess.Popen(["true"])
    process.wait()
    dead = tmp_path / f".frames.parquet.{machine()}-{process.pid}.part"
    living = tmp_path / f".frames.parquet.{machine()}-1.part"
    elsewhere = tmp_path / f".frames.parquet.ffffff-{process.pid}.part"  # a process of another machine
    forgotten = tmp_path / ".frames.parquet.ffffff-1.part"
    for part in (dead, living, elsewhere, forgotten):
        part.touch()
    os.utime(forgotten, (old := time.time() - 90_000, old))
    write_table(tmp_path / "frames.parquet", table(record()), schema=FRAMES_SCHEMA)
    assert [part.exists() for part in (dead, living, elsewhere, forgotten)] == [False, True, True, False]


def test_the_file_describes_its_columns(tmp_path):
    write_table(tmp_path / "frames.parquet", table(record()), schema=FRAMES_SCHEMA)
    schema = pq.read_schema(tmp_path / "frames.parquet")
    assert schema.names == FRAMES_SCHEMA.names
    assert all(field.metadata[b"description"] for field in schema)


def test_rejected_items_are_read_back(tmp_path):
    rows = [("list/train.txt", 3, "is bad; correct it"), ("a.jpg", None, "is gone; restore it")]
    write_table(tmp_path / "aside.parquet", rejected_table(rows), schema=REJECTED_SCHEMA)
    back = pd.read_parquet(tmp_path / "aside.parquet")
    assert back["file"].tolist() == ["list/train.txt", "a.jpg"]
    assert back["line"][0] == 3 and pd.isna(back["line"][1])
    assert rejected_table([]).columns.tolist() == REJECTED_SCHEMA.names


@pytest.mark.parametrize(
    "changed",
    [
        record(frame="z.jpg"),
        record(split="val"),
        record(scenario="night"),
        record(existence=(True, True, True, True)),
        record(fingerprint="g"),
        record(lanes=[LANE + 1]),  # The same bytes of the annotation, read by other code.
        record(lanes=[LANE, LANE]),
        record(lanes=[LANE[:1], LANE[1:]]),
        record(lanes=[]),
    ],
)
def test_the_fingerprint_sees_every_change(changed):
    assert dataset_fingerprint(table(changed)) != dataset_fingerprint(table(record()))
    assert dataset_fingerprint(table(record(), changed)) != dataset_fingerprint(table(changed, record()))


def test_leakage_is_found_by_path_and_by_bytes():
    frames = table(
        record("a.jpg", "train", "1"),
        record("b.jpg", "train", "2"),
        record("c.jpg", "val", "3"),
        record("a.jpg", "test", "1"),
        record("copy-of-c.jpg", "test", "3"),
        record("d.jpg", "test", "4"),
        record("c.jpg", "train", "3"),
        record("another-copy-of-c.jpg", "val", "3"),
    )
    assert split_leakage(frames).values.tolist() == [
        ["a.jpg", "a.jpg", "train", "path"],
        ["copy-of-c.jpg", "c.jpg", "val", "bytes"],
    ]
    assert split_leakage(frames[frames["split"] != "test"]).empty


def test_a_missing_or_damaged_table_is_one_clear_sentence(tmp_path):
    with pytest.raises(LgadError, match=r"none\.parquet is missing"):
        read_table(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 not really PAR1")
    with pytest.raises(LgadError, match=r"bad\.parquet is damaged"):
        read_table(tmp_path / "bad.parquet")


def test_a_table_of_another_shape_is_not_written(tmp_path):
    with pytest.raises(LgadError, match="does not follow its schema"):
        write_table(tmp_path / "frames.parquet", pd.DataFrame({"frame": ["a"]}), schema=FRAMES_SCHEMA)
    assert list(tmp_path.iterdir()) == []
