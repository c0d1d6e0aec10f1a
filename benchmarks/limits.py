"""Sizes of the parts whose cost grows with the frames or the partitions, measured on made-up records.

    python benchmarks/limits.py

Prints bytes and seconds per frame of the tables and of the permutation, the objects of a store, and the time
of a staleness check per partition of Dagster's instance, for docs/scaling.md.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import numpy as np
import pandas as pd

from lgad_pipeline.data.batch_order import mixed_order
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.data.frame_table import read_table, write_table
from lgad_pipeline.data.lane_labels import LABELS_SCHEMA, assign_lane_slots

FRAMES = 10_000
COPIES = 10
"""Copies of the frames in the table whose memory is measured: one block of rows is then a small part."""
PARTITIONS = 50
ASSETS = 13


def timed(function: Callable[[], object]) -> float:
    """Return the processor seconds of a call, which a busy machine does not change much."""
    start = time.process_time()
    function()
    return time.process_time() - start


def made_up_frames(count: int) -> pd.DataFrame:
    """Return a frames table with four lanes of thirty points per frame, as in CULane."""
    generator = np.random.default_rng(0)
    y = np.arange(590, 290, -10, dtype=np.float32)
    shifts = generator.normal(0, 40, (count, 4, 1)).round(2) + generator.normal(0, 3, (count, 4, 30)).round(2)
    lanes = [
        [np.stack([400 + 260 * lane + 0.3 * (590 - y) + shift[lane], y], 1).tolist() for lane in range(4)]
        for shift in shifts
    ]
    return pd.DataFrame(
        {
            "frame": [
                f"driver_23_30frame/{i // 300:08d}_{i % 300:04d}.MP4/{i:05d}.jpg" for i in range(count)
            ],
            "split": "train",
            "scenario": None,
            "lanes": lanes,
            "lane_types": None,
            "existence": None,
            "width": 1640,
            "height": 590,
            **{
                name: [generator.bytes(16).hex() for _ in range(count)]
                for name in ("fingerprint", "lane_fingerprint")
            },
            "picture_hash": [generator.bytes(32).hex() for _ in range(count)],
            "stamp": [f"{250_000 + i} {1_700_000_000_000_000_000 + i} 900 {i}" for i in range(count)],
        }
    )


def memory(path: Path) -> tuple[int, int]:
    """Return the highest and the last number of bytes of Arrow while a process reads a table."""
    program = (
        "import sys; from pathlib import Path; import pyarrow as pa; "
        "from lgad_pipeline.data.frame_table import read_table; table = read_table(Path(sys.argv[1])); "
        "print(pa.default_memory_pool().max_memory(), pa.total_allocated_bytes())"
    )
    found = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    highest, last = map(int, found.stdout.split())
    return highest, last


def tables(folder: Path) -> None:
    """Print the size of the frames table and of the lane labels, and time and memory to read them."""
    frames = made_up_frames(FRAMES)
    labels = assign_lane_slots(frames)
    for name, table, schema in (("frames", frames, FRAMES_SCHEMA), ("labels", labels, LABELS_SCHEMA)):
        path, large = folder / f"{name}.parquet", folder / f"{name}-large.parquet"
        seconds = timed(lambda path=path, table=table, schema=schema: write_table(path, table, schema=schema))
        print(f"{path.name}: written in {1e6 * seconds / FRAMES:.0f} µs a frame")
        seconds = timed(lambda path=path: read_table(path))
        write_table(large, pd.concat([table] * COPIES), schema=schema)
        highest, last = memory(large)
        print(
            f"{path.name}: {path.stat().st_size / FRAMES:.0f} bytes a frame on disk, read in "
            f"{1e6 * seconds / FRAMES:.0f} µs a frame, memory {last / FRAMES / COPIES:.0f} bytes a frame, "
            f"{highest / FRAMES / COPIES:.0f} while it is read"
        )
    manifest = {str(frame): {"size": 1, "modified": 1, "digest": "0" * 32} for frame in frames["frame"]}
    print(f"manifest of lane files: {len(json.dumps(manifest)) / FRAMES:.0f} bytes a file")
    seconds = timed(lambda: np.random.default_rng([0, 0]).permutation(1_000_000))
    print(f"permutation: {1e9 * seconds / 1e6:.0f} ns and 8 bytes a frame")
    rows = np.full(2000, 500)
    seconds = timed(lambda: mixed_order(rows, 64, np.random.default_rng([0, 0])))
    print(f"order with a window of 64 shards: {1e9 * seconds / 1e6:.0f} ns and 8 bytes a frame")


def partitions(folder: Path) -> None:
    """Print the time of reading the latest materialization of each asset, per partition."""
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.local_temp(str(folder)) as instance:
        keys = [dg.AssetKey(f"asset_{number}") for number in range(ASSETS)]
        for key in keys:
            for number in range(PARTITIONS):
                instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=f"p{number}"))

        def check() -> None:
            for key in keys:
                for number in range(PARTITIONS):
                    records = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[f"p{number}"])
                    instance.fetch_materializations(records, limit=1)

        print(
            f"staleness: {1000 * timed(check) / PARTITIONS:.1f} ms per partition of {ASSETS} assets, with "
            f"{PARTITIONS} partitions in sqlite"
        )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        tables(Path(temporary))
        partitions(Path(temporary))
