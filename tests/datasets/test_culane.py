import cv2
import numpy as np
import pytest

from lgad_pipeline.data.frame_table import dataset_fingerprint, lanes_of, split_leakage
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.errors import LgadError
from tests.datasets.culane_files import FIRST, SIZE, rejected


def test_a_whole_data_set_becomes_a_table(write_tree):
    root = write_tree()
    found = ingest(root, SIZE)
    frames = found.frames
    assert found.rejected.empty
    assert frames["split"].tolist() == ["train"] * 5 + ["val"] * 2 + ["test"] * 3
    assert frames["frame"][0] == FIRST
    assert frames["scenario"].fillna("").tolist() == [""] * 7 + ["normal", "night", ""]
    assert list(frames["existence"][0]) == [False, True, True, False]
    assert frames["existence"].isna().tolist() == [False] * 7 + [True] * 3
    assert (frames["width"] == 328).all() and (frames["height"] == 118).all()
    lanes = lanes_of(frames["lanes"][0])
    assert [len(lane) for lane in lanes] == [6, 6]
    np.testing.assert_array_equal(lanes[1][:2], [[240, 117], [230, 107]])
    assert frames["fingerprint"].nunique() == 10 and frames["lane_fingerprint"].nunique() == 1


def test_frames_that_share_a_lane_file_are_rejected(write_tree):
    """One lane file cannot hold the lanes of two frames; the predictions would also replace each other."""
    root = write_tree()
    name = "drive/train.MP4/00000.png"
    assert cv2.imwrite(str(root / name), np.full((SIZE[0], SIZE[1], 3), 90, np.uint8))
    with (root / "list/train_gt.txt").open("a") as stream:
        stream.write(f"{name}\n")
    found = ingest(root, SIZE)
    assert len(found.frames) == 9
    reason = "of which only the ending differs from another frame, so that both have the lane file"
    assert [(row[:2], row[2].split(", ", 1)[1].startswith(reason)) for row in rejected(found)] == [
        (("list/train_gt.txt", 1), True),
        (("list/train_gt.txt", 6), True),
    ]


@pytest.mark.parametrize("mark", [-1, -2, -10])
def test_marks_of_absent_points_are_rejected(write_tree, mark: int):
    root = write_tree()
    (root / "drive/train.MP4/00000.lines.txt").write_text(
        f"100 117 110 107 \n{mark} 117 {mark} 107 120 97 \n"
    )
    (root / "drive/train.MP4/00001.lines.txt").write_text(
        f"{mark} 117 10 107 20 97 \n"  # one such point is a place
        "-0.5 117 -0.5 107 20 97 \n"  # points at the border, as an annotation tool keeps them
    )
    assert [row[::2] for row in rejected(ingest(root, SIZE))] == [
        (
            "drive/train.MP4/00000.lines.txt",
            f"has points at x = {mark} in lane 2, a mark of absent points; leave them out",
        )
    ]


def test_a_noisy_png_of_16_bits_is_read(write_tree):
    root = write_tree()
    noise = np.random.default_rng(0).integers(0, 1 << 16, (*SIZE, 3)).astype(np.uint16)
    assert cv2.imwrite(str(root / "drive/test.MP4/noise.png"), noise)
    (root / "drive/test.MP4/noise.lines.txt").touch()
    (root / "list/test.txt").write_text("drive/test.MP4/noise.png\n")
    found = ingest(root, SIZE)
    assert found.rejected.empty and len(found.frames) == 8


def test_the_result_does_not_depend_on_the_number_of_threads(write_tree):
    root = write_tree(train=150)
    one, many = ingest(root, SIZE, workers=1), ingest(root, SIZE, workers=7)
    assert one.frames.equals(many.frames)
    assert dataset_fingerprint(one.frames) == dataset_fingerprint(many.frames)


