import os
import signal
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots, slot_lanes_of
from lgad_pipeline.data.shards import ShardSet, pack_shards
from lgad_pipeline.datasets.images import read_image
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.process_pool import on_cluster
from lgad_pipeline.view import View
from lgad_pipeline.visualization.dataset_sheet import first_frame

SIZE = (118, 328)
VIEW = View(SIZE, (40, 128), 40)


@pytest.fixture
def data(write_tree):
    root = write_tree(train=11)
    frames = ingest(root, SIZE).frames
    return frames, assign_lane_slots(frames), root


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != ".lock"}


def pack_small(data, output, **changes) -> ShardSet:
    frames, labels, root = data
    options = {"view": VIEW, "lane_width": 6, "rows_per_shard": 4, **changes}
    return pack_shards(frames, labels, root=root, output=output, **options)


def test_samples_are_the_frames_and_labels_at_training_size(data, tmp_path):
    frames, labels, root = data
    shards = pack_small(data, tmp_path / "shards")
    for split in ("train", "val", "test"):
        chosen = frames["split"] == split
        assert len(shards[split]) == chosen.sum()
        rows = zip(frames[chosen].itertuples(), labels[chosen].itertuples(), strict=True)
        for index, (row, label) in enumerate(rows):
            sample = shards[split][index]
            assert sample.frame == row.frame
            assert sample.scenario == (row.scenario if isinstance(row.scenario, str) else None)
            image = VIEW.image(read_image((root / row.frame).read_bytes()))
            assert sample.image.dtype == np.uint8
            assert np.abs(sample.image.astype(int) - image).mean() < 4  # JPEG at quality 95
            lanes = slot_lanes_of(label)
            expected = label_map(lanes, SIZE, lane_width=6)[40:]
            # Nearest, centre to centre: 78 rows to 40, 328 columns to 128.
            source_rows = np.floor((np.arange(40) + 0.5) * 78 / 40).astype(int)
            source_columns = np.floor((np.arange(128) + 0.5) * 328 / 128).astype(int)
            np.testing.assert_array_equal(sample.label, expected[source_rows][:, source_columns])
            assert set(np.unique(sample.label)) == {0, 2, 3}
            assert sample.existence.tolist() == [False, True, True, False]
    assert shards.view == VIEW and shards.rejected.empty
    assert shards["test"].table["scenario"].fillna("").tolist() == ["normal", "night", ""]


def test_the_bytes_do_not_depend_on_threads(data, tmp_path):
    pack_small(data, tmp_path / "one", workers=1)
    pack_small(data, tmp_path / "five", workers=5)
    assert contents(tmp_path / "one") == contents(tmp_path / "five")
    assert len(contents(tmp_path / "one")) == 3 + 1 + 1 + 1  # parts of train, val, test; index


