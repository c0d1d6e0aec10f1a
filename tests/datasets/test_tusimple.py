import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots, slot_lanes_of
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.datasets.reader import AnnotationError
from lgad_pipeline.datasets.tusimple import parse_annotation
from lgad_pipeline.errors import LgadError
from lgad_pipeline.view import View

SIZE = (180, 320)  # a quarter of TuSimple's
ROWS = list(range(60, 180, 4))
LEFT = [-2.0, *(150 - 1.0 * k for k in range(29))]
RIGHT = [-2.0, *(170 + 1.0 * k for k in range(29))]
FAR = [-2.0, *(180 + 4.0 * k for k in range(29))]
FARTHER = [-2.0, *(186 + 6.0 * k if 186 + 6 * k < 320 else -2 for k in range(29))]
FAR_LEFT = [-2.0, *(140 - 4.0 * k for k in range(29))]


def line(raw_file: str, *found: list[float]) -> str:
    return json.dumps({"raw_file": raw_file, "lanes": found, "h_samples": ROWS}) + "\n"


def write_frame(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.random.default_rng(seed).integers(0, 255, (9, 16, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, SIZE[::-1]))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = {
        "label_data_0313": "clips/0313/1",
        "label_data_0531": "clips/0531/1",
        "test_label": "clips/0530/1",
    }
    for seed, (file, clip) in enumerate(names.items()):
        folder = tmp_path / ("test_set" if file == "test_label" else "train_set")
        write_frame(folder / clip / "20.jpg", seed)
        (folder / f"{file}.json").write_text(
            line(f"{clip}/20.jpg", FAR_LEFT, LEFT, RIGHT, FAR, FARTHER) + line(f"{clip}/21.jpg", LEFT)
        )
    return tmp_path


def test_label_files_become_splits(root):
    found = ingest(root, SIZE, kind="tusimple")
    assert found.frames[["frame", "split"]].values.tolist() == [
        ["train_set/clips/0313/1/20.jpg", "train"],
        ["train_set/clips/0531/1/20.jpg", "val"],
        ["test_set/clips/0530/1/20.jpg", "test"],
    ]
    assert found.frames["existence"].isna().all() and found.frames["scenario"].isna().all()
    read = lanes_of(found.frames["lanes"][0])
    assert len(read) == 5
    np.testing.assert_array_equal(read[1][[0, -1]], [[122, 176], [150, 64]])  # bottom first, absent left out
    # The second line of each file names a frame that is not there.
    assert found.rejected[["file", "line"]].values.tolist() == [
        ["train_set/label_data_0313.json", 2],
        ["train_set/label_data_0531.json", 2],
        ["test_set/test_label.json", 2],
    ]


def test_five_lanes_fill_four_slots_the_outermost_is_left_out(root, tmp_path):
    frames = ingest(root, SIZE, kind="tusimple").frames
    labels = assign_lane_slots(frames, scheme=SlotScheme(4, 46))
    xs = np.array([list(slot) for slot in labels["xs"][0]], float)
    rows = np.array(list(labels["rows"][0]))
    assert xs.shape == (4, 46) and rows[0] == 180 and rows[-1] == pytest.approx(180 * (1 - 450 / 590))
    at = np.argmin(np.abs(rows - 120))
    for slot, lane in enumerate((FAR_LEFT, LEFT, RIGHT, FAR)):
        expected = np.interp(rows[at], ROWS[1:], lane[1:])
        assert xs[slot, at] == pytest.approx(expected, abs=1)
    assert 64 - 180 / 59 < rows[~np.isnan(xs[1])].min() < 64 + 2 * 180 / 59  # its first annotated row
    shards = pack_shards(
        frames, labels, root=root, output=tmp_path / "shards", view=View(SIZE, (72, 128)), lane_width=6
    )
    assert set(np.unique(shards["train"][0].label)) == {0, 1, 2, 3, 4}


def test_six_slots_keep_all_five_lanes_on_the_annotated_rows(root, tmp_path):
    frames = ingest(root, SIZE, kind="tusimple").frames
    scheme = SlotScheme(6, 57, 72)
    labels = assign_lane_slots(frames, scheme=scheme)
    existence = np.array([list(flags) for flags in labels["existence"]], bool)
    assert existence.shape[1] == 6 and existence[0].sum() == 5
    read = lanes_of(frames["lanes"][0])
    lanes = slot_lanes_of(next(labels.itertuples()))
    for slot in np.flatnonzero(existence[0]):
        points = lanes.points(int(slot))
        distance = [
            np.abs(np.interp(points[:, 1], lane[::-1, 1], lane[::-1, 0]) - points[:, 0]).max()
            for lane in read
        ]
        lane = read[int(np.argmin(distance))]
        assert min(distance) < 2 and points[-1, 1] <= lane[-1, 1] + 2.5  # up to its last annotated row
    shards = pack_shards(
        frames, labels, root=root, output=tmp_path / "shards", view=View(SIZE, (72, 128)), lane_width=6
    )
    assert shards["train"].slots == 6 and len(set(np.unique(shards["train"][0].label))) == 6


def test_without_test_and_validation_files_the_rest_is_read(root):
    (root / "test_set/test_label.json").unlink()
    (root / "train_set/label_data_0531.json").rename(root / "moved.json")
    found = ingest(root, SIZE, kind="tusimple")
    assert found.frames["split"].tolist() == ["train"]
    assert [note.file for note in found.notes] == ["label_data_0531.json", "test_label.json"]
    (root / "train_set/label_data_0313.json").unlink()
    with pytest.raises(LgadError, match=r"has no label_data_\*\.json"):
        ingest(root, SIZE, kind="tusimple")


def test_a_test_label_file_in_the_root_names_the_clips_of_the_test_set(root):
    (root / "test_set/test_label.json").rename(root / "test_label.json")
    found = ingest(root, SIZE, kind="tusimple")
    assert found.frames["frame"][2] == "test_set/clips/0530/1/20.jpg"
    assert found.rejected["file"].tolist()[2] == "test_label.json"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (line("../../outside.jpg", LEFT), "leads out of the data root"),
        (line("/../outside.jpg", LEFT), "has a part '..'"),
        (line("clips/a.txt", LEFT), "which does not end in .jpg"),
        ('{"lanes": []}', "no text in `raw_file`"),
        ("[1, 2]", "is not a JSON object"),
        ("{", "is not a JSON object"),
        ("[" * 100_000, "is not a JSON object"),
        ("\xff", "is not a JSON object"),
        (" " + "x" * (1 << 21), "is longer than"),
        (line("clips/0531/1/20.jpg", LEFT[:-1]), "does not have one x for each"),
        (line("clips/0531/1/20.jpg", [float("nan")] * 30), "finite numbers"),
        (line("clips/0531/1/20.jpg", [10**400] * 30), "finite numbers"),
        (line("clips/0531/1/20.jpg", [5000.0] * 30), "farther outside the frame"),
    ],
)
def test_only_a_bad_line_is_rejected(root, text, words):
    path = root / "train_set/label_data_0313.json"
    path.write_text(path.read_text() + text, encoding="latin-1")
    found = ingest(root, SIZE, kind="tusimple")
    rows = [row for row in found.rejected.itertuples() if row.line == 3]
    assert len(found.frames) == 3 and len(rows) == 1 and words in rows[0].reason


