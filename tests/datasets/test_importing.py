import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from lgad_pipeline.cli.main import app
from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.datasets.images import image_orientation, read_image
from lgad_pipeline.datasets.importing.convert import Format, convert
from lgad_pipeline.datasets.importing.summary import summary
from lgad_pipeline.errors import LgadError
from tests.datasets.importing_files import (
    BOTTOM_FIRST,
    LANES,
    SIZE,
    cvat_image,
    cvat_shape,
    cvat_xml,
    image,
    labelme,
    lines,
    shape,
)

WIDE = (360, 640)
LINE = [[100, 350], [180, 260], [250, 190]]


def imported(tmp_path, shapes, labels=None, **others):
    """The only frame of a labelme source, imported: its lanes, and the conversion."""
    image(tmp_path / "source/a.jpg", size=WIDE)
    labelme(tmp_path / "source/a.json", shapes, size=WIDE, **others)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME, labels=labels)
    return lines(tmp_path / "out/a.lines.txt"), done


def test_every_kind_of_shape_is_a_lane_or_named_with_its_count(tmp_path):
    shapes = [
        shape(LINE),
        shape([[1, 350], [9, 300]], "line"),
        shape([[300, 350], [310, 350], [355, 190], [350, 190]], "polygon"),
        shape([[1, 2], [3, 4]], "rectangle", "car"),
        shape([[1, 2], [3, 4]], "rectangle", "car"),
        shape([[1, 2], [3, 4]], "circle"),
        shape([[1, 2]], "linestrip"),
        shape([[10, 10], [200, 10], [200, 200], [10, 200]], "polygon", "car"),
        shape([[1, 2], [3, "x"]]),
        shape([[1, 2], [3, 1e300]]),
        shape([[700, 2], [800, 100]]),
        shape([[10, 10], [50, 50], [50, 10], [10, 40]]),
        "no shape",
    ]
    lanes, done = imported(tmp_path, shapes)
    assert lanes == [
        [[99.5, 349.5], [179.5, 259.5], [249.5, 189.5]],
        [[0.5, 349.5], [8.5, 299.5]],
        [[304.5, 349.5], [352, 189.5]],
    ]
    assert done.shapes.used == {
        ("linestrip", "lane"): 1,
        ("line", "lane"): 1,
        ("polygon", "centre line"): 1,
    }
    found = [
        (kind, label, count, reason) for (kind, label, reason), (count, _) in done.shapes.rejected.items()
    ]
    expected = [
        ("rectangle", "car", 2, "not a line"),
        ("circle", "lane", 1, "not a line"),
        ("linestrip", "lane", 1, "single click"),
        ("polygon", "car", 1, "not a band"),
        ("linestrip", "lane", 1, "x y pairs"),
        ("linestrip", "lane", 1, "not near"),
        ("linestrip", "lane", 1, "outside the frame"),
        ("linestrip", "lane", 1, "crosses itself"),
        ("shape", "", 1, "x y pairs"),
    ]
    assert [row[:3] for row in found] == [row[:3] for row in expected]
    assert all(words in row[3] for row, (*_, words) in zip(found, expected, strict=True))
    assert sum(done.shapes.labels.values()) == len(shapes)


@pytest.mark.parametrize("grouped", [False, True])
def test_points_of_one_lane_are_joined_in_their_order(tmp_path, grouped):
    right = [[560, 350], [480, 260], [420, 190]]
    both = [(point, number) for pair in zip(LINE, right, strict=True) for number, point in enumerate(pair)]
    shapes = [
        shape([point], "point", "lane", group_id=number)
        if grouped
        else shape([point], "point", f"lane{number}")
        for point, number in both
    ]
    lanes, done = imported(tmp_path, [*shapes, shape([[5, 5]], "point", "alone")])
    assert lanes == (np.array([LINE, right]) - 0.5).tolist()
    assert done.shapes.used == {("point", "joined to a lane"): 6}
    assert [key[:2] for key in done.shapes.rejected] == [("point", "alone")]


