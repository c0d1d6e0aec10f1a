import os
import re
import tracemalloc
from unicodedata import normalize

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes import text_lines
from tests.datasets.culane_files import FIRST, SIZE, rejected


def test_files_named_in_another_unicode_form_are_read_and_those_of_other_case_are_named(write_tree):
    root = write_tree()
    for name in ("list/train_gt.txt", "list/val_gt.txt"):
        text = (
            (root / name)
            .read_text()
            .replace("drive/", "Zürich é/")
            .replace("train.MP4/00003", "Train.mp4/00003")
        )
        (root / name).write_text(normalize("NFC", text))
    (root / normalize("NFD", "Zürich é")).mkdir()
    for name in ("train.MP4", "val.MP4"):
        (root / "drive" / name).rename(root / normalize("NFD", "Zürich é") / name)
    found = ingest(root, SIZE)
    folder = normalize("NFD", "Zürich é")
    assert found.frames["frame"][0] == f"{folder}/train.MP4/00000.jpg" and len(found.frames) == 9
    where = normalize("NFC", "Zürich é")
    assert rejected(found) == [
        (
            "list/train_gt.txt",
            4,
            f"names {where}/Train.mp4/00003.jpg, which is {folder}/train.MP4/00003.jpg in other case; "
            "rename the file or correct the entry",
        )
    ]


def test_a_lane_file_of_other_case_is_named(write_tree):
    root = write_tree()
    (root / "drive/train.MP4/00003.lines.txt").rename(root / "drive/train.MP4/00003.Lines.TXT")
    (root / "drive/train.MP4/00004.lines.txt").unlink()
    assert rejected(ingest(root, SIZE)) == [
        (
            "drive/train.MP4/00003.lines.txt",
            None,
            "is missing, but drive/train.MP4/00003.Lines.TXT is there in other case; rename that file",
        ),
        (
            "drive/train.MP4/00004.lines.txt",
            None,
            "is missing; restore it, or write an empty one where the frame shows no lanes",
        ),
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"/../outside.jpg",
        b"drive/../../outside.jpg",
        b"link.jpg",
        b"linked/outside.jpg",
        b"drive/train.MP4/loop.jpg",
        b"drive/train.MP4/pipe.jpg",
        b"drive/train.MP4",
        b"drive/folder.jpg",
        b"/etc/passwd",
        b"drive/\x00.jpg",
        b"drive/\xff\xfe.jpg",
        b"/" + b"a" * 5000 + b".jpg",
        b"/" + b"a" * 300 + b".jpg",
        b"/",
        b"\x1b[31m.jpg",
    ],
)
def test_a_hostile_entry_is_rejected_and_nothing_outside_is_read(write_tree, line):
    root = write_tree()
    outside = root.parent / "outside.jpg"
    outside.write_bytes((root / FIRST).read_bytes())
    outside.with_suffix(".lines.txt").write_text("1 2 3 4\n")
    (root / "link.jpg").symlink_to(outside)
    (root / "linked").symlink_to(root.parent)
    (root / "drive/train.MP4/loop.jpg").symlink_to("loop.jpg")
    os.mkfifo(root / "drive/train.MP4/pipe.jpg")
    (root / "drive/folder.jpg").mkdir()
    (root / "list/train_gt.txt").unlink()
    (root / "list/train.txt").write_bytes(line + b"\n" + FIRST.encode())
    found = ingest(root, SIZE)
    assert found.frames.loc[found.frames["split"] == "train", "frame"].tolist() == [FIRST]
    assert len(found.rejected) == 1


def test_an_entry_that_leads_out_is_reported_by_its_line(write_tree):
    root = write_tree()
    with (root / "list/val_gt.txt").open("a") as stream:
        stream.write("/drive/../../outside.jpg /label.png 1 1 1 1\n")
    file, line, reason = rejected(ingest(root, SIZE))[0]
    assert (file, line) == ("list/val_gt.txt", 3) and "leads out of the data root" in reason


def test_an_image_with_an_end_but_no_body_is_rejected(write_tree):
    root = write_tree()
    start = b"\xff\xd8\xff\xc0\x00\x11\x08" + SIZE[0].to_bytes(2) + SIZE[1].to_bytes(2)
    (root / FIRST).write_bytes(start + bytes(10) + b"\xff\xda\xff\xd9")
    found = ingest(root, SIZE)
    assert len(found.frames) == 9
    assert rejected(found) == [
        (FIRST, None, "cannot be decoded; restore the frame or take it out of the lists")
    ]


def test_links_that_stay_below_the_root_are_followed(write_tree):
    root = write_tree()
    (root / "again").symlink_to("drive")
    (root / "list/train_gt.txt").unlink()
    (root / "list/train.txt").write_text("again/train.MP4/00000.jpg")
    assert ingest(root, SIZE).frames["frame"][0] == "again/train.MP4/00000.jpg"


def test_vast_files_are_refused_before_they_are_read(write_tree):
    root = write_tree()
    for name in ("00000.jpg", "00001.lines.txt"):
        os.truncate(root / "drive/train.MP4" / name, 1 << 40)  # sparse: needs no disk space
    assert [reason.split(",")[0] for _, _, reason in rejected(ingest(root, SIZE))] == [
        f"has {1 << 40} bytes",
        f"has {1 << 40} bytes",
    ]