@given(
    st.binary(max_size=80)
    | st.dictionaries(
        st.sampled_from(["lanes", "h_samples"]),
        st.lists(
            st.lists(st.none() | st.floats() | st.integers() | st.text(max_size=2), max_size=3)
            | st.integers(),
            max_size=3,
        ),
    ).map(lambda content: json.dumps(content).encode())
)
def test_any_annotation_is_lanes_or_one_error(annotation):
    try:
        found = parse_annotation(annotation)
    except AnnotationError:
        return
    assert all(lane.ndim == 2 and lane.shape[1] == 2 and np.isfinite(lane).all() for lane in found)


def test_of_two_annotations_of_a_frame_the_last_counts_as_in_the_benchmark(root):
    path = root / "train_set/label_data_0313.json"
    path.write_text(path.read_text() + line("clips/0313/1/20.jpg", LEFT))
    found = ingest(root, SIZE, kind="tusimple")
    assert [len(lanes_of(value)) for value in found.frames["lanes"]] == [1, 5, 5]
    assert [(note.file, note.text) for note in found.notes] == [
        (
            "train_set/label_data_0313.json",
            "names 1 frame again, the first train_set/clips/0313/1/20.jpg in line 3; the last "
            "annotation of a frame counts, as in the benchmark",
        )
    ]


