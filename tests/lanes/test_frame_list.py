from unicodedata import normalize

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgad_pipeline.lanes.frame_list import ListedFrame, read_frame_list
from lgad_pipeline.lanes.lane_files import LaneFileError, find_lane_file, lane_file

FRAMES = ["d/0.jpg", "d/1.jpg", "d/2.jpg"]


@pytest.fixture
def read(tmp_path):
    """Return a function that writes the content of a list and reads it, relative to a root next to it."""

    def read(content: str | bytes):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_frame_list(path, tmp_path / "root")

    return read


@pytest.mark.parametrize(
    "content",
    [
        b"d/0.jpg\nd/1.jpg\nd/2.jpg\n",
        b"d/0.jpg\nd/1.jpg\nd/2.jpg",
        b"/d/0.jpg\r\n//d/1.jpg\r\n./d/2.jpg\r\n",
        b"\xef\xbb\xbfd/0.jpg\r\nd/1.jpg\r\nd/2.jpg\r\n",
        b"d/0.jpg\rd/1.jpg\rd/2.jpg\r",
        b"d/0.jpg\rd/1.jpg\r\nd/2.jpg\n",
        b"d\\0.jpg\r\n\\d\\1.jpg\r\nd/2.jpg\r\n",
        b"d/0.jpg\t\r\n\r\n   /d/1.jpg  \r\n\n//d/2.jpg",
        b"d/0.jpg,d/0.png,1,1,1,1\nd/1.jpg;d/1.png;1;1;1;1\nd/2.jpg, 3.5, night\n",
        b'"d/0.jpg"\n"d/1.jpg","d/1.png",1,1,0,0\n"d/2.jpg" 7\n',
        *(
            "\n".join(FRAMES).encode(encoding)
            for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-8-sig")
        ),
        b"\xfe\xff" + "\r\n".join(FRAMES).encode("utf-16-be"),
    ],
)
def test_a_list_is_read_whatever_program_wrote_it(read, content):
    frame_list = read(content)
    assert frame_list.frames == FRAMES
    assert not frame_list.rejected and not frame_list.repeated


def test_columns_behind_the_frame(read):
    lines = [
        "/d/0.jpg /l/d/0.png 0 1 1 0",
        "/d/1.jpg /l/d/1.png 0 1 1 1 1 0",
        "/d/2.jpg /l/d/2.png",
        "/d/3.jpg 1 0 1 0",
        "/d/4.jpg /l/d/4.png 0 1 1 2",
        "/d/5.jpg 0.93 sunny",
        "/day one/6.jpg /laneseg_label_w16/day one/6.png 1 1 1 1",
        "/d/7.png\t/l/d/7.png\t0\t0\t0\t0",
        "d\\8.JPG l\\8.PNG 0 0 1 1",
    ]
    assert read("\n".join(lines)).entries == [
        ListedFrame("d/0.jpg", 1, (0, 1, 1, 0), "l/d/0.png"),
        ListedFrame("d/1.jpg", 2, (0, 1, 1, 1, 1, 0), "l/d/1.png"),
        ListedFrame("d/2.jpg", 3, None, "l/d/2.png"),
        ListedFrame("d/3.jpg", 4, (1, 0, 1, 0), None),
        ListedFrame("d/4.jpg", 5, None, "l/d/4.png"),
        ListedFrame("d/5.jpg", 6, None, None),
        ListedFrame("day one/6.jpg", 7, (1, 1, 1, 1), "laneseg_label_w16/day one/6.png"),
        ListedFrame("d/7.png", 8, (0, 0, 0, 0), "l/d/7.png"),
        ListedFrame("d/8.JPG", 9, (0, 0, 1, 1), "l/8.PNG"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "day one/0.jpg",
        "Été #3/a b  c.png",
        "行车 记录/0.jpeg",
        "a,b;c/0.jpg",
        "a.mp4/0.1 (2).jpg",
        "\u3000x/0.jpg",
    ],
)
def test_names_with_spaces_and_of_any_script(read, name):
    assert read(f"{name}\n{name[:-4]}1.jpg 0 1 1 0").frames[0] == name.strip()


def test_two_image_names_in_a_line_are_one_frame_if_there_is_such_a_file(read, tmp_path):
    lines = "d/a.jpg copy.jpg\nd/b.jpg d/c.jpg\nday.png x/e.jpg\nd/a.jpg\n"
    assert read(lines).frames == ["d/a.jpg", "d/b.jpg", "day.png"]
    for name in ("d/a.jpg copy.jpg", "d/a.jpg", "day.png x/e.lines.txt"):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).touch()
    assert read(lines).frames == ["d/a.jpg copy.jpg", "d/b.jpg", "day.png x/e.jpg", "d/a.jpg"]


