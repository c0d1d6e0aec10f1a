from pathlib import Path

import numpy as np
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.file_names import resolve_inside
from lgad_pipeline.lanes.lane_files import (
    LaneFileError,
    lane_file,
    parse_lanes,
    read_lanes,
    safe_stem,
    write_lanes,
)


def test_blank_lines_are_lanes_without_points_and_the_last_newline_is_no_line():
    assert [len(lane) for lane in parse_lanes(b"1 2 3 4 \n\n5 6\r\n", "f")] == [2, 0, 1]
    assert parse_lanes(b"", "f") == []
    assert [len(lane) for lane in parse_lanes(b"\n", "f")] == [0]


def test_written_lanes_read_back_to_the_last_bit(tmp_path: Path):
    lanes = [
        np.random.default_rng(0).uniform(-50, 1700, (30, 2)).astype(np.float32),
        np.zeros((0, 2), np.float32),
    ]
    write_lanes(tmp_path / "a" / "f.lines.txt", lanes)
    again = read_lanes(tmp_path / "a" / "f.lines.txt")
    assert all(np.array_equal(*pair) for pair in zip(lanes, again, strict=True))
    write_lanes(tmp_path / "g", [np.array([[1228.45, 590], [1204, 580]])])
    assert (tmp_path / "g").read_text() == "1228.45 590 1204 580 \n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"1 2 x 4", "'x' is not a number"),
        (b"1 2 1_0 4", "'1_0' is not a number"),
        (b"1 2 3", "3 values do not make x y pairs"),
        (b"1 2 nan 4", "the coordinate nan"),
        (b"1 2 3 -inf", "the coordinate -inf"),
        (b"1 2 1e9 4", "the coordinate 1e9"),
    ],
)
def test_a_bad_line_is_an_error_or_is_rejected(line: bytes, says: str):
    content = b"1 2 3 4\n" + line + b"\n5 6 7 8\n"
    with pytest.raises(LaneFileError) as error:
        parse_lanes(content, "some/file.lines.txt")
    assert "some/file.lines.txt, line 2" in str(error.value) and says in str(error.value)
    rejected = []
    assert [len(lane) for lane in parse_lanes(content, "f", rejected=rejected)] == [2, 0, 2]
    assert [(fault.line, says in fault.reason) for fault in rejected] == [(2, True)]


def test_a_path_that_leads_out_of_the_root_and_a_missing_file_are_errors(tmp_path: Path):
    with pytest.raises(LgadError, match="leads out"):
        resolve_inside(tmp_path, "../x")
    assert [safe_stem(frame) for frame in ("/a.b/c.jpg", "a.b/c", "a.jpg.png")] == ["a.b/c", "a.b/c", "a.jpg"]
    for frame in ("../x.jpg", "a/../../x.jpg", "/.."):
        with pytest.raises(LgadError, match="leads out"):
            safe_stem(frame)
    with pytest.raises(LaneFileError, match=r"none\.txt cannot be read"):
        read_lanes(tmp_path / "none.txt")


def test_the_ending_of_a_lane_file_replaces_the_last_ending():
    assert lane_file(Path("r"), "/d.MP4/00.1.jpg") == Path("r/d.MP4/00.1.lines.txt")
    assert lane_file(Path("r"), "00001") == Path("r/00001.lines.txt")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lane_files_of_any_editor(encoding, ending):
    """With CR alone, two lanes would become one that jumps across the road."""
    text = ending.join(["100 117 110 107 ", "", "240 117 230 107", ""])
    lanes = parse_lanes(text.encode(encoding), "f")
    assert [lane.tolist() for lane in lanes] == [[[100, 117], [110, 107]], [], [[240, 117], [230, 107]]]


def test_an_invalid_utf_16_lane_file_is_rejected():
    rejected = []
    parse_lanes("1 2 3 4".encode("utf-16") + b"\0", "f", rejected=rejected)
    assert "is not a number" in rejected[0].reason