@pytest.mark.parametrize("prefix", ["", "/", "./", "\\"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("form", ["lines", "cr lf", "list", "pretty list"])
def test_label_files_of_windows_and_as_a_list(root, prefix, encoding, form):
    content = [json.loads(line(f"{prefix}clips\\0313\\1\\20.jpg", LEFT)), json.loads(line("clips/9/9.jpg"))]
    text = {
        "lines": "\n".join(map(json.dumps, content)),
        "cr lf": "\r\n".join(map(json.dumps, content)) + "\r\n",
        "list": json.dumps(content),
        "pretty list": json.dumps(content, indent=2),
    }[form]
    (root / "train_set/label_data_0313.json").write_bytes(text.encode(encoding))
    found = ingest(root, SIZE, kind="tusimple")
    assert found.frames["frame"][0] == "train_set/clips/0313/1/20.jpg"
    assert len(lanes_of(found.frames["lanes"][0])) == 1
    assert "train_set/clips/9/9.jpg, which does not exist" in found.rejected["reason"][0]


def test_a_fault_in_an_annotation_names_the_frame(root):
    (root / "train_set/label_data_0313.json").write_text(line("clips/0313/1/20.jpg", LEFT[:-1]))
    reason = ingest(root, SIZE, kind="tusimple").rejected["reason"][0]
    assert reason.startswith("train_set/clips/0313/1/20.jpg: a lane does not have one x for each")


@pytest.mark.parametrize("indent", [None, 1])
def test_label_files_of_other_programs(root, indent):
    path = root / "train_set/label_data_0313.json"
    objects = [json.loads(text) for text in path.read_text().splitlines()]
    objects[0]["raw_file"] = "D:\\TUSimple\\train_set\\clips\\0313\\1\\20.jpg"
    path.write_text("\n".join(json.dumps(each, indent=indent) for each in objects))
    found = ingest(root, SIZE, kind="tusimple")
    assert found.frames["frame"][0] == "train_set/clips/0313/1/20.jpg" and len(found.frames["lanes"][0]) == 5
    assert [reason[:6] for reason in found.rejected["reason"]] == 3 * ["names "]  # each 21.jpg


def test_a_folder_above_the_data_set_names_the_right_one(root):
    (root / "TUSimple").mkdir()
    for name in ("train_set", "test_set"):
        (root / name).rename(root / "TUSimple" / name)
    with pytest.raises(LgadError, match=rf"correct `root` to {root / 'TUSimple'}\.$"):
        ingest(root, SIZE, kind="tusimple")


@pytest.mark.parametrize("clip", ["clips/0313/1", "mon/clips/0313/1"])
def test_an_absolute_path_of_this_machine_names_the_frame(root, clip):
    write_frame(root / f"train_set/{clip}/20.jpg", 9)
    text = line(str(root / f"train_set/{clip}/20.jpg"), LEFT) + line("/other/clips/0531/1/20.jpg", LEFT)
    write_frame(root / "train_set/clips/0531/1/20.jpg", 10)
    (root / "train_set/label_data_0313.json").write_text(text)
    (root / "train_set/label_data_0531.json").unlink()
    found = ingest(root, SIZE, kind="tusimple")
    assert found.rejected["file"].tolist() == ["test_set/test_label.json"]  # 21.jpg
    assert set(found.frames["frame"]) >= {f"train_set/{clip}/20.jpg", "train_set/clips/0531/1/20.jpg"}


@pytest.mark.parametrize("separator", ["/", "\\"])
def test_a_folder_above_clips_is_part_of_the_path_where_the_frame_is_there(root, separator):
    write_frame(root / "train_set/mon/clips/0313/1/20.jpg", 9)
    mon = separator.join(["mon", "clips", "0313", "1", "20.jpg"])
    text = line("clips/0313/1/20.jpg", LEFT) + line(mon, LEFT, RIGHT)
    (root / "train_set/label_data_0313.json").write_text(text)
    found = ingest(root, SIZE, kind="tusimple").frames
    assert found[["frame", "split"]].values.tolist()[:2] == [
        ["train_set/clips/0313/1/20.jpg", "train"],
        ["train_set/mon/clips/0313/1/20.jpg", "train"],
    ]
    assert [len(lanes_of(lanes)) for lanes in found["lanes"][:2]] == [1, 2]
