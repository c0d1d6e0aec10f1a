"""Notes on a data set in CULane's layout: lanes that are probably not meant, and lists of categories."""

import pytest

from lgad_pipeline.data.ingestion import ingest
from tests.datasets.culane_files import FIRST, SIZE


@pytest.mark.parametrize(
    ("lanes", "warning"),
    [
        (
            "50 58 55 48 60 38 \n",
            "All annotated lanes are in the upper left corner of 328 x 118 px (x up to 60,",
        ),
        (
            "100 176 105 106 110 96 \n",
            "In 10 of 10 frames annotated lanes reach below 328 x 118 px (down to y",
        ),
        ("100 117\n", "10 annotated lanes have a single point"),
        ("0 117 0 107 20 97 30 87 \n", "10 annotated lanes have two points or more at one x of 0 or less"),
        ("100 117 120 67 200 110 180 67 \n", "10 annotated lanes run up and down"),  # two lanes in one line
        ("0 4 100 117 110 97 120 67 \n", "10 annotated lanes run up and down"),  # number and count of a lane
        ("100 117 110 107 120 97 130 87 1 0.98 \n", "10 annotated lanes have an end near (0, 0)"),
        ("1 1 130 87 120 97 110 107 \n", "10 annotated lanes have an end near (0, 0)"),  # before the points
        ("100 117 110 107 120 97 130 87 -1 -1 \n", "10 annotated lanes have an end near (0, 0)"),
        (2 * "100 117 110 107 120 97 \n", "10 annotated lanes are equal to another lane of the same frame"),
        (
            "100 117 106 105\n112 93 118 81\n121 75 125 67\n240 117 190 67\n",  # three dashes of one lane
            "20 annotated lanes continue another lane of the frame, such as in drive/train.MP4/00000.jpg",
        ),
        ("100 117 125 92\n240 117 220 97\n214 88 180 60\n", None),  # another lane above the left one
        ("5 3 20 40 35 77 50 114 \n", None),  # the upper left corner, as far as the others
        ("100 117 110 87 120 57 130 55 140 59 \n", None),  # a curve at a crest
    ],
)
def test_lanes_that_are_probably_not_meant_are_pointed_out(write_tree, lanes: str, warning: str | None):
    root = write_tree()
    for path in root.glob("drive/*/*.lines.txt"):
        path.write_text(lanes)
    found = ingest(root, SIZE)
    assert found.rejected.empty
    assert [note.text[: len(warning or "")] for note in found.notes] == ([warning] if warning else [])


def test_lanes_of_one_split_in_other_pixels_are_pointed_out(write_tree):
    root = write_tree()
    for split in ("test", "train"):
        for path in root.glob(f"drive/{split}.MP4/*.lines.txt"):
            path.write_text("50 58 55 48 60 38 \n")  # half of the size
        notes = [note.text for note in ingest(root, SIZE).notes]
        assert len(notes) == (split == "train")  # three frames of the test split are too few
    assert notes[0].startswith("All annotated train lanes are in the upper left corner of 328 x 118 px")


def test_empty_lane_files_of_frames_with_stated_lanes_are_pointed_out(write_tree):
    root = write_tree()
    for frame in (FIRST, "drive/test.MP4/00000.jpg"):  # the list of the test frames states no flags
        (root / frame).with_suffix(".lines.txt").write_text("")
    (note,) = ingest(root, SIZE).notes
    assert note.text.startswith(
        f"1 frame without lanes has existence flags of lanes in the list, such as {FIRST}"
    )
    (root / "list/train_gt.txt").write_text(f"{FIRST} map.png 0 0 0 0\n")
    assert not ingest(root, SIZE).notes


def test_an_empty_category_is_noted_and_no_error(write_tree):
    root = write_tree()
    (root / "list/test_split/test3_shadow.txt").write_bytes(b"\xef\xbb\xbf\r\n")
    found = ingest(root, SIZE)
    assert found.rejected.empty and len(found.frames) == 10
    assert found.notes == (
        ("list/test_split/test3_shadow.txt", None, "names no frame; the category has no figures"),
    )


def test_lists_of_other_categories_are_noted(write_tree):
    """A category is the number in the name of its list; there is no rain, and 1 is not night."""
    root = write_tree()
    folder = root / "list/test_split"
    (folder / "test8_night.txt").rename(folder / "test1_night.txt")
    for name in ("rain.txt", "test2_hlight.txt"):
        (folder / name).write_text("drive/test.MP4/00002.jpg\n")
    found = ingest(root, SIZE)
    assert found.frames["scenario"].fillna("").tolist()[-3:] == ["normal", "crowd", "dazzle"]
    assert [(note.file, note.text.partition(",")[0]) for note in found.notes] == [
        ("list/test_split/test1_night.txt", "is read as the category crowd"),
        ("list/test_split", "holds 1 list of no category"),
    ]


def test_category_lists_of_the_whole_set_do_for_a_subset(write_tree):
    """Frames that a subset lacks must not count as rejected: ingestion would fail by their number."""
    root = write_tree()
    path = root / "list/test_split/test1_crowd.txt"
    path.write_text("".join(f"drive/test.MP4/{number:05d}.jpg\n" for number in range(2, 1000)))
    found = ingest(root, SIZE)
    found.require(0)
    assert found.frames["scenario"].fillna("").tolist()[-3:] == ["normal", "night", "crowd"]
    assert "names 997 frames that the test list has not" in found.notes[0].text


def test_a_list_that_is_not_read_and_names_other_frames_is_noted(write_tree):
    """CULane's train_gt.txt is read, and not train.txt next to it."""
    root = write_tree()
    listed = (root / "list/train_gt.txt").read_text().splitlines()
    frames = [line.split()[0] for line in listed]
    plain = root / "list/train.txt"
    for text, says in (
        ("\n".join(frames), None),
        ("".join(f"./{frame.lstrip('/')}\r\n" for frame in frames[::-1]), None),  # the same frames
        ("\n".join(frames[:1]), f"lacks {len(frames) - 1} of its frames"),
        ("\n".join([*frames, "drive/new.jpg"]), "names 1 further frame"),
        ("drive/new.jpg\n", f"names 1 further frame and lacks {len(frames)} of its frames"),
    ):
        plain.write_text(text)
        notes = [note for note in ingest(root, SIZE).notes if note.file == "list/train_gt.txt"]
        expected = f"is read instead of list/train.txt, which {says}; remove the outdated list of the two"
        assert [note.text for note in notes] == ([expected] if says else [])


def test_a_split_of_which_no_frame_has_a_lane_is_noted(write_tree):
    root = write_tree()
    for path in root.glob("drive/train.MP4/*.lines.txt"):
        path.write_text("")
    for path in root.glob("list/train*.txt"):  # without flags
        path.write_text("".join(f"{line.split()[0]}\n" for line in path.read_text().splitlines()))
    found = ingest(root, SIZE)
    count = int((found.frames["split"] == "train").sum())
    (note,) = found.notes
    assert note.text == (
        f"None of the {count} train frames has a lane; give the annotated lanes or take these frames out."
    )
    for path in root.glob("drive/test.MP4/*.lines.txt"):  # three frames are too few
        path.write_text("")
    assert found.notes == ingest(root, SIZE).notes