def test_uneven_lists_are_read_as_published(write_tree):
    root = write_tree()
    names = [f"drive/train.MP4/{number:05d}.jpg" for number in range(5)]
    (root / "list/train_gt.txt").unlink()
    (root / "list/train.txt").write_bytes(
        f"/{names[0]}\r\n{names[1]}\n\n  \n//{names[2]}\n./{names[3]}\n/{names[4]}".encode()
    )
    found = ingest(root, SIZE)
    assert found.rejected.empty
    assert found.frames["frame"][:5].tolist() == names
    assert found.frames["existence"][:5].isna().all()


def test_unusable_frames_are_rejected_and_the_others_are_read(write_tree):
    root = write_tree(train=10)
    folder = root / "drive/train.MP4"
    (folder / "00000.jpg").unlink()
    (folder / "00001.jpg").write_bytes((folder / "00001.jpg").read_bytes()[:-500])
    assert cv2.imwrite(str(folder / "00002.jpg"), np.zeros((100, 200, 3), np.uint8))
    (folder / "00003.lines.txt").write_text("100 117 110 107 \n200 117 x 107 \n")
    (folder / "00004.lines.txt").write_text("100 117 110 1e300 \n")
    (folder / "00005.lines.txt").write_text("100 117 110 107 \n5000 117 5000 107 \n")
    (folder / "00006.lines.txt").unlink()
    (folder / "00007.jpg").write_bytes(b"")
    (folder / "00009.lines.txt").write_text("100 117 110 107 \n\n-90 117 -80 107 -70 97 \n")
    found = ingest(root, SIZE)
    assert found.frames.loc[found.frames["split"] == "train", "frame"].tolist() == [
        "drive/train.MP4/00008.jpg"
    ]
    items = rejected(found)
    assert [row[:2] for row in items] == [
        ("list/train_gt.txt", 1),
        ("drive/train.MP4/00001.jpg", None),
        ("drive/train.MP4/00002.jpg", None),
        ("drive/train.MP4/00003.lines.txt", 2),
        ("drive/train.MP4/00004.lines.txt", 1),
        ("drive/train.MP4/00005.lines.txt", 2),
        ("drive/train.MP4/00006.lines.txt", None),
        ("drive/train.MP4/00007.jpg", None),
        ("drive/train.MP4/00009.lines.txt", 3),
    ]
    for (_, _, reason), words in zip(
        items,
        [
            "does not exist; restore",
            "cut off",
            "200 x 100 px where 328 x 118",
            "'x' is not a number",
            "1e300",
            "farther outside the frame",
            "missing; restore it, or write an empty one",
            "is empty; restore the frame",
            "lane 3 wholly outside the frame",
        ],
        strict=True,
    ):
        assert words in reason and ";" in reason


def test_repeated_and_contradicting_entries_reject_no_frame_and_are_noted(write_tree):
    root = write_tree()
    test = [f"drive/test.MP4/{number:05d}.jpg" for number in range(3)]
    (root / "list/test.txt").write_text("\n".join([test[0], f"/{test[0]}", test[1], test[2]]))
    (root / "list/test_split/test0_normal.txt").write_text(f"{test[0]}\n{test[0]}\n")
    (root / "list/test_split/test8_night.txt").write_text(f"{test[0]}\n{test[1]}\n{FIRST}\n")
    found = ingest(root, SIZE)
    frames = found.frames[found.frames["split"] == "test"]
    assert frames["frame"].tolist() == test
    assert frames["scenario"].fillna("").tolist() == ["normal", "night", ""]
    assert found.rejected.empty
    assert [(note.file, note.text) for note in found.notes] == [
        ("list/test.txt", "names frames again in 1 line, the first line 2; each frame counts once"),
        (
            "list/test_split/test0_normal.txt",
            "names frames again in 1 line, the first line 2; each frame counts once",
        ),
        (
            "list/test_split/test8_night.txt",
            f"names 1 frame that the test list has not, the first {FIRST} in line 3; they are left out",
        ),
        (
            "list/test_split/test8_night.txt",
            f"names 1 frame of other categories, the first {test[0]} of normal in line 1; the first "
            "category counts",
        ),
    ]


