import json
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np
import pytest

from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.datasets.bdd100k import parse_annotation
from lgad_pipeline.datasets.lane_markings import centre_lines, polyline
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.errors import LgadError

SIZE = (720, 1280)


def mark(
    *vertices: tuple[float, float],
    types: str = "",
    category: str = "single white",
    direction: str = "parallel",
) -> dict:
    attributes = {"laneDirection": direction, "laneStyle": "solid", "laneTypes": category}
    line = {"vertices": vertices, "types": types or "L" * len(vertices), "closed": False}
    return {"id": "0", "category": category, "attributes": attributes, "poly2d": [line]}


# The edges of the lines left and right of the car, their centres 8 px further right; the one top first.
LEFT = [mark((300, 719), (560, 400)), mark((572, 400), (320, 719))]
RIGHT = [mark((1000, 719), (710, 400)), mark((1020, 719), (722, 400))]
ACROSS = mark((0, 600), (1279, 610), direction="vertical")
CROSSWALK = mark((0, 600), (100, 700), category="crosswalk")
CURB = mark((10, 700), (400, 420), category="road curb")


def write(
    root: Path, split: str, frames: list[tuple[str, list[dict] | None]], indent: int | None = 4
) -> Path:
    path = root / f"labels/lane/polygons/lane_{split}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    content = [{"name": name} | ({} if labels is None else {"labels": labels}) for name, labels in frames]
    path.write_text(json.dumps(content, indent=indent))
    for name, _ in frames:
        image = root / f"images/100k/{split}/{name}"
        image.parent.mkdir(parents=True, exist_ok=True)
        small = np.random.default_rng(crc32(name.encode())).integers(0, 255, (9, 16, 3), np.uint8)
        assert cv2.imwrite(str(image), cv2.resize(small, SIZE[::-1]))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    labels = [*LEFT, *RIGHT, ACROSS, CROSSWALK, CURB]
    write(tmp_path, "train", [("0000f77c-1.jpg", labels), ("0000f77c-2.jpg", None), ("0001-1.jpg", LEFT)])
    write(tmp_path, "val", [("b1c66a42-1.jpg", RIGHT)], indent=None)
    return tmp_path


def test_lists_become_splits_and_edges_become_lanes(root):
    found = ingest(root, SIZE, kind="bdd100k")
    assert found.rejected.empty
    assert found.frames[["frame", "split"]].values.tolist() == [
        ["images/100k/train/0000f77c-1.jpg", "train"],
        ["images/100k/train/0000f77c-2.jpg", "train"],
        ["images/100k/train/0001-1.jpg", "val"],  # every tenth drive, the second first
        ["images/100k/val/b1c66a42-1.jpg", "test"],
    ]
    left, right = lanes_of(found.frames["lanes"][0])
    np.testing.assert_allclose(left[[0, -1]], [[310, 719], [566, 400]])
    np.testing.assert_allclose(right[[0, -1]], [[1010, 719], [716, 400]])
    assert len(left) == 33 and len(lanes_of(found.frames["lanes"][1])) == 0
    labels = assign_lane_slots(found.frames)
    assert [list(flags) for flags in labels["existence"][:2]] == [[False, True, True, False], [False] * 4]


def test_lanes_have_style_kind_and_colour_of_their_first_edge(tmp_path):
    dashed = mark((200, 719), (250, 400), category="double yellow")
    dashed["attributes"]["laneStyle"] = "dashed"
    unknown = mark((1200, 719), (900, 400), category="single other")
    unknown["attributes"]["laneStyle"] = ["solid"]
    write(
        tmp_path, "train", [("0-1.jpg", [dashed, *LEFT, ACROSS, unknown]), ("0-2.jpg", None), ("1-1.jpg", [])]
    )
    write(tmp_path, "val", [("b-1.jpg", RIGHT)])
    found = ingest(tmp_path, SIZE, kind="bdd100k").frames
    bottoms = [round(float(lane[0, 0])) for lane in lanes_of(found["lanes"][0])]
    assert dict(zip(bottoms, found["lane_types"][0], strict=True)) == {
        310: "solid single white",
        200: "dashed double yellow",
        1200: "single other",
    }
    assert found["lane_types"].isna().tolist() == [False, True, True, False]