def test_finished_parts_are_kept_and_only_a_damaged_one_is_packed_again(data, tmp_path):
    output = tmp_path / "shards"
    pack_small(data, output)
    before = contents(output)
    stamps = {path.name: path.stat().st_mtime_ns for path in output.glob("*.arrow")}
    damaged, gone = sorted(stamps)[1:3]
    content = bytearray(before[damaged])
    content[len(content) // 2] ^= 1
    (output / damaged).write_bytes(content)
    (output / gone).unlink()
    kept = {name: stamp for name, stamp in stamps.items() if name not in (damaged, gone)}
    pack_small(data, output)
    assert contents(output) == before
    assert kept == {name: (output / name).stat().st_mtime_ns for name in kept}


def test_other_settings_make_other_shards_and_leave_nothing_behind(data, tmp_path):
    output = tmp_path / "shards"
    first = pack_small(data, output)
    names = set(contents(output))
    (output / ".train-00000.arrow.123.part").write_bytes(b"left by a killed run")
    second = pack_small(data, output, lane_width=7)
    assert second.fingerprint != first.fingerprint
    assert set(contents(output)) & names == {"index.json"}
    assert len(contents(output)) == len(names)
    # A set that was opened before can still be read.
    assert first["train"][0].frame == second["train"][0].frame


def test_a_frame_that_fails_is_rejected_and_packed_after_it_is_restored(data, tmp_path):
    frames, _, root = data
    gone, changed = root / frames["frame"][0], root / frames["frame"][5]
    originals = gone.read_bytes(), changed.read_bytes()
    gone.unlink()
    changed.write_bytes(originals[0])
    shards = pack_small(data, tmp_path / "shards")
    assert len(shards["train"]) == 9
    assert shards["train"][0].frame == frames["frame"][1]
    assert shards.rejected["file"].tolist() == [frames["frame"][0], frames["frame"][5]]
    assert "has gone since" in shards.rejected["reason"][0]
    assert "has changed since" in shards.rejected["reason"][1]
    gone.write_bytes(originals[0])
    changed.write_bytes(originals[1])
    restored = pack_small(data, tmp_path / "shards")
    assert len(restored["train"]) == 11 and restored.rejected.empty
    assert restored.fingerprint != shards.fingerprint


def test_a_training_frame_whose_lanes_have_no_slot_is_rejected(write_tree, tmp_path):
    root = write_tree()
    for split in ("train", "test"):
        (root / f"drive/{split}.MP4/00000.lines.txt").write_text("100 117 100 115 \n")  # too short to label
    frames = ingest(root, SIZE).frames
    seen = []
    shards = pack_small(
        (frames, assign_lane_slots(frames), root),
        tmp_path / "shards",
        progress=lambda done, _: seen.append(done),
    )
    assert shards.rejected["file"].tolist() == ["drive/train.MP4/00000.jpg"]
    assert "none fits a slot" in shards.rejected["reason"][0]
    assert len(shards["train"]) == 4 and len(shards["test"]) == 3 and seen[-1] == 10


def test_progress_counts_every_frame_once(data, tmp_path):
    seen = []
    pack_small(data, tmp_path / "shards", progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1] == (16, 16)
    seen.clear()
    pack_small(data, tmp_path / "shards", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (16, 16)


KILLED = """
import os, signal, sys
from pathlib import Path
from lgad_pipeline.data.frame_table import read_table
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.view import View
folder, after = Path(sys.argv[1]), int(sys.argv[2])
def progress(done, total):
    if done == after:
        os.kill(os.getpid(), signal.SIGKILL)
pack_shards(read_table(folder / "frames.parquet"), read_table(folder / "labels.parquet"),
            root=folder / "data", output=folder / "shards", view=View((118, 328), (40, 128), 40),
            lane_width=6, rows_per_shard=4, progress=progress)
"""


def test_parts_that_other_processes_pack_have_the_same_bytes(data, tmp_path):
    pack_small(data, tmp_path / "here")
    here = contents(tmp_path / "here")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool, on_cluster(pool.map):
        pack_small(data, tmp_path / "there")
        assert contents(tmp_path / "there") == here
        first, second, *_ = sorted((tmp_path / "there").glob("*.arrow"))
        stamp = second.stat().st_mtime_ns
        first.unlink()
        pack_small(data, tmp_path / "there")
    assert contents(tmp_path / "there") == here and second.stat().st_mtime_ns == stamp


def test_a_killed_packing_resumes_and_writes_the_same_bytes(data, tmp_path):
    from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA
    from lgad_pipeline.data.frame_table import write_table
    from lgad_pipeline.data.lane_labels import LABELS_SCHEMA

    write_table(tmp_path / "frames.parquet", data[0], schema=FRAMES_SCHEMA)
    write_table(tmp_path / "labels.parquet", data[1], schema=LABELS_SCHEMA)
    for after in (3, 10):
        command = [sys.executable, "-c", KILLED, str(tmp_path), str(after)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        with pytest.raises(LgadError, match="pack the shards again"):
            ShardSet.open(tmp_path / "shards")
    finished = list((tmp_path / "shards").glob("train-0000[01]*.arrow"))
    stamps = [path.stat().st_mtime_ns for path in finished]
    assert len(finished) == 2
    pack_small(data, tmp_path / "shards")
    assert [path.stat().st_mtime_ns for path in finished] == stamps
    pack_small(data, tmp_path / "undisturbed")
    assert contents(tmp_path / "shards") == contents(tmp_path / "undisturbed")


def test_what_cannot_be_opened_is_one_clear_sentence(data, tmp_path):
    with pytest.raises(LgadError, match=r"index\.json is missing"):
        ShardSet.open(tmp_path)
    shards = pack_small(data, tmp_path / "shards")
    with pytest.raises(LgadError, match="no split 'night' but train, val, test"):
        shards["night"]
    with pytest.raises(IndexError):
        shards["val"][2]
    part = next((tmp_path / "shards").glob("val-*.arrow"))
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(LgadError, match=f"{part.name} is missing or damaged"):
        ShardSet.open(tmp_path / "shards")


def test_labels_of_other_frames_are_refused(data, tmp_path):
    frames, labels, root = data
    with pytest.raises(LgadError, match="do not belong"):
        pack_small((frames, labels[1:], root), tmp_path / "shards")


def test_a_data_set_without_a_single_frame_left_is_one_clear_sentence(data, tmp_path):
    frames, labels, root = data
    with pytest.raises(LgadError, match="Not one frame"):
        pack_small((frames, labels, root / "nowhere"), tmp_path / "shards")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_folder_that_cannot_be_written_to_is_one_clear_sentence(data, tmp_path):
    (tmp_path / "shards").mkdir(mode=0o500)
    with pytest.raises(LgadError, match="cannot be written"):
        pack_small(data, tmp_path / "shards")


def test_colour_survives(write_tree, tmp_path):
    root = write_tree()
    red = np.zeros((*SIZE, 3), np.uint8)
    red[..., 2] = 255
    cv2.imwrite(str(root / "drive/train.MP4/00000.jpg"), red)
    frames = ingest(root, SIZE).frames
    shards = pack_small((frames, assign_lane_slots(frames), root), tmp_path / "shards")
    assert (np.abs(shards["train"][0].image[20, 64].astype(int) - [255, 0, 0]) < 6).all()


def test_a_frame_stored_turned_is_packed_and_shown_as_it_is_displayed(write_tree, tmp_path):
    """The annotation tool showed it upright: its lanes must meet the same pixels."""
    root = write_tree()
    path = root / "drive/train.MP4/00000.jpg"
    jpeg = path.read_bytes()
    tiff = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x03" + bytes(6)
    segment = b"Exif\0\0" + tiff
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + jpeg[2:])
    displayed = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))
    assert np.array_equal(displayed, read_image(jpeg)[::-1, ::-1])
    found = ingest(root, SIZE)
    shards = pack_small((found.frames, assign_lane_slots(found.frames), root), tmp_path / "shards")
    sample = shards["train"][0]
    assert sample.frame == "drive/train.MP4/00000.jpg"
    assert np.abs(sample.image.astype(int) - VIEW.image(displayed)).mean() < 4
    shown, _ = first_frame(found, SIZE)
    assert np.array_equal(shown, displayed)


def test_frames_behind_links_to_another_disk_are_packed_on_request(write_tree, tmp_path):
    root = write_tree()
    (root / "drive").rename(tmp_path / "disk")
    (root / "drive").symlink_to(tmp_path / "disk")
    frames = ingest(root, SIZE, follow_links=True).frames
    data = (frames, assign_lane_slots(frames), root)
    with pytest.raises(LgadError, match="follow_links"):
        pack_small(data, tmp_path / "refused")
    assert len(pack_small(data, tmp_path / "shards", follow_links=True)["train"]) == 5