def test_points_in_another_order_follow_the_rows(tmp_path):
    lanes, _ = imported(tmp_path, [shape([LINE[place]], "point") for place in (1, 2, 0)])
    assert lanes == [(np.array(LINE) - 0.5).tolist()]


def test_points_of_several_lanes_under_one_label_are_rejected_by_name(tmp_path):
    points = [[100, 350], [560, 350], [180, 260], [480, 260], [250, 190], [420, 190]]
    lanes, done = imported(tmp_path, [shape([point], "point") for point in points] + [shape(LINE)])
    assert len(lanes) == 1
    [((_, _, reason), (count, first))] = done.shapes.rejected.items()
    assert count == 6 and first == "a.json" and "follow no single line" in reason


def test_doubled_points_are_left_out_and_the_metric_matches_the_lane(tmp_path):
    lanes, done = imported(tmp_path, [shape([*LINE, LINE[-1]]), shape([LINE[0], *LINE])])
    assert lanes == [(np.array(LINE) - 0.5).tolist()] * 2
    assert done.shapes.doubled == 2


def test_a_lane_drawn_twice_in_a_frame_is_pointed_out(tmp_path):
    lanes, done = imported(tmp_path, [shape(LINE), shape(LINE), shape([[x + 9, y] for x, y in LINE])])
    assert len(lanes) == 3 and done.shapes.repeated == 1
    [sentence] = [text for text in summary(done) if "twice" in text]
    assert sentence.startswith("Drawn twice in one frame: 1 lane; delete the copy")


def test_a_frame_whose_shapes_are_all_rejected_is_no_empty_road(tmp_path):
    image(tmp_path / "source/b.jpg", size=WIDE)
    labelme(tmp_path / "source/b.json", [shape([[1, 2], [30, 40]], "rectangle", "car")], size=WIDE)
    image(tmp_path / "source/c.jpg", size=WIDE)
    labelme(tmp_path / "source/c.json", [], size=WIDE)
    _, done = imported(tmp_path, [shape(LINE)])
    [(file, _, reason)] = done.rejected
    assert (
        file == "b.jpg"
        and "none of them is a lane (rectangle car: is not a line" in reason
        and "--labels" in reason
    )
    assert not (tmp_path / "out/b.jpg").exists()
    assert lines(tmp_path / "out/c.lines.txt") == [] and done.empty == 1


def test_labels_are_chosen_and_all_are_counted(tmp_path):
    shapes = [shape(LINE), shape(LINE, label="curb"), shape([[1, 2], [9, 9]], "rectangle", "car")]
    image(tmp_path / "source/b.jpg", size=WIDE)
    labelme(tmp_path / "source/b.json", [shape(LINE, label="curb")], size=WIDE)
    lanes, done = imported(tmp_path, shapes, labels=["lane"])
    assert len(lanes) == 1 and done.shapes.labels == {"lane": 1, "curb": 2, "car": 1}
    assert done.shapes.ignored == {"label curb": 2, "label car": 1} and not done.shapes.rejected
    assert lines(tmp_path / "out/b.lines.txt") == [] and (done.empty, done.other_labels) == (0, 1)
    assert any("all their shapes have other labels: 1 frame;" in line for line in summary(done))
    with pytest.raises(LgadError, match="names lanes, which no shape has; the labels are car, curb, lane"):
        convert(tmp_path / "source", tmp_path / "other", annotations=Format.LABELME, labels=["lanes"])