@pytest.mark.parametrize("flags", ["", "0 1 1 0", "0 1 1 1 1 0", "0 1 2 0", "0.9 sunny", "1 0"])
def test_flags_of_any_number_reject_no_frame(write_tree, flags):
    root = write_tree()
    path = root / "list/train_gt.txt"
    path.write_text(path.read_text().replace("0 1 1 0", flags))
    found = ingest(root, SIZE)
    assert found.rejected.empty and len(found.frames) == 10
    stated = found.frames["existence"][:5].notna().all()
    assert stated == (flags == "0 1 1 0")
    wrong = {"0 1 1 1 1 0": 6, "1 0": 2}.get(flags)
    assert [note.text for note in found.notes] == (
        [f"has 5 lines with {wrong} existence flags instead of 4; they are not used"] if wrong else []
    )


def test_lines_without_flags_among_others_are_counted(write_tree):
    root = write_tree()
    path = root / "list/train_gt.txt"
    path.write_text(path.read_text().replace(" 0 1 1 0", "", 2))
    found = ingest(root, SIZE)
    assert found.rejected.empty and found.frames["existence"].isna().tolist()[:3] == [True, True, False]
    assert found.notes == (
        ("list/train_gt.txt", None, "has 2 lines with 0 existence flags instead of 4; they are not used"),
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\r\n", "\r"])
def test_lists_of_windows_and_names_with_spaces(write_tree, encoding, ending):
    root = write_tree()
    (root / "drive").rename(root / "day one é")
    for path in (root / "list").rglob("*.txt"):
        text = path.read_text().replace("/drive", "\\day one é").replace("drive", "day one é")
        path.write_bytes(text.replace("/", "\\").replace("\n", ending).encode(encoding))
    found = ingest(root, SIZE)
    assert found.rejected.empty and not found.notes
    assert found.frames["frame"][0] == "day one é/train.MP4/00000.jpg"
    assert found.frames["scenario"].fillna("").tolist()[-3:] == ["normal", "night", ""]
    assert found.frames["existence"].notna().tolist() == [True] * 7 + [False] * 3


@pytest.mark.parametrize(
    ("orientation", "stored", "accepted"), [(3, SIZE, True), (6, SIZE[::-1], True), (6, SIZE, False)]
)
def test_the_size_of_a_frame_is_that_which_is_displayed(write_tree, orientation, stored, accepted):
    root = write_tree()
    image = cv2.resize(np.random.default_rng(9).integers(0, 255, (8, 16, 3), np.uint8), stored[::-1])
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + bytes(7)
    segment = b"Exif\0\0" + tiff
    (root / FIRST).write_bytes(jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2) + segment + jpeg[2:])
    found = ingest(root, SIZE)
    assert (FIRST in found.frames["frame"].tolist()) == accepted
    if not accepted:
        assert rejected(found)[0][2].startswith("is 118 x 328 px where 328 x 118 is declared")


def test_progress_ends_at_the_total(write_tree):
    seen = []
    ingest(write_tree(train=100), SIZE, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (105, 105) and seen == sorted(seen)


def test_too_many_rejected_frames_are_an_error_of_one_sentence(write_tree):
    root = write_tree(train=5, val=2, test=3)
    (root / "drive/train.MP4/00001.jpg").unlink()
    found = ingest(root, SIZE)
    found.require(0.1)  # one of ten
    with pytest.raises(
        LgadError, match=r"1 of 10 entries of .* rejected, more than max_rejected 0.05 allows"
    ):
        found.require(0.05)
    (root / "drive").rename(root / "moved")
    with pytest.raises(LgadError, match=r"Not one frame of .* can be used .*does not exist"):
        ingest(root, SIZE).require(1)


def test_a_frame_in_two_splits_stays_in_the_test_split(write_tree):
    root = write_tree()
    with (root / "list/test.txt").open("a") as stream:
        stream.write(FIRST)
    found = ingest(root, SIZE)
    assert found.frames.loc[found.frames["frame"] == FIRST, "split"].tolist() == ["test"]
    assert rejected(found)[0][:2] == (FIRST, None)
    assert "is a train frame and has the same bytes as the test frame" in rejected(found)[0][2]
    assert split_leakage(found.frames).empty
