import io
import resource
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
import pytest

from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.data.frame_table import read_table, write_table
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.remote_shards import fetch, upload
from lgad_pipeline.data.shard_index import Origin
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.datasets.archive import unpack
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View

SIZE = (118, 328)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let the kernel refuse to write files beyond `size` bytes, as a full disk refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_on_a_full_disk_the_old_table_stays(write_tree, tmp_path):
    frames = ingest(write_tree(), SIZE).frames
    path = tmp_path / "out" / "frames.parquet"
    write_table(path, frames, schema=FRAMES_SCHEMA)
    with (
        largest_file(1000),
        pytest.raises(LgadError, match=r"frames\.parquet cannot be written .*free space"),
    ):
        write_table(path, pd.concat([frames] * 20), schema=FRAMES_SCHEMA)
    assert len(read_table(path)) == len(frames)
    assert [file.name for file in path.parent.iterdir()] == ["frames.parquet"]


def test_on_a_full_disk_no_partial_shard_is_fetched(write_tree, tmp_path):
    root, there = write_tree(), tmp_path / "there"
    frames = ingest(root, SIZE).frames
    here, view, mine = tmp_path / "here", View(SIZE, (40, 128), 40), Origin("team", "drives")
    pack_shards(
        frames, assign_lane_slots(frames), root=root, output=here, view=view, lane_width=6, origin=mine
    )
    upload(here, (tmp_path / "nas").as_uri())
    with (
        largest_file(1000),
        pytest.raises(LgadError, match=r"there/.*\.arrow cannot be written .*free space"),
    ):
        fetch((tmp_path / "nas").as_uri(), there, origin=mine)
    assert [path.name for path in there.iterdir()] == [".lock"]


def test_on_a_full_disk_the_old_shards_stay(write_tree, tmp_path):
    root, output = write_tree(), tmp_path / "shards"
    frames = ingest(root, SIZE).frames
    labels, view = assign_lane_slots(frames), View(SIZE, (40, 128), 40)
    before = pack_shards(frames, labels, root=root, output=output, view=view, lane_width=6)
    names = {path.name for path in output.iterdir()}
    with largest_file(1000), pytest.raises(LgadError, match=r"\.arrow cannot be written .*free space"):
        pack_shards(frames, labels, root=root, output=output, view=view, lane_width=7)
    assert {path.name for path in output.iterdir()} == names
    assert ShardSet.open(output).fingerprint == before.fingerprint


def test_unpacking_stopped_by_a_full_disk_resumes(tmp_path):
    archive, output = tmp_path / "source/x.tar.gz", tmp_path / "out"
    archive.parent.mkdir()
    with tarfile.open(archive, "w:gz") as tar:
        for name, size in (("first.txt", 500), ("second.txt", 2000)):
            info = tarfile.TarInfo(name)
            info.size = size
            tar.addfile(info, io.BytesIO(bytes(size)))
    with largest_file(1000), pytest.raises(LgadError, match=r"second\.txt cannot be written .*free space"):
        unpack(archive.parent, output)
    assert [path.name for path in output.iterdir()] == ["first.txt"]
    assert unpack(archive.parent, output).whole and (output / "second.txt").stat().st_size == 2000
