"""Round trips between annotation tools and data sets."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lgad_pipeline.cli.main import app
from lgad_pipeline.datasets.exporting import cvat
from lgad_pipeline.datasets.exporting.tool_lanes import LabelledFrame, thinned, tool_points
from lgad_pipeline.datasets.exporting.write import labelled_frames, write_annotations
from lgad_pipeline.datasets.importing.adding import add_frames
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.source import Source
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import read_lanes, write_lanes
from tests.datasets.importing_files import SIZE, cvat_image, cvat_xml, image, labelme, shape

# Values as labelme and CVAT write them, also across powers of two, where single precision changes.
CLICKS = [[[40.53, 59.97], [63.51, 20.04]], [[128.26, 59.5], [127.99, 40.123], [100.5, 20.0]]]
FORMATS = list(Format)


def export(root: Path, output: Path, annotations: Format, frames: list[str]) -> None:
    write_annotations(labelled_frames(root, frames, rejected=[]), root, output, annotations=annotations)


def points_in(folder: Path) -> dict[str, list]:
    """Return the points of every annotated frame of a folder of labelme or CVAT."""
    if (folder / "annotations.xml").exists():
        from lgad_pipeline.datasets.importing.cvat import read
    else:
        from lgad_pipeline.datasets.importing.labelme import read
    return {
        Path(found.image).name: [shape.points.tolist() for shape in found.shapes]
        for found in read(Source(folder), [])
    }


@pytest.mark.parametrize("annotations", FORMATS)
def test_annotations_come_back_after_an_import_and_an_export(tmp_path, annotations):
    source = tmp_path / "source"
    image(source / "day/f.jpg")
    if annotations is Format.LABELME:
        labelme(source / "day/f.json", [*map(shape, CLICKS)])
    else:
        lines = "".join(
            f'<polyline label="lane" points="{";".join(f"{x},{y}" for x, y in line)}"/>' for line in CLICKS
        )
        cvat_xml(source / "annotations.xml", cvat_image("day/f.jpg", lines))
    convert(source, tmp_path / "set", annotations=annotations)
    export(tmp_path / "set", tmp_path / "back", annotations, ["day/f.jpg"])
    assert points_in(tmp_path / "back") == {"f.jpg": CLICKS} == points_in(source)


@pytest.mark.parametrize("annotations", FORMATS)
def test_a_data_set_comes_back_bit_for_bit(tmp_path, annotations):
    generator = np.random.default_rng(0)
    root, frames = tmp_path / "set", [f"drive {number}/f.jpg" for number in range(3)]
    lanes = {}
    for number, frame in enumerate(frames):
        image(root / frame, number, (590, 1640))
        ys = np.sort(generator.uniform(240, 589, 20))[::-1]
        lanes[frame] = [
            np.stack([start + generator.uniform(0, 300, 20), ys], 1).astype(np.float32)
            for start in (0, 800, 1200)
        ]
        write_lanes((root / frame).with_suffix(".lines.txt"), lanes[frame])
    export(root, tmp_path / "tool", annotations, frames)
    done = convert(tmp_path / "tool", tmp_path / "back", annotations=annotations)
    assert not done.rejected and sorted(name for names in done.splits.values() for name in names) == frames
    for frame in frames:
        file = Path(frame).with_suffix(".lines.txt")
        assert (tmp_path / "back" / file).read_bytes() == (root / file).read_bytes()
        assert (tmp_path / "back" / frame).read_bytes() == (root / frame).read_bytes()


def test_numbers_have_the_fewest_decimals():
    lane = np.array([[122.96, 590.0], [254.75, 0.1]], np.float32)
    assert tool_points(lane) == [(123.46, 590.5), (255.25, 0.6)]


def test_points_on_a_line_are_left_out():
    y = np.arange(590, 300, -10, dtype=np.float32)
    lane = np.stack([2 * y, y], 1)
    assert thinned(lane, 1.0).tolist() == [lane[0].tolist(), lane[-1].tolist()]
    assert len(thinned(np.stack([y**2 / 300, y], 1), 1.0)) > 4


def test_frames_whose_names_differ_in_the_ending_alone_are_refused_for_labelme(tmp_path):
    for name in ("f.jpg", "f.png"):
        image(tmp_path / "set" / name)
    frames = [LabelledFrame(name, SIZE, []) for name in ("f.jpg", "f.png")]
    with pytest.raises(LgadError, match=r"annotation file f\.json"):
        write_annotations(frames, tmp_path / "set", tmp_path / "a", annotations=Format.LABELME)
    write_annotations(frames, tmp_path / "set", tmp_path / "b", annotations=Format.CVAT)
    assert set(points_in(tmp_path / "b")) == {"f.jpg", "f.png"}


def test_a_frame_with_the_annotation_file_of_another_one_does_not_stop_the_export(tmp_path):
    for name in ("f.jpg", "f.png", "g.jpg"):
        image(tmp_path / "set" / name)
        write_lanes((tmp_path / "set" / name).with_suffix(".lines.txt"), [])
    (tmp_path / "list.txt").write_text("f.jpg\nf.png\ng.jpg\n")
    folders = [tmp_path / "set", tmp_path / "tool"]
    words = ["export-annotations", "labelme", *folders, "--list", tmp_path / "list.txt"]
    shown = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert "2 frames below" in shown.output
    assert "rejected: f.png: has the annotation file f.json of another frame" in shown.output
    found = sorted(path.name for path in (tmp_path / "tool").iterdir())
    assert found == ["f.jpg", "f.json", "g.jpg", "g.json"]


def test_frames_that_are_links_are_exported_on_request(tmp_path):
    image(tmp_path / "elsewhere/f.jpg")
    write_lanes(tmp_path / "set/f.lines.txt", [])
    (tmp_path / "set/f.jpg").symlink_to(tmp_path / "elsewhere/f.jpg")
    (tmp_path / "list.txt").write_text("f.jpg\n")
    paths = [tmp_path / "set", tmp_path / "tool", "--list", tmp_path / "list.txt"]
    words = ["export-annotations", "cvat", *map(str, paths)]
    assert "lgad import and lgad export-annotations" in CliRunner().invoke(app, words).output
    CliRunner().invoke(app, [*words, "--follow-links"], catch_exceptions=False)
    exported = tmp_path / "tool/f.jpg"
    assert exported.read_bytes() == (tmp_path / "elsewhere/f.jpg").read_bytes() and not exported.is_symlink()


def test_nothing_is_written_into_a_folder_with_files_or_out_of_it(tmp_path):
    image(tmp_path / "set/f.jpg")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/f.json").write_text("mine")
    frame = LabelledFrame("f.jpg", SIZE, [])
    with pytest.raises(LgadError, match="not empty"):
        write_annotations([frame], tmp_path / "set", tmp_path / "full", annotations=Format.LABELME)
    with pytest.raises(LgadError, match="leads out"):
        write_annotations(
            [frame._replace(name="../x.jpg")], tmp_path / "set", tmp_path / "b", annotations=Format.CVAT
        )
    assert (tmp_path / "full/f.json").read_text() == "mine"


def labelled_set(root: Path) -> Path:
    """Write a data set of three frames."""
    for number, split in enumerate(("train", "val", "test")):
        image(root / f"{split}.jpg", number)
        write_lanes(root / f"{split}.lines.txt", [np.array([[30, 59], [40, 20]], np.float32)])
        (root / "list").mkdir(exist_ok=True)
        (root / f"list/{split}.txt").write_text(f"/{split}.jpg")  # without a line end
    return root


@pytest.mark.parametrize("annotations", FORMATS)
def test_predicted_lanes_are_added_once_they_are_checked(tmp_path, annotations):
    root, tool = labelled_set(tmp_path / "set"), tmp_path / "tool"
    for number in range(2):
        image(tmp_path / f"new/{number}.jpg", 10 + number)
    lanes = [np.array([[30, 59], [40, 20]], np.float32)]
    frames = [LabelledFrame(f"{number}.jpg", SIZE, lanes, predicted=True) for number in range(2)]
    write_annotations(frames, tmp_path / "new", tool, annotations=annotations)
    with pytest.raises(LgadError, match="nobody has checked"):
        add_frames(tool, root, annotations=annotations)
    if annotations is Format.LABELME:
        content = json.loads((tool / "0.json").read_text())
        content["flags"]["predicted"] = False
        (tool / "0.json").write_text(json.dumps(content))
    else:
        text = (tool / "annotations.xml").read_text()
        tag = '    <tag label="predicted" source="manual">\n    </tag>\n'
        assert text.count(tag) == 2
        (tool / "annotations.xml").write_text(text.replace(tag, "", 1))
    done = add_frames(tool, root, annotations=annotations)
    name = done.splits["train"][0]
    assert Path(name).name == "0.jpg" and len(done.splits["train"]) == 1
    assert [fault.reason.split(";")[0] for fault in done.rejected] == [
        "holds predicted lanes that nobody has checked"
    ]
    assert (root / "list/train.txt").read_text() == f"/train.jpg\n{name}\n"
    assert np.array_equal(read_lanes((root / name).with_suffix(".lines.txt"))[0], lanes[0])


def test_frames_of_the_set_are_not_replaced(tmp_path):
    root, source = labelled_set(tmp_path / "set"), tmp_path / "source"
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    image(source / "val.jpg", 1)  # in a list
    image(source / "other.jpg", 5)
    image(root / "other.jpg", 6)  # another picture of that name, in no list
    image(source / "large.jpg", 5, (120, 320))
    for name in ("val", "other"):
        labelme(source / f"{name}.json", [shape(CLICKS[0])])
    labelme(source / "large.json", [shape(CLICKS[0])], size=(120, 320))
    with pytest.raises(LgadError, match="No frame of"):
        add_frames(source, root, annotations=Format.LABELME)
    image(source / "good.jpg", 7)
    labelme(source / "good.json", [shape(CLICKS[0])])
    done = add_frames(source, root, annotations=Format.LABELME, split="val")
    reasons = {fault.file: fault.reason for fault in done.rejected}
    assert "is in list/val.txt already" in reasons["val.jpg"]
    assert "path of another image" in reasons["other.jpg"]
    assert "320 x 120 px where" in reasons["large.jpg"]
    assert (root / "list/val.txt").read_text() == "/val.jpg\ngood.jpg\n"
    del before[root / "list/val.txt"]
    assert all(path.read_bytes() == data for path, data in before.items())


@pytest.mark.parametrize(
    "content", ["/train.jpg\r\n".encode("utf-16"), b"/train.jpg\n\xe9.jpg", b"/train.jpg\r"]
)
def test_frames_are_added_to_a_list_of_any_encoding(tmp_path, content):
    root, source = labelled_set(tmp_path / "set"), tmp_path / "source"
    (root / "list/train.txt").write_bytes(content)
    image(source / "new.jpg", 9)
    labelme(source / "new.json", [shape(CLICKS[0])])
    add_frames(source, root, annotations=Format.LABELME)
    assert read_frame_list(root / "list/train.txt", root).frames == ["train.jpg", "new.jpg"]


def test_frames_are_added_to_both_lists_of_a_split(tmp_path):
    """CULane has train.txt and train_gt.txt, which must not differ."""
    root, source = labelled_set(tmp_path / "set"), tmp_path / "source"
    (root / "list/train_gt.txt").write_text("/train.jpg /maps/train.png 1 1 0 0\n")
    image(source / "new.jpg", 9)
    labelme(source / "new.json", [shape(CLICKS[0])])
    add_frames(source, root, annotations=Format.LABELME)
    assert (root / "list/train_gt.txt").read_text() == "/train.jpg /maps/train.png 1 1 0 0\nnew.jpg\n"
    assert (root / "list/train.txt").read_text() == "/train.jpg\nnew.jpg\n"


def test_the_commands_add_frames_and_export_them(tmp_path, capsys):
    root, source = labelled_set(tmp_path / "set"), tmp_path / "source"
    image(source / "new.jpg", 9)
    labelme(source / "new.json", [shape(CLICKS[0])])
    app(["import", "labelme", str(source), str(root), "--add", "train"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert (
        "1 frame (1 train, 0 val, 0 test); 0 rejected." in printed and "Added to the train frames" in printed
    )
    (root / "val.lines.txt").write_text("1 2 x 4\n")
    app(["export-annotations", "cvat", str(root), str(tmp_path / "cvat")], standalone_mode=False)
    done = capsys.readouterr()
    assert "3 frames below" in done.out and "val.lines.txt, line 1" in done.err.replace("\n", "")
    assert points_in(tmp_path / "cvat")["new.jpg"] == [CLICKS[0]]


def test_the_labels_of_a_task_in_cvat_are_json() -> None:
    lane, predicted = json.loads(cvat.LABELS)
    assert (lane["name"], lane["type"], lane["attributes"][0]["name"]) == ("lane", "polyline", "type")
    assert predicted == {"name": "predicted", "type": "tag", "attributes": []}