@pytest.mark.parametrize(
    ("stated", "scale"),
    [((360, 640), 1), ((720, 1280), 0.5), ((180, 320), 2), ((1080, 1920), 1 / 3), ((240, 427), 640 / 427)],
)
@pytest.mark.parametrize("annotations", Format)
def test_lanes_are_scaled_to_the_size_of_the_image(tmp_path, annotations, stated, scale):
    image(tmp_path / "source/a.png", size=WIDE)
    drawn = (np.array(LINE) / [640 / stated[1], 360 / stated[0]]).tolist()
    if annotations is Format.LABELME:
        labelme(tmp_path / "source/a.json", [shape(drawn)], "a.png", stated)
    else:
        cvat_xml(tmp_path / "source/annotations.xml", cvat_image("a.png", cvat_shape(drawn), stated))
    done = convert(tmp_path / "source", tmp_path / "out", annotations=annotations)
    assert np.array(lines(tmp_path / "out/a.lines.txt")) == pytest.approx(np.array([LINE]) - 0.5, abs=1e-3)
    assert done.scaled == (scale != 1) and done.sizes == {WIDE: 1}


@pytest.mark.parametrize("stated", [(640, 360), (480, 640), (362, 640)])
def test_other_proportions_reject_the_frame_with_both_sizes(tmp_path, stated):
    image(tmp_path / "source/a.jpg", size=WIDE)
    labelme(tmp_path / "source/a.json", [shape(LINE)], size=stated)
    with pytest.raises(
        LgadError, match=f"annotated at {stated[1]} x {stated[0]} px, but its image is 640 x 360 px"
    ):
        convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)


def test_without_a_stated_size_points_must_fit_the_image(tmp_path):
    image(tmp_path / "source/a.jpg", size=WIDE)
    labelme(tmp_path / "source/a.json", [shape([[300, 500], [600, 300]])], size=None)
    image(tmp_path / "source/b.jpg", size=WIDE)
    labelme(tmp_path / "source/b.json", [shape([[30, 105], [75, 57]])], size=None)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    [(file, _, reason)] = done.rejected
    assert file == "a.jpg" and "(300, 500) outside its image of 640 x 360 px and states no size" in reason
    (note,) = done.notes
    assert note.startswith("All annotated lanes are in the upper left corner of 640 x 360 px (x up to 74,")
    assert note in list(summary(done))


@pytest.mark.parametrize(
    ("orientation", "ending"), [(1, "png"), *((number, "jpg") for number in range(1, 9))]
)
def test_an_image_that_is_stored_turned_is_written_as_it_was_annotated(tmp_path, orientation, ending):
    source = tmp_path / f"source/a.{ending}"
    image(source, size=WIDE, orientation=orientation)
    shown = (640, 360) if orientation > 4 else WIDE
    labelme(tmp_path / "source/a.json", [shape([[50, 340], [150, 100]])], f"a.{ending}", shown)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    assert done.sizes == {shown: 1} and done.turned == (orientation != 1) and not done.scaled
    assert lines(tmp_path / "out/a.lines.txt") == [[[49.5, 339.5], [149.5, 99.5]]]
    written = (tmp_path / f"out/a.{ending}").read_bytes()
    assert image_orientation(written) == 1
    assert np.abs(read_image(written).astype(int) - read_image(source)).mean() < 1.5


def test_two_images_of_one_stem_do_not_share_a_lane_file(tmp_path):
    for name in ("a.jpg", "a.png", "a.PNG", "a_png.png"):
        image(tmp_path / "source/images" / name)
    shapes = [[[10, 50], [20, 10 + number]] for number in range(4)]
    names = ("a.jpg", "a.png", "a.PNG", "a_png.png")
    content = "".join(cvat_image(name, cvat_shape(lane)) for name, lane in zip(names, shapes, strict=True))
    cvat_xml(tmp_path / "source/annotations.xml", content)
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.CVAT, val=0, test=0)
    written = {name: done.renamed.get(f"images/{name}", f"images/{name}") for name in names}
    assert written["a.PNG"] == "images/a.PNG" and written["a_png.png"] == "images/a_png.png"
    assert written["a.jpg"] == "images/a_jpg.jpg" and written["a.png"] == "images/a_png_2.png"
    for name, lane in zip(names, shapes, strict=True):
        stem = written[name].rpartition(".")[0]
        assert lines(tmp_path / f"out/{stem}.lines.txt") == [(np.array(lane) - 0.5).tolist()]
        assert (tmp_path / "out" / written[name]).samefile(tmp_path / "source/images" / name)
    assert sorted((tmp_path / "out/list/train.txt").read_text().split()) == sorted(written.values())


