"""Two processes that work on one folder of shards at the same time, with a server that speaks S3."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from pyarrow import fs

from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.data.frame_table import write_table
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import LABELS_SCHEMA, assign_lane_slots
from lgad_pipeline.data.shard_index import INDEX, read_index
from lgad_pipeline.data.shards import ShardSet

SIZE = (118, 328)
URI = "s3://drives/small"
PROGRAM = """
import sys, time
from pathlib import Path
from lgad_pipeline.data.frame_table import read_table
from lgad_pipeline.data.shard_index import Origin
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.data.remote_shards import fetch, upload
from lgad_pipeline.view import View

base, uri, mine = Path(sys.argv[1]), "s3://drives/small", Origin("team", "drives")

def packing(folder, lane_width, stop_at=-1):
    def progress(done, total):
        if done >= stop_at >= 0:
            (base / "stopped").touch()
            while not (base / "continue").exists():
                time.sleep(0.05)
    pack_shards(read_table(base / "frames.parquet"), read_table(base / "labels.parquet"), root=base / "data",
                output=base / folder, view=View((118, 328), (40, 128), 40), lane_width=int(lane_width),
                rows_per_shard=1, workers=1, progress=progress, origin=mine)

do = sys.argv[2]
if do == "pack":
    packing(sys.argv[3], sys.argv[4], int(sys.argv[5]))
elif do == "pack-upload":
    packing(sys.argv[3], sys.argv[4])
    upload(base / sys.argv[3], uri)
elif do == "upload":
    upload(base / sys.argv[3], uri)
else:
    (base / "fetching").touch()
    fetch(uri, base / sys.argv[3], origin=mine)
print("done")
"""


@pytest.fixture
def base(write_tree, tmp_path: Path) -> Path:
    """Twenty frames with their tables; a part holds one frame."""
    frames = ingest(write_tree(train=15), SIZE).frames
    write_table(tmp_path / "frames.parquet", frames, schema=FRAMES_SCHEMA)
    write_table(tmp_path / "labels.parquet", assign_lane_slots(frames), schema=LABELS_SCHEMA)
    return tmp_path


def start(base: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM, str(base), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> None:
    said = process.communicate(timeout=120)[0]
    assert (process.returncode, said) == (0, "done\n")


def run(base: Path, *arguments: str) -> None:
    finish(start(base, *arguments))


def wait_until(condition: Callable[[], object]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError("this did not happen within a minute")


def let_fetch_begin(base: Path, fetching: subprocess.Popen) -> None:
    """Give a fetch the time in which it would do harm if it did not wait for the lock."""
    wait_until(lambda: (base / "fetching").exists() or fetching.poll() is not None)
    with suppress(subprocess.TimeoutExpired):
        fetching.wait(1)


def stored(s3: fs.FileSystem) -> dict[str, int]:
    found = s3.get_file_info(fs.FileSelector("drives/small", allow_not_found=True))
    return {info.base_name: info.size for info in found}


def assert_whole(base: Path, folder: str, s3: fs.FileSystem) -> None:
    """The folder's shards are complete, and the store's are the same."""
    index = read_index(base / folder)
    assert len(ShardSet.open(base / folder)["train"]) == 15
    assert set(stored(s3)) == {INDEX, *(part.file for part in index.parts)}
    with s3.open_input_stream("drives/small/index.json") as stream:
        assert stream.read() == (base / folder / INDEX).read_bytes()


def test_fetch_waits_for_a_packing_and_deletes_none_of_its_parts(base, s3):
    run(base, "pack-upload", "shards", "6")
    packing = start(base, "pack", "shards", "7", "10")
    wait_until((base / "stopped").exists)
    fresh = {path.name for path in (base / "shards").glob("*.arrow")}
    fetching = start(base, "fetch", "shards")
    let_fetch_begin(base, fetching)
    assert fetching.poll() is None
    assert fresh <= {path.name for path in (base / "shards").glob("*.arrow")}
    (base / "continue").touch()
    finish(packing)
    finish(fetching)
    # The store still held the old shards, and the fetch came last: they are complete here, too.
    assert_whole(base, "shards", s3)


def test_fetch_waits_for_an_upload_which_brings_the_new_shards(base, s3):
    run(base, "pack-upload", "shards", "6")
    old = stored(s3)
    run(base, "pack", "shards", "7", "-1")
    uploading = start(base, "upload", "shards")
    wait_until(lambda: len(stored(s3)) > len(old) + 2 or uploading.poll() is not None)
    os.kill(uploading.pid, signal.SIGSTOP)
    fetching = start(base, "fetch", "shards")
    let_fetch_begin(base, fetching)
    os.kill(uploading.pid, signal.SIGCONT)
    finish(uploading)
    finish(fetching)
    assert_whole(base, "shards", s3)
    assert not {name for name in old if name != INDEX} & set(stored(s3))


def test_two_machines_that_upload_at_once_never_leave_a_store_with_missing_parts_unnoticed(base, s3):
    run(base, "pack-upload", "first", "6")
    run(base, "pack", "first", "7", "-1")
    run(base, "pack", "second", "8", "-1")
    processes = [start(base, "upload", folder) for folder in ("first", "second")]
    said = [process.communicate(timeout=120)[0] for process in processes]
    ended = [process.returncode for process in processes]
    assert 0 in ended, said
    for code, text in zip(ended, said, strict=True):
        assert code == 0 or "was changed by another machine at the same time" in text
    run(base, "fetch", "third")
    assert len(ShardSet.open(base / "third")["train"]) == 15
