import os
import sys
import threading
import time
from collections.abc import Callable

import pytest

from lgad_pipeline.data.file_stamp import Stamps
from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
from lgad_pipeline.data.frame_table import dataset_fingerprint, lanes_of, read_table, write_table
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.registry import dataset_reader

SIZE = (118, 328)
TRAIN = "drive/train.MP4"

auditing: list[Callable[[str], None]] = []
"""Functions that get the path of each file that the process opens; audit hooks cannot be removed."""


def _audit(event: str, arguments: tuple) -> None:
    if event == "open" and auditing:
        auditing[0](str(arguments[0]))


sys.addaudithook(_audit)


@pytest.fixture
def before(write_tree, tmp_path):
    root = write_tree()
    write_table(tmp_path / "frames.parquet", ingest(root, SIZE).frames, schema=FRAMES_SCHEMA)
    return root, read_table(tmp_path / "frames.parquet")


def test_the_first_ingestion_adds_every_frame(write_tree):
    assert ingest(write_tree(), SIZE).changes == (0, 10, 0, 0)


def test_unchanged_frames_are_not_read(before):
    root, frames = before
    opened = []
    auditing.append(opened.append)
    again = ingest(root, SIZE, previous=frames)
    auditing.clear()
    assert again.changes == (10, 0, 0, 0) and again.rejected.empty
    assert again.frames.astype(str).equals(frames.astype(str))
    assert any(path.endswith("train_gt.txt") for path in opened)
    assert not any(path.endswith((".jpg", ".lines.txt")) for path in opened)