def test_an_imported_set_is_ingested_and_agrees_with_itself(tmp_path):
    for number in range(10):
        image(tmp_path / f"source/my drive/{number}.jpg", number)
        labelme(
            tmp_path / f"source/my drive/{number}.json", [*map(shape, LANES), shape([[5, 5], [9, 9], [9, 9]])]
        )
    done = convert(tmp_path / "source", tmp_path / "out", annotations=Format.LABELME)
    assert done.frames == {"train": 7, "val": 1, "test": 2} and not done.rejected
    found = ingest(tmp_path / "out", SIZE)
    assert len(found.frames) == 10 and found.rejected.empty
    assert [lane.tolist() for lane in lanes_of(found.frames["lanes"][0])][:2] == BOTTOM_FIRST


def test_the_command_prints_counts_and_a_valid_entry(tmp_path):
    for name in ("a", "b", "c"):
        image(tmp_path / f"source/{name}.jpg", size=WIDE)
        labelme(tmp_path / f"source/{name}.json", [shape(LINE), shape(LINE, label="curb")], size=WIDE)
    (tmp_path / "source/evil\x1b[31m.json").write_text("{")
    output = tmp_path / "Été: #1"
    result = CliRunner().invoke(
        app, ["import", "labelme", str(tmp_path / "source"), str(output), "--labels", "lane"]
    )
    assert result.exit_code == 0 and "\x1b" not in result.output
    assert "3 frames (1 train, 1 val, 1 test); 1 rejected." in result.output
    assert "Labels: lane 3, curb 3." in result.output and "Not imported: label curb 3." in result.output
    entry = yaml.safe_load(result.output[result.output.index("datasets:") :])
    assert entry == {
        "datasets": {
            "ete_1": {
                "kind": "culane",
                "root": str(output),
                "frame_size": [360, 640],
                "crop_top": 170,
                "lane_width": 6,
            }
        }
    }


def test_a_set_without_lanes_is_pointed_out(tmp_path):
    for name in ("a", "b", "c"):
        image(tmp_path / f"source/{name}.jpg")
        labelme(tmp_path / f"source/{name}.json", [])
    arguments = ["import", "labelme", str(tmp_path / "source"), str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0 and "No frame has a lane" in result.output
    with pytest.raises(LgadError, match="--labels has no label"):
        CliRunner().invoke(app, [*arguments, "--labels", " , "], catch_exceptions=False)


def test_what_cannot_be_imported_is_one_clear_sentence(tmp_path):
    with pytest.raises(LgadError, match="is missing; name the folder"):
        convert(tmp_path / "none", tmp_path / "out", annotations=Format.LABELME)
    source = tmp_path / "source"
    source.mkdir()
    with pytest.raises(LgadError, match="holds no JSON file of labelme"):
        convert(source, tmp_path / "out", annotations=Format.LABELME)
    with pytest.raises(LgadError, match=r"annotations.xml is missing"):
        convert(source, tmp_path / "out", annotations=Format.CVAT)
    labelme(source / "a.json", [shape(LINE)])
    with pytest.raises(LgadError, match="use `lgad import labelme`"):
        convert(source, tmp_path / "out", annotations=Format.CVAT)
    with pytest.raises(LgadError, match="is not found near it below the source folder"):
        convert(source, tmp_path / "out", annotations=Format.LABELME)
    with pytest.raises(LgadError, match="is a file; name the folder"):
        convert(source / "a.json", tmp_path / "out", annotations=Format.LABELME)
    with pytest.raises(LgadError, match=r"is not UTF-8, which settings files need"):
        convert(source, tmp_path / "o\udcff", annotations=Format.LABELME)
    with pytest.raises(LgadError, match="is not empty"):
        convert(source, tmp_path, annotations=Format.LABELME)
    assert not (tmp_path / "out").exists()