def test_a_line_of_a_gigabyte_is_one_line_and_needs_no_memory(write_tree):
    root = write_tree()
    path = root / "list/train_gt.txt"
    last = path.read_bytes()
    path.write_bytes(b"a")
    os.truncate(path, 1 << 30)  # sparse: needs no disk space
    with path.open("ab") as stream:
        stream.write(b"\n" + last)
    tracemalloc.start()
    found = ingest(root, SIZE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.frames) == 10 and peak < 50 << 20
    ((file, line, reason),) = rejected(found)
    assert (file, line) == ("list/train_gt.txt", 1) and "longer than 4096 bytes" in reason


@pytest.mark.parametrize("name", ["list/train_gt.txt", "list/test_split/test0_normal.txt"])
def test_a_list_that_leads_out_by_a_link_is_refused(write_tree, name):
    root = write_tree()
    (root.parent / "outside.txt").write_text("secret.jpg")
    (root / name).unlink()
    (root / name).symlink_to(root.parent / "outside.txt")
    with pytest.raises(LgadError, match=rf"{name} leads out of the data root by a link"):
        ingest(root, SIZE)


def test_an_empty_list_that_hides_another_one_is_noted(write_tree):
    root = write_tree()
    (root / "list/train.txt").write_text((root / "list/train_gt.txt").read_text())
    assert not ingest(root, SIZE).notes
    (root / "list/train_gt.txt").write_text("")
    found = ingest(root, SIZE)
    assert found.frames["split"].tolist() == ["val"] * 2 + ["test"] * 3
    [note] = found.notes
    assert note.file == "list/train_gt.txt" and "is read instead of list/train.txt; remove it" in note.text


def test_a_list_without_end_is_refused(write_tree, monkeypatch):
    root = write_tree(train=5)
    monkeypatch.setattr(text_lines, "_MAX_LINES", 5)
    assert len(ingest(root, SIZE).frames) == 10
    monkeypatch.setattr(text_lines, "_MAX_LINES", 4)
    with pytest.raises(LgadError, match=r"list/train_gt\.txt has more than 4 entries; divide"):
        ingest(root, SIZE)


def test_lists_whose_names_are_no_text_are_reported(write_tree):
    root = write_tree()
    name = b"test3_\xff.txt".decode(errors="surrogateescape")
    (root / "list/test_split" / name).write_text("gone.jpg")
    notes = ingest(root, SIZE).notes
    assert len(notes) == 2 and {note.file for note in notes} == {"list/test_split/test3_\\udcff.txt"}
    assert notes[1].text.startswith("names 1 frame that the test list has not, the first gone.jpg in line 1")


def test_a_frame_that_claims_to_be_vast_is_rejected(write_tree):
    root = write_tree()
    png = cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
    (root / FIRST).write_bytes(png[:16] + (100_000).to_bytes(4) * 2 + png[24:])
    assert "claims to be 100000 x 100000 px" in rejected(ingest(root, SIZE))[0][2]


def test_links_to_another_disk_are_followed_on_request(write_tree):
    root = write_tree()
    (root / "drive").rename(root.parent / "disk")
    (root / "drive").symlink_to(root.parent / "disk")
    refused = ingest(root, SIZE)
    assert len(refused.frames) == 0 and len(refused.rejected) == 10
    assert "set `follow_links: true` of the data set" in refused.rejected["reason"][0]
    found = ingest(root, SIZE, follow_links=True)
    assert len(found.frames) == 10 and found.rejected.empty


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: root.rename(root.parent / "moved"), "is missing; mount its disk or correct `root`"),
        (lambda root: [root.rename(root.parent / "moved"), root.mkdir()], "is empty; put the data set"),
        (lambda root: (root / "list/val_gt.txt").unlink(), "neither list/val_gt.txt nor list/val.txt"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_one_clear_sentence(write_tree, damage, words):
    root = write_tree()
    damage(root)
    with pytest.raises(LgadError, match=words) as caught:
        ingest(root, SIZE)
    assert str(root) in str(caught.value) and "\n" not in str(caught.value)


@given(
    lines=st.lists(
        st.sampled_from([FIRST.encode(), b"/drive/test.MP4/00000.jpg", b""]) | st.binary(max_size=60)
    )
)
@example(lines=[b"\0"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_line_of_any_list_is_a_frame_or_rejected(write_tree, tmp_path, lines):
    root = tmp_path / "data"
    if not root.exists():
        write_tree()
        (root / "list/train_gt.txt").unlink()
    content = b"\n".join(lines)
    (root / "list/train.txt").write_bytes(content)
    try:
        found = ingest(root, SIZE, workers=1)
    except LgadError as error:  # it may look like UTF-16 and be none
        assert b"\0" in content and "train.txt is not a whole UTF-16 text" in str(error)
        return
    train = found.frames.loc[found.frames["split"] == "train", "frame"]
    assert set(train) <= {FIRST, "drive/test.MP4/00000.jpg"}
    if b"\0" not in content:  # else it may be UTF-16
        lines_of_all = re.split(rb"\r\n|\r|\n", content.removeprefix(b"\xef\xbb\xbf"))
        repeated = sum(int(note.text.split()[4]) for note in found.notes if "frames again in" in note.text)
        assert len(train) + len(found.rejected) + repeated == sum(bool(line.strip()) for line in lines_of_all)


def test_a_root_that_cannot_be_read_is_one_sentence(tmp_path):
    """A name that is too long replaces missing permissions and broken mounts, which do not stop root."""
    with pytest.raises(LgadError, match=r"cannot be read \(File name too long\); check its permissions"):
        ingest(tmp_path / ("n" * 300), SIZE)
