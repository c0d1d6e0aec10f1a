"""Shards in a store: a real server that speaks S3, on localhost, and plain folders."""

import json
from pathlib import Path

import numpy as np
import pytest
from pyarrow import fs

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.remote_shards import fetch, upload
from lgad_pipeline.data.shard_index import Origin
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View
from tests.support.s3 import s3_variables

SIZE = (118, 328)
MINE = Origin("night-team", "drives")
URI = "s3://drives/culane/small"


def use(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    for name, value in s3_variables(address).items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def root(write_tree) -> Path:
    return write_tree(train=7)


def packed(root: Path, folder: Path, lane_width: int = 6, origin: Origin = MINE) -> Path:
    frames = ingest(root, SIZE).frames
    view, labels = View(SIZE, (40, 128), 40), assign_lane_slots(frames)
    pack_shards(
        frames,
        labels,
        root=root,
        output=folder,
        view=view,
        lane_width=lane_width,
        rows_per_shard=3,
        origin=origin,
    )
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def test_shards_come_back_from_s3_as_they_went(root, tmp_path, s3):
    here = packed(root, tmp_path / "here")
    upload(here, URI)
    there = fetch(URI, tmp_path / "there", origin=MINE)
    assert contents(there) == contents(here)
    first, second = (ShardSet.open(folder)["train"][6] for folder in (here, there))
    np.testing.assert_array_equal(first.image, second.image)
    stamps = {path.name: path.stat().st_mtime_ns for path in there.glob("*.arrow")}
    fetch(URI, there, origin=MINE)
    assert stamps == {path.name: path.stat().st_mtime_ns for path in there.glob("*.arrow")}


def test_a_changed_data_set_replaces_the_old_one_on_both_sides(root, tmp_path, s3):
    here = packed(root, tmp_path / "here")
    upload(here, URI)
    there = fetch(URI, tmp_path / "there", origin=MINE)
    kept = max(there.glob("train-*"))  # the last part, of frame 7 alone
    stamp = kept.stat().st_mtime_ns
    first_frame = root / "drive/train.MP4/00000.lines.txt"
    first_frame.write_text(first_frame.read_text().splitlines()[0] + "\n")
    with s3.open_output_stream("drives/culane/small/notes.txt") as stream:
        stream.write(b"of somebody else")
    upload(packed(root, here), URI)
    assert contents(fetch(URI, there, origin=MINE)) == contents(here)
    assert kept.stat().st_mtime_ns == stamp
    names = {info.base_name for info in s3.get_file_info(fs.FileSelector("drives/culane/small"))}
    assert names == {*contents(here), "notes.txt"}


def test_a_damaged_object_is_named_and_only_it_is_fetched_again(root, tmp_path, s3):
    here = packed(root, tmp_path / "here")
    upload(here, URI)
    name = min(path.name for path in here.glob("train-*"))
    content = bytearray((here / name).read_bytes())
    content[len(content) // 2] ^= 1
    with s3.open_output_stream(f"drives/culane/small/{name}") as stream:
        stream.write(bytes(content))
    with pytest.raises(LgadError, match=f"^{URI}/{name} is damaged; delete it") as raised:
        fetch(URI, tmp_path / "there", origin=MINE)
    assert "\n" not in str(raised.value)
    assert not list((tmp_path / "there").glob(f"*{name}*"))
    s3.delete_file(f"drives/culane/small/{name}")
    with pytest.raises(LgadError, match=f"^{URI}/{name} is missing; pack the shards"):
        fetch(URI, tmp_path / "there", origin=MINE)
    upload(here, URI)
    assert contents(fetch(URI, tmp_path / "there", origin=MINE)) == contents(here)


def test_an_empty_store_and_one_that_is_away_are_one_sentence_each(root, tmp_path, s3, monkeypatch):
    with pytest.raises(LgadError, match=f"^{URI}/index.json is missing; pack"):
        fetch(URI, tmp_path / "there", origin=MINE)
    here = packed(root, tmp_path / "here")
    use(monkeypatch, "http://127.0.0.1:9")  # nobody listens on the discard port
    for reach in (lambda: fetch(URI, tmp_path / "there", origin=MINE), lambda: upload(here, URI)):
        with pytest.raises(LgadError, match=rf"^{URI}.* cannot be reached \(.*\); check") as raised:
            reach()
        assert "\n" not in str(raised.value)


def test_a_folder_is_a_store_too(root, tmp_path):
    here, uri = packed(root, tmp_path / "here"), (tmp_path / "nas").as_uri()
    upload(here, uri)
    assert contents(tmp_path / "nas") == contents(here)
    assert contents(fetch(uri, tmp_path / "there", origin=MINE)) == contents(here)


@pytest.mark.parametrize(
    "name", ["../stolen.arrow", "/etc/passwd", "train-00000-0123456789abcdef.arrow/../x", 3]
)
def test_an_index_that_names_other_files_is_refused(root, tmp_path, name):
    uri = (tmp_path / "nas").as_uri()
    upload(packed(root, tmp_path / "here"), uri)
    index = json.loads((tmp_path / "nas" / "index.json").read_text())
    index["splits"]["train"][1]["file"] = name
    (tmp_path / "nas" / "index.json").write_text(json.dumps(index))
    with pytest.raises(LgadError, match=r"is not an index of shards.*see splits\.train\.1\.file"):
        fetch(uri, tmp_path / "there", origin=MINE)
    assert [path.name for path in (tmp_path / "there").iterdir()] == [".lock"]


def test_an_address_of_no_store_is_one_sentence(tmp_path):
    with pytest.raises(LgadError, match=r"^gopher://drives is not an address of a store"):
        fetch("gopher://drives", tmp_path / "there", origin=MINE)


def test_a_store_keeps_the_shards_of_another_data_set_and_of_another_project(root, tmp_path, s3):
    upload(packed(root, tmp_path / "here"), URI)
    before = {info.path: info.mtime_ns for info in s3.get_file_info(fs.FileSelector("drives/culane/small"))}
    others = {
        Origin("night-team", "nights"): rf"^{URI} holds the shards of the data set 'drives', not of 'nights'",
        Origin("day-team", "drives"): rf"^{URI} holds shards of another project \(owner night-team, this one",
    }
    for number, (origin, message) in enumerate(others.items()):
        folder = packed(root, tmp_path / f"other{number}", lane_width=7, origin=origin)
        with pytest.raises(LgadError, match=message):
            upload(folder, URI)
        with pytest.raises(LgadError, match=message):
            fetch(URI, tmp_path / "there", origin=origin)
    after = {info.path: info.mtime_ns for info in s3.get_file_info(fs.FileSelector("drives/culane/small"))}
    assert after == before
    assert not list(tmp_path.glob("there/*.arrow"))


def test_cached_parts_with_other_bytes_are_fetched_again(root, tmp_path, s3):
    here = packed(root, tmp_path / "here")
    upload(here, URI)
    there = fetch(URI, tmp_path / "there", origin=MINE)
    part = min(there.glob("train-*"))
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    assert contents(fetch(URI, there, origin=MINE)) == contents(here)


def test_a_damaged_part_is_not_uploaded(root, tmp_path, s3):
    here = packed(root, tmp_path / "here")
    part = min(here.glob("train-*"))
    part.write_bytes(bytes(len(part.read_bytes())))
    with pytest.raises(LgadError, match=rf"{part.name} is missing or damaged; pack the shards again"):
        upload(here, URI)


def test_a_changed_index_is_refused(root, tmp_path, s3):
    upload(packed(root, tmp_path / "here"), URI)
    for change in (
        {"view": {"frame_size": [118, 328], "image_size": [40, 128], "crop_top": 41}},
        {"rows": 1},
    ):
        with s3.open_input_stream("drives/culane/small/index.json") as stream:
            index = json.loads(stream.read())
        with s3.open_output_stream("drives/culane/small/index.json") as stream:
            stream.write(json.dumps(index | change).encode())
        with pytest.raises(LgadError, match=rf"^{URI}/index.json is (damaged: its checksum|not an index)"):
            fetch(URI, tmp_path / "there", origin=MINE)