def test_other_bytes_of_the_same_size_and_time_of_modification_are_noticed(before):
    root, frames = before
    path = root / TRAIN / "00000.lines.txt"
    status = path.stat()
    path.write_text(path.read_text().replace("100 117", "101 117"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    again = ingest(root, SIZE, previous=frames)
    assert again.changes == (9, 0, 1, 0)
    assert again.frames.astype(str).equals(ingest(root, SIZE).frames.astype(str))


def test_a_frame_written_in_the_future_is_read_every_time(before):
    """The clock was set back: a later write could get the same time again."""
    root, frames = before
    path = root / TRAIN / "00000.lines.txt"
    future = time.time_ns() + 3600 * 10**9
    path.write_text(path.read_text().replace("100 117", "101 117"))
    os.utime(path, ns=(future, future))
    once = ingest(root, SIZE, previous=frames)
    assert once.frames["stamp"][0] == "" and lanes_of(once.frames["lanes"][0])[0][0, 0] == 101
    path.write_text(path.read_text().replace("101 117", "102 117"))
    os.utime(path, ns=(future, future))
    again = ingest(root, SIZE, previous=once.frames)
    assert lanes_of(again.frames["lanes"][0])[0][0, 0] == 102
    assert again.changes == (9, 0, 1, 0)


def test_added_changed_and_removed_frames_are_found(before):
    root, frames = before
    (root / TRAIN / "00000.lines.txt").write_text("100 117 110 107 120 97 \n")
    (root / TRAIN / "00001.jpg").unlink()
    (root / TRAIN / "00005.jpg").write_bytes((root / TRAIN / "00002.jpg").read_bytes() + b"\0")
    (root / TRAIN / "00005.lines.txt").write_text("")
    with (root / "list/train_gt.txt").open("a") as stream:
        stream.write(f"{TRAIN}/00005.jpg l.png 0 0 0 0\n")
    again = ingest(root, SIZE, previous=frames)
    assert again.changes == (8, 1, 1, 1)
    fresh = ingest(root, SIZE)
    assert again.frames.astype(str).equals(fresh.frames.astype(str))
    assert again.rejected.equals(fresh.rejected)


def test_lists_that_change_without_their_frames_are_followed(before):
    root, frames = before
    lines = (root / "list/train_gt.txt").read_text().splitlines()
    lines[0] = lines[0].replace("0 1 1 0", "1 1 1 1")
    (root / "list/train_gt.txt").write_text("\n".join(reversed(lines)))
    (root / "list/test_split/test0_normal.txt").unlink()
    again = ingest(root, SIZE, previous=frames)
    assert again.changes.unchanged == 10
    assert again.frames.astype(str).equals(ingest(root, SIZE).frames.astype(str))
    assert dataset_fingerprint(again.frames) != dataset_fingerprint(frames)
    assert list(again.frames["existence"][4]) == [True] * 4


def test_another_frame_size_and_a_table_of_older_columns_are_ingested_again(before):
    root, frames = before
    assert ingest(root, (100, 200), previous=frames).frames.empty
    assert ingest(root, SIZE, previous=frames.drop(columns="stamp")).changes == (0, 10, 0, 0)


def test_several_processes_give_the_table_of_one(write_tree, monkeypatch):
    root = write_tree()
    (root / TRAIN / "00001.jpg").unlink()
    one = ingest(root, SIZE, workers=1)
    monkeypatch.setattr("lgad_pipeline.process_pool._ALONE", 0)
    monkeypatch.setattr("lgad_pipeline.process_pool.CHUNK", 3)
    (root / TRAIN / "00002.lines.txt").write_text("100 117 100 100 \n")
    two = ingest(root, SIZE, workers=2, previous=one.frames)
    assert two.changes == (8, 0, 1, 0)
    assert two.frames.astype(str).equals(ingest(root, SIZE, workers=1).frames.astype(str))
    assert two.rejected.equals(one.rejected) and len(two.rejected) == 1


def test_several_threads_ask_a_slow_disk_and_get_the_same_stamps(before, monkeypatch):
    root, _ = before
    stamps = Stamps(root, time.time_ns(), "code")
    entries = dataset_reader("culane").list_frames(root, []) * 100
    assert all(stamps(entry) for entry in entries[:10])
    alone = list(stamps.of_all(entries))
    threads = set()
    stat = os.stat

    def slow(path, **options):
        threads.add(threading.get_ident())
        time.sleep(2e-4)
        return stat(path, **options)

    monkeypatch.setattr("os.stat", slow)
    assert list(stamps.of_all(entries)) == alone == [stamps(entry) for entry in entries]
    assert len(threads) > 1


def test_links_are_checked_again_after_follow_links_was_turned_off(write_tree, tmp_path):
    root = write_tree()
    (root / TRAIN / "00000.jpg").rename(tmp_path / "elsewhere.jpg")
    (root / TRAIN / "00000.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    followed = ingest(root, SIZE, follow_links=True)
    assert len(followed.frames) == 10
    again = ingest(root, SIZE, previous=followed.frames)
    assert len(again.frames) == 9 and "leads out of the data root" in again.rejected["reason"][0]


def test_rows_of_another_reader_of_the_same_class_are_not_used(write_tree, tmp_path, monkeypatch):
    (tmp_path / "scaled_readers.py").write_text(
        "from lgad_pipeline.datasets import culane\n\n"
        "class Scaled:\n"
        "    def __init__(self, scale):\n"
        "        self.scale = scale\n\n"
        "    def list_frames(self, root, rejected):\n"
        "        return culane.list_frames(root, rejected)\n\n"
        "    def parse_annotation(self, annotation):\n"
        "        return [lane * self.scale for lane in culane.parse_annotation(annotation)]\n\n"
        "WHOLE = Scaled(1.0)\n"
        "HALF = Scaled(0.5)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    root = write_tree()
    whole = ingest(root, SIZE, kind="scaled_readers:WHOLE").frames
    assert ingest(root, SIZE, kind="scaled_readers:WHOLE", previous=whole).changes == (10, 0, 0, 0)
    half = ingest(root, SIZE, kind="scaled_readers:HALF", previous=whole)
    assert half.changes == (0, 0, 10, 0)
    assert (lanes_of(half.frames["lanes"][0])[0] * 2 == lanes_of(whole["lanes"][0])[0]).all()
