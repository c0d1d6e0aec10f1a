"""Types of lanes: from annotations through imports, the frames table and exports."""

from pathlib import Path

import numpy as np
import pytest

from assets.presentation.data_metadata import type_counts
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.exporting.write import labelled_frames, write_annotations
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.lanes.lane_files import write_lanes
from lgad_pipeline.lanes.lane_types import lane_type, write_types
from tests.datasets.importing_files import LANES, SIZE, cvat_image, cvat_xml, image, labelme, shape

TRACK = """<meta><original_size><width>160</width><height>60</height></original_size></meta>
<track id="0" label="lane">
  <polyline frame="0" points="40.5,20.5;30.5,59.5"><attribute name="style">Solid</attribute></polyline>
  <polyline frame="2" points="40.5,20.5;30.5,59.5"><attribute name="style">dashed</attribute></polyline>
</track>"""


def annotate(source: Path, annotations: Format) -> None:
    """Write a frame whose first lane is dashed and white, and whose second has no type."""
    image(source / "f.jpg")
    if annotations is Format.LABELME:
        flags = {"dashed": True, "white": True, "occluded": False}
        labelme(source / "f.json", [shape(LANES[0], flags=flags), shape(LANES[1], flags={})])
        return
    points = [";".join(f"{x},{y}" for x, y in lane) for lane in LANES]
    attributes = (
        '<attribute name="style">Dashed</attribute><attribute name="colour">white</attribute>'
        '<attribute name="occluded">false</attribute><attribute name="side">__undefined__</attribute>'
    )
    shapes = f'<polyline label="lane" points="{points[0]}">{attributes}</polyline>'
    shapes += f'<polyline label="lane" points="{points[1]}"/>'
    cvat_xml(source / "annotations.xml", cvat_image("f.jpg", shapes))


@pytest.mark.parametrize("annotations", list(Format))
def test_types_come_back_after_an_import_and_an_export(tmp_path, annotations):
    annotate(tmp_path / "source", annotations)
    done = convert(tmp_path / "source", tmp_path / "set", annotations=annotations)
    assert (tmp_path / "set" / "f.types.txt").read_text() == "dashed white\n\n"
    assert any(line.endswith("next to the lane files: dashed white 1.") for line in summary(done))
    frames = labelled_frames(tmp_path / "set", ["f.jpg"], rejected=[])
    write_annotations(frames, tmp_path / "set", tmp_path / "tool", annotations=annotations)
    convert(tmp_path / "tool", tmp_path / "back", annotations=annotations)
    assert (tmp_path / "back" / "f.types.txt").read_bytes() == (tmp_path / "set" / "f.types.txt").read_bytes()


def test_attributes_of_x_anylabeling_are_types(tmp_path):
    """Its files are those of labelme with further keys."""
    image(tmp_path / "source" / "f.jpg")
    attributes = {"style": "Dashed", "white": True, "worn": "false", "side": "__undefined__", "age": None}
    shapes = [shape(LANES[0], attributes=attributes), shape(LANES[1], attributes={})]
    labelme(tmp_path / "source" / "f.json", shapes)
    convert(tmp_path / "source", tmp_path / "set", annotations=Format.LABELME)
    assert (tmp_path / "set" / "f.types.txt").read_text() == "dashed white\n\n"


def test_a_track_has_a_type_in_each_frame(tmp_path):
    for number in range(3):
        image(tmp_path / "source" / "images" / f"frame_{number:06d}.jpg", number)
    cvat_xml(tmp_path / "source" / "annotations.xml", TRACK)
    convert(tmp_path / "source", tmp_path / "set", annotations=Format.CVAT)
    types = {path.name: path.read_text() for path in (tmp_path / "set").rglob("*.types.txt")}
    assert types == {
        "frame_000000.types.txt": "solid\n",
        "frame_000001.types.txt": "solid\n",  # interpolated from the frame before
        "frame_000002.types.txt": "dashed\n",
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "list").mkdir()
    for number, split in enumerate(("train", "val", "test")):
        image(tmp_path / f"{number}.jpg", number)
        write_lanes(tmp_path / f"{number}.lines.txt", [np.array(lane, np.float32) for lane in LANES])
        (tmp_path / "list" / f"{split}.txt").write_text(f"{number}.jpg\n")
    return tmp_path


def test_the_frames_table_has_types_and_sees_a_changed_file(root):
    write_types(root / "0.lines.txt", ["solid yellow", ""])
    write_types(root / "1.lines.txt", ["", ""])
    assert not (root / "1.types.txt").exists()
    found = ingest(root, SIZE)
    assert found.rejected.empty
    assert list(found.frames["lane_types"][0]) == ["solid yellow", ""]
    assert found.frames["lane_types"].isna().tolist() == [False, True, True]
    counts = {"train": 1, "val": 0, "test": 0}
    assert type_counts(found.frames) == [{"type": name, **counts} for name in ("solid yellow", "unknown")]
    assert ingest(root, SIZE, previous=found.frames).changes.unchanged == 3
    write_types(root / "1.lines.txt", ["", "Dashed"])
    again = ingest(root, SIZE, previous=found.frames)
    assert again.changes.changed == 1 and list(again.frames["lane_types"][1]) == ["", "dashed"]
    (root / "0.types.txt").unlink()
    assert ingest(root, SIZE, previous=again.frames).frames["lane_types"].isna().tolist() == [
        True,
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"solid\n", r"has types in 0.types.txt, which has 1 line for 2 lanes; give each lane a line"),
        (b"solid\n\xff\n", "which is not a text in UTF-8"),
    ],
)
def test_types_that_do_not_fit_the_lanes_reject_the_frame(root, content, reason):
    (root / "0.types.txt").write_bytes(content)
    found = ingest(root, SIZE)
    (row,) = found.rejected.itertuples()
    assert row.file == "0.lines.txt" and reason in row.reason and len(found.frames) == 2


def test_words_of_a_type_are_plain(root):
    assert lane_type(["A\x1b[31m", "\ud800", "b" * 100]) == "a [31m " + "b" * 53
    assert lane_type([]) == lane_type(["\n"]) == ""