def test_frames_named_without_ending_or_by_their_lane_file(read, tmp_path):
    assert read("drive.MP4/0\nd/1.lines.txt\nd/2 0 1 1 0").frames == ["drive.MP4/0", "d/1", "d/2"]
    assert lane_file(tmp_path, "drive.MP4/0") == tmp_path / "drive.MP4/0.lines.txt"


def test_a_digit_at_the_end_of_an_existing_name_is_no_flag(read, tmp_path):
    (tmp_path / "root").mkdir()
    for name in ("frame 0", "frame 1", "frame 2", "frame"):
        (tmp_path / "root" / f"{name}.lines.txt").touch()
    lines = "frame 0\nframe 1\nframe 2\nframe\nframe 0.lines.txt\n"
    frame_list = read(lines)
    assert frame_list.frames == ["frame 0", "frame 1", "frame 2", "frame"]
    assert [line.line for line in frame_list.repeats] == [5]
    assert read("frame 1 0 1 1 0\nframe 5 0 1 1 0\nother 1 0 0 1").entries == [
        ListedFrame("frame 1", 1, (0, 1, 1, 0)),
        ListedFrame("frame 5", 2, (0, 1, 1, 0)),
        ListedFrame("other", 3, (1, 0, 0, 1)),
    ]


def test_absolute_paths_below_the_root_are_made_relative(read, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "root")
    assert read(f"{tmp_path}/root/d/0.jpg\n/d/1.jpg").frames == ["d/0.jpg", "d/1.jpg"]
    path = tmp_path / "list.txt"
    path.write_text(f"{tmp_path}/link/d/0.jpg\n{tmp_path}/root/d/1.jpg\n")
    assert read_frame_list(path, tmp_path / "link").frames == ["d/0.jpg", "d/1.jpg"]


def test_repeated_frames_count_once_and_are_reported(read):
    frame_list = read("d/0.jpg\nd/1.jpg\n/d/1.jpg 0 0 0 0\nd\\1.jpg\n")
    assert frame_list.frames == ["d/0.jpg", "d/1.jpg"]
    assert frame_list.repeated == 2
    assert [(line.line, line.reason) for line in frame_list.repeats] == [
        (3, "repeats d/1.jpg of line 2; take one of the two lines out"),
        (4, "repeats d/1.jpg of line 2; take one of the two lines out"),
    ]


def test_lines_that_name_no_frame_below_the_root_are_rejected_with_the_reason(read):
    frame_list = read(
        b"../a.jpg\nd/../../a.jpg\na\0.jpg\n\x1b[31m.jpg\n\xff.jpg\nC:\\x\\a.jpg\n"
        + b"n" * 5000
        + b"\n/\nok.jpg\n"
    )
    assert frame_list.frames == ["ok.jpg"]
    assert [(line.line, line.reason) for line in frame_list.rejected] == [
        (1, "'../a.jpg' leads out of the data root; name a frame below it"),
        (2, "'d/../../a.jpg' leads out of the data root; name a frame below it"),
        (3, "'a\\x00.jpg' holds control characters; write the path as plain text"),
        (4, "'\\x1b[31m.jpg' holds control characters; write the path as plain text"),
        (
            5,
            "is not UTF-8 (perhaps GBK or Latin-1); save the list as UTF-8, and rename frames that are not "
            "UTF-8",
        ),
        (6, "'C:\\\\x\\\\a.jpg' is a path of a Windows drive; write it relative to the data root"),
        (7, "is longer than 4096 bytes; write one frame path a line"),
        (8, "'/' names no file; name a frame below the data root"),
    ]


@pytest.mark.parametrize(
    ("encoding", "name", "shown"),
    [
        ("gbk", "白天/帧1.jpg", "GBK"),
        ("cp1252", "Straße/é.jpg", "Windows-1252 (Latin-1)"),
        ("cp932", "昼/フレーム.jpg", "Shift-JIS"),
    ],
)
def test_a_list_in_another_encoding_is_rejected_by_its_name(read, tmp_path, encoding, name, shown):
    path = tmp_path / "root" / name
    path.parent.mkdir(parents=True)
    path.touch()
    frame_list = read(f"{name} 1 0 0 1\nd/0.jpg\n".encode(encoding))
    assert frame_list.frames == ["d/0.jpg"]
    assert frame_list.rejected[0].reason == f"is written in {shown}, not in UTF-8; save the list as UTF-8"


@pytest.mark.parametrize("stored", ["é/ü 1.jpg", "é/ü 1.lines.txt", "é/ü 1.jpg.lines.txt"])
@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_a_name_in_another_unicode_form_is_that_of_its_file(read, tmp_path, stored, forms):
    of_file, of_list = forms
    path = tmp_path / "root" / normalize(of_file, stored)
    path.parent.mkdir(parents=True)
    path.touch()
    frame_list = read(f"{normalize(of_list, 'é/ü 1.jpg')} 1 0 0 1\n{normalize(of_file, 'é/ü 1.jpg')}\n")
    assert frame_list.frames == [normalize(of_file, "é/ü 1.jpg")] and frame_list.repeated == 1
    lanes = find_lane_file(tmp_path / "root", normalize(of_list, "é/ü 1.jpg"))
    assert lanes.is_file() == stored.endswith(".txt")