def test_curves_are_cubic_beziers():
    line = polyline([(0, 100), (0, 60), (40, 30), (80, 20), (90, 10)], "LCCCL")
    assert len(line) == 10 and line[0].tolist() == [0, 100] and line[-1].tolist() == [90, 10]
    # Half way: an eighth of the ends, three eighths of the control points.
    np.testing.assert_allclose(line[4], [(3 * 40 + 80) / 8, (100 + 3 * 60 + 3 * 30 + 20) / 8])


def test_a_line_that_runs_up_and_down_keeps_its_order_and_has_no_counterpart():
    drawn = [(100, 700), (200, 600), (500, 420), (800, 400), (1000, 480), (1100, 560)]
    line = polyline(drawn, "L" * 6)
    assert line.tolist() == [list(point) for point in drawn]
    assert polyline(drawn[::-1], "L" * 6).tolist() == line.tolist()
    edges = [("white", line), ("white", line + np.array([5, 0], np.float32))]
    assert [lane.tolist() for lane, _ in centre_lines(edges, 40)] == [edge.tolist() for _, edge in edges]


def test_the_nearest_edges_of_one_category_are_paired():
    at = {x: np.array([[x, 100], [x, 0]], np.float32) for x in (0, 10, 24, 100)}
    edges = [("white", at[0]), ("white", at[10]), ("white", at[24]), ("white", at[100])]
    assert [lane[0, 0] for lane, _ in centre_lines(edges, 40)] == [5, 24, 100]
    edges[1] = ("yellow", at[10])
    assert [lane[0, 0] for lane, _ in centre_lines(edges, 40)] == [12, 10, 100]
    short = ("white", np.array([[5, 100], [5, 60]], np.float32))
    temporary = ("white", np.array([[9, 70], [9, 20]], np.float32))
    assert len(centre_lines([short, temporary], 40)) == 2  # they share 10 of 40 rows


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"name": "../../../outside.jpg"}, "has a part '..'"),
        ({"name": 7}, "which does not end in .jpg"),
        ({"name": "a.jpg", "labels": 7}, "without category, direction or poly2d"),
        (
            {"name": "a.jpg", "labels": [{"category": "single white"}]},
            "without category, direction or poly2d",
        ),
        ({"name": "a.jpg", "labels": [{**LEFT[0], "poly2d": None}]}, "a.jpg: has a lane label without"),
        ({"name": "a.jpg", "labels": [mark((1, 2), category="bike lane")]}, "unknown kind 'bike lane'"),
        ({"name": "a.jpg", "labels": [mark((1, 2), direction="Parallel")]}, "unknown direction 'Parallel'"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), types="LL")]}, "0001-1.jpg: has a polyline whose"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), types="LL")]}, "not L or CCC"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), (3, 4), types="LC")]}, "not L or CCC"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), (float("nan"), 4))]}, "not near a frame"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), (1e300, 4))]}, "not near a frame"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), (10**400, 4))]}, "not made of x y pairs"),
        ({"name": "0001-1.jpg", "labels": [mark((1, 2), (3, 4))] * 101}, "more than 100 markings"),
        ({"name": "0001-1.jpg", "labels": [mark((2, 5000), (3, 4))]}, "farther outside the frame"),
    ],
)
def test_only_a_bad_frame_is_rejected(root, entry, words):
    path = root / "labels/lane/polygons/lane_train.json"
    content = [*json.loads(path.read_text())[:2], entry]
    path.write_text(",\n".join(map(json.dumps, content)).join("[]"))
    found = ingest(root, SIZE, kind="bdd100k")
    assert len(found.frames) == 3
    (row,) = found.rejected.itertuples()
    assert (row.file, row.line) == ("labels/lane/polygons/lane_train.json", 3) and words in row.reason


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[{}",
        "[{},]",
        '[{"name": "a.jpg"',
        "[{}{}]",
        '[{"a": ' + "[" * 100_000,
        "[" + "{" * 9,
    ],
)
def test_a_broken_list_is_one_clear_sentence(root, text):
    (root / "labels/lane/polygons/lane_val.json").write_text(text)
    with pytest.raises(LgadError, match=r"lane_val\.json is not a JSON list of objects in line 1"):
        ingest(root, SIZE, kind="bdd100k")