def test_comments_are_rejected_unless_they_are_files(read, tmp_path):
    frame_list = read("# the frames of May\n#1/0.jpg\n")
    reason = "names no file; a list has no comments, take the line out"
    assert [line.reason for line in frame_list.rejected] == [
        f"'# the frames of May' {reason}",
        f"'#1/0.jpg' {reason}",
    ]
    (tmp_path / "root/#1").mkdir(parents=True)
    (tmp_path / "root/#1/0.lines.txt").touch()
    assert read("# the frames of May\n#1/0.jpg\n").frames == ["#1/0.jpg"]


def test_a_name_that_no_file_can_have_is_rejected(read):
    frame_list = read(f"d/{'n' * 300}.jpg\nd/0.jpg\n")
    assert (
        frame_list.frames == ["d/0.jpg"] and "a name of more than 220 bytes" in frame_list.rejected[0].reason
    )


def test_an_empty_list_is_allowed_and_a_missing_one_is_an_error(read, tmp_path):
    for content in (b"", b"\n\r\n  \n", b"\xef\xbb\xbf", b"\xff\xfe"):
        assert read(content).entries == []
    with pytest.raises(LaneFileError, match="cannot be read"):
        read_frame_list(tmp_path / "gone.txt", tmp_path)
    with pytest.raises(LaneFileError, match="not a whole UTF-16 text"):
        read(b"\xff\xfea")


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_give_frames_below_the_root(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "any.txt").write_bytes(content)
    try:
        frame_list = read_frame_list(folder / "any.txt", folder)
    except LaneFileError:
        return
    for frame in frame_list.frames:
        assert frame and not frame.startswith("/") and ".." not in frame.split("/") and "\0" not in frame


def test_quotes_around_a_name_are_removed(read):
    assert read("\"d/0.jpg\"\n'd/1.jpg'\n'd/2.jpg' 0 1 1 0\nd/it's.jpg\n").frames == [
        "d/0.jpg",
        "d/1.jpg",
        "d/2.jpg",
        "d/it's.jpg",
    ]


def test_several_existing_frames_on_one_line_are_rejected(read, tmp_path):
    (tmp_path / "root/d").mkdir(parents=True)
    for name in ("0.jpg", "1.jpg"):
        (tmp_path / "root/d" / name).touch()
    frame_list = read("d/0.jpg d/1.jpg\nd/1.jpg l/1.png 0 1 1 0\n")
    assert frame_list.frames == ["d/1.jpg"]
    assert frame_list.rejected[0].reason == "names more than one frame; write one frame path a line"


def test_a_second_png_frame_on_a_line_is_no_label_map(read, tmp_path):
    pixels = np.zeros((2, 3, 3), np.uint8)
    for name, picture in (
        ("a/1.png", pixels),
        ("a/2.png", pixels),  # a frame without lanes: a picture in colours in the folder of the other
        ("a/1_mask.png", pixels[..., 0]),  # grey, as label maps are
        ("l/a/2.png", pixels),
    ):
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "root" / name), picture)
    for name in ("right/1.lines.txt", "right/2.lines.txt"):
        (tmp_path / "root" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "root" / name).touch()
    bad = ["a/1.png a/2.png", "/a/1.png,/a/2.png", "right/1.png right/2.png", "a/1.jpg right/2.png"]
    good = ["a/1.png a/1_mask.png", "a/2.png l/a/2.png", "right/1.jpg right/1.png", "right/2.png a/2.png 1 1"]
    frame_list = read("\n".join(bad + good))
    assert frame_list.frames == ["a/1.png", "a/2.png", "right/1.jpg", "right/2.png"]
    assert [line.line for line in frame_list.rejected] == [1, 2, 3, 4]
    assert {line.reason for line in frame_list.rejected} == {
        "names more than one frame; write one frame path a line"
    }


def test_a_path_with_two_dots_inside_the_root_is_rejected_for_them(read):
    (rejected,) = read("d/x/../0.jpg\n").rejected
    assert rejected.reason == "'d/x/../0.jpg' has a part '..'; write the path without it"


def test_a_name_that_no_file_can_have_is_rejected_alone(read):
    frame_list = read(b"\xff" + b"9" * 300 + b"\na/b.jpg\n")
    assert [entry.frame for entry in frame_list.entries] == ["a/b.jpg"]
    assert len(frame_list.rejected) == 1