def test_a_list_longer_than_what_is_read_at_once_and_one_too_long_object(root):
    path = root / "labels/lane/polygons/lane_val.json"
    frames = [{"name": f"{n}.jpg", "labels": [], "attributes": "x" * 997 * (n % 100)} for n in range(400)]
    path.write_text(json.dumps(frames, indent=1))
    found = ingest(root, SIZE, kind="bdd100k").rejected  # their images are missing
    assert len(found) == 400 and found["line"].tolist() == list(range(2, 2002, 5))
    path.write_text('[{"name": "' + "x" * (3 << 20) + '"}]')
    with pytest.raises(LgadError, match="not a JSON list of objects in line 1"):
        ingest(root, SIZE, kind="bdd100k")


def test_missing_lists(root):
    (root / "labels/lane/polygons/lane_val.json").unlink()
    (note,) = ingest(root, SIZE, kind="bdd100k").notes
    assert note.file == "labels/lane/polygons/lane_val.json" and note.text.startswith("is missing")
    (root / "labels/lane/polygons/lane_train.json").unlink()
    with pytest.raises(LgadError, match=r"has no labels/lane/polygons/lane_train\.json"):
        ingest(root, SIZE, kind="bdd100k")


def test_an_annotation_without_markings_has_no_lanes():
    assert parse_annotation(b"[]") == []
    with pytest.raises(AnnotationError):
        parse_annotation(b'[["single white", "solid", "L", [[1]]]]')


def of_2018(label: dict) -> dict:
    """The label as the files of 2018 have it: the kind is an attribute."""
    attributes = {"laneDirection": label["attributes"]["laneDirection"], "laneStyle": "solid"}
    return label | {"category": "lane", "attributes": attributes | {"laneType": label["category"]}}


def as_vertices(label: dict) -> dict:
    """The label with bare vertices, short attribute names and a prefixed category, as later files have it."""
    (line,) = label["poly2d"]
    vertices = [[x, y, kind] for (x, y), kind in zip(line["vertices"], line["types"], strict=True)]
    attributes = {"direction": label["attributes"]["laneDirection"], "style": "solid"}
    return {"category": f"lane/{label['category']}", "attributes": attributes, "poly2d": vertices}


@pytest.mark.parametrize("written", [of_2018, as_vertices])
def test_the_other_forms_of_the_labels_give_the_same_lanes(root, written):
    expected = [lanes_of(value) for value in ingest(root, SIZE, kind="bdd100k").frames["lanes"]]
    car = {
        "category": "car",
        "attributes": {"occluded": False},
        "box2d": {"x1": 1, "y1": 2, "x2": 3, "y2": 4},
    }
    area = {"category": "area/drivable", "attributes": {}, "poly2d": [[0, 700, "L"], [9, 600, "L"]]}
    marks = [*LEFT, *RIGHT, ACROSS, CROSSWALK, CURB]
    old = [[written(label) for label in labels] for labels in (marks, LEFT)]
    write(
        root,
        "train",
        [("0000f77c-1.jpg", [*old[0], car, area]), ("0000f77c-2.jpg", None), ("0001-1.jpg", old[1])],
    )
    found = ingest(root, SIZE, kind="bdd100k")
    assert found.rejected.empty
    for lanes_found, lanes_expected in zip(map(lanes_of, found.frames["lanes"]), expected, strict=True):
        assert len(lanes_found) == len(lanes_expected)
        for one, other in zip(lanes_found, lanes_expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_white_and_yellow_edges_of_2018_are_no_pair(root):
    yellow = mark((320, 719), (572, 400), category="single yellow")
    write(root, "val", [("b1c66a42-1.jpg", [of_2018(LEFT[0]), of_2018(yellow)])])
    found = lanes_of(ingest(root, SIZE, kind="bdd100k").frames["lanes"][3])
    assert sorted(lane[0, 0] for lane in found) == [300, 320]


@pytest.mark.parametrize("types", ["LCCC", "LCCL", "CCCL", "CCCC"])
def test_a_curve_ends_in_a_vertex_of_either_type(types):
    line = polyline([(0, 100), (0, 60), (40, 30), (80, 20)], types)
    np.testing.assert_array_equal(line, polyline([(0, 100), (0, 60), (40, 30), (80, 20)], "LCCC"))


def test_a_list_on_one_line_with_a_byte_order_mark_names_the_frame(root):
    path = root / "labels/lane/polygons/lane_train.json"
    content = [{"name": "bad-1.jpg", "labels": [{"category": "lane"}]}, *json.loads(path.read_text())]
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    found = ingest(root, SIZE, kind="bdd100k")
    assert len(found.frames) == 4
    assert found.rejected["reason"][0].startswith("bad-1.jpg: has a marking of the unknown kind 'lane'")
