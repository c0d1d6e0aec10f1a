import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import MEAN_F1_THRESHOLDS, evaluate_culane
from lgad_pipeline.evaluation.frame_lanes import FrameLanes
from lgad_pipeline.evaluation.lane_matching import true_positives
from lgad_pipeline.evaluation.types import Counts
from lgad_pipeline.lanes.frame_list import read_frame_list
from lgad_pipeline.lanes.lane_files import write_lanes

IN_FRAME = (60, 160)


def some_lanes(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    return [
        np.stack(
            [rng.uniform(-10, 170) + rng.uniform(-9, 9) * np.arange(7), np.linspace(60, 5, 7)], axis=1
        ).astype(np.float32)
        for _ in range(count)
    ]


def some_frames(seed: int) -> list[tuple[list[np.ndarray], list[np.ndarray]]]:
    rng = np.random.default_rng(seed)
    frames = []
    for _ in range(4):
        annotated = some_lanes(rng, int(rng.integers(0, 4)))
        predicted = [lane + rng.normal(0, 2, 2).astype(np.float32) for lane in annotated[1:]]
        frames.append((annotated, predicted + some_lanes(rng, int(rng.integers(0, 2)))))
    return frames


def count(frames) -> np.ndarray:
    sides = (FrameLanes.of(lanes) for lanes in zip(*frames, strict=True))
    return true_positives(*sides, thresholds=(0.3, 0.5), frame_size=IN_FRAME, lane_width=8)


@pytest.mark.parametrize("name", ["culane_eval", "culane_eval_odd"])
def test_counts_are_the_official_tools(official: Path, name: str):
    folder = official / name
    expected = json.loads((folder / "expected.json").read_text())
    lists = {
        "all" if path.stem == "test" else path.stem: read_frame_list(path, folder).frames
        for path in folder.rglob("list/**/*.txt")
    }
    thresholds = sorted(
        {float(threshold) for by_threshold in expected.values() for threshold in by_threshold}
    )
    found = evaluate_culane(folder / "anno", folder / "pred", lists=lists, thresholds=thresholds)
    for list_name, by_threshold in expected.items():
        for threshold, counts in by_threshold.items():
            assert found.scores[list_name][float(threshold)] == Counts(**counts), (list_name, threshold)
    assert found.scores["total"] == found.scores.get("all", found.scores["total"])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_order_of_frames_and_parts_do_not_matter(seed: int, random):
    frames = some_frames(seed)
    whole = count(frames)
    order = list(range(len(frames)))
    random.shuffle(order)
    assert np.array_equal(count([frames[i] for i in order]), whole[order])
    assert np.array_equal(np.concatenate([count(frames[:1]), count(frames[1:])]), whole)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.randoms(use_true_random=False))
def test_the_order_of_lanes_does_not_matter(seed: int, random):
    # Lanes far from each other: near ones may match differently within the official slack.
    rng = np.random.default_rng(seed)
    annotated = [np.array([[x, 60], [x + 4, 30], [x, 5]], np.float32) for x in (10, 50, 90, 130)]
    predicted = [lane + rng.normal(0, 3, 2).astype(np.float32) for lane in annotated[:3]]
    shuffled = random.sample(annotated, 4), random.sample(predicted, 3)
    assert np.array_equal(count([(annotated, predicted)]), count([shuffled]))


def test_precision_recall_and_f1_by_hand():
    counts = Counts(6, 2, 4) + Counts(0, 1, 0)
    assert (counts.precision, counts.recall) == (6 / 9, 0.6)
    assert counts.f1 == pytest.approx(2 * (6 / 9) * 0.6 / (6 / 9 + 0.6))
    assert Counts(0, 93, 0).f1 == Counts().f1 == 0


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    lane = np.array([[500, 590], [600, 400], [700, 300]], np.float32)
    for folder in ("anno", "pred"):
        for frame in ("a", "b"):
            write_lanes(tmp_path / folder / f"{frame}.lines.txt", [lane])
    return tmp_path / "anno", tmp_path / "pred"


def test_frames_lists_and_total(folders: tuple[Path, Path]):
    (folders[1] / "b.lines.txt").unlink()
    found = evaluate_culane(
        *folders, lists={"one": ["a.jpg", "b.jpg"], "two": ["b.jpg", "b.jpg"]}, thresholds=MEAN_F1_THRESHOLDS
    )
    assert found.scores["one"][0.5] == Counts(1, 0, 1)
    assert found.scores["two"][0.5] == Counts(0, 0, 2)
    assert found.scores["total"][0.5] == Counts(1, 0, 1)
    assert (found.without_annotation, found.without_prediction) == ((), ("b.jpg",))
    assert found.mean_f1("one") == pytest.approx(2 / 3)
    assert found.frames[["list", "frame", "annotated", "predicted", "tp_0.5", "fn_0.5"]].values.tolist() == [
        ["one", "a.jpg", 1, 1, 1, 0],
        ["one", "b.jpg", 1, 0, 0, 1],
        ["two", "b.jpg", 1, 0, 0, 1],
        ["two", "b.jpg", 1, 0, 0, 1],
    ]


@pytest.mark.parametrize("line", ["1 2 x 4", "1 2 3", "1 nan 3 4", "1e9 2 3 4", "1 590 2 580 2 580 3 570"])
def test_bad_lines_count_as_lanes_that_match_nothing(folders: tuple[Path, Path], line: str):
    path = folders[1] / "b.lines.txt"
    path.write_text(path.read_text() + line + "\n")
    found = evaluate_culane(*folders, lists={"one": ["a.jpg", "b.jpg"]})
    assert found.scores["one"][0.5] == Counts(2, 1, 0)
    assert [(fault.file, fault.line) for fault in found.rejected] == [(str(path), 2)]
    with pytest.raises(LgadError, match=r"b\.lines\.txt, line 2: "):
        evaluate_culane(*folders, lists={"one": ["a.jpg", "b.jpg"]}, strict=True)


def test_equal_lanes_of_a_frame_are_pointed_out_and_count_as_in_the_official_tool(folders: tuple[Path, Path]):
    anno, pred = folders
    for path in (anno / "a.lines.txt", pred / "a.lines.txt", pred / "b.lines.txt"):
        first = path.read_text().splitlines()[0]
        path.write_text(f"{first}\n\n{first}\n\n")  # empty lines are not copies of each other
    found = evaluate_culane(anno, pred, lists={"all": ["a.jpg", "b.jpg"]})
    equal = "equal to another lane of the same frame; remove the"
    assert [note for note in found.notes if "equal" in note] == [
        f"1 annotated lane is {equal} copy, since every lane counts.",
        f"2 predicted lanes are {equal} copies, since every lane counts.",
    ]


def test_lanes_of_one_point_and_marks_of_absent_points_are_pointed_out(folders: tuple[Path, Path]):
    anno, pred = folders
    (pred / "a.lines.txt").write_text("-2 580 -2 570 400 560 404 550\n300 500\n-2 580 10 570 22 560\n")
    assert evaluate_culane(anno, pred, lists={"all": ["a.jpg"]}).notes[-2:] == [
        "1 predicted lane has a single point and no length; give at least two points.",
        "1 predicted lane has two points or more at one x of 0 or less, as programs mark absent points, "
        "which count as points here; leave these points out.",
    ]


@pytest.mark.parametrize("numbers", ["1 0.98", "0 0", "-1 -1"])
def test_numbers_after_the_points_are_pointed_out(folders: tuple[Path, Path], numbers: str):
    anno, pred = folders
    points = "500 590 520 560 540 530 560 500 "  # 36 px apart; (560, 500) is 750 px from (0, 0)
    (anno / "a.lines.txt").write_text(points)
    (pred / "a.lines.txt").write_text(points + numbers)
    found = evaluate_culane(anno, pred, lists={"all": ["a.jpg"]})
    assert found.scores["all"][0.5] == Counts(0, 1, 1)
    assert found.notes == [
        "1 predicted lane has an end near (0, 0), far from the other points, as where a class number and a "
        "score, or a mark of an absent point, are read as a point; leave these numbers out."
    ]


def test_frames_that_share_a_lane_file_are_pointed_out(folders: tuple[Path, Path]):
    anno, pred = folders
    (pred / "a.lines.txt").rename(pred / "a.jpg.lines.txt")
    write_lanes(pred / "a.png.lines.txt", [])
    found = evaluate_culane(anno, pred, lists={"all": ["a.jpg", "a.png", "b.jpg"]})
    assert found.scores["all"][0.5] == Counts(2, 0, 1)
    assert [note for note in found.notes if "share a lane" in note] == [
        f"2 frames share a lane file in {anno} with another frame: a.jpg and a.png have a.lines.txt; give "
        "each its own, such as a.jpg.lines.txt."
    ]
    (anno / "a.lines.txt").rename(anno / "a.jpg.lines.txt")  # a.png has none, then
    found = evaluate_culane(anno, pred, lists={"all": ["a.jpg", "a.png", "b.jpg"]})
    assert found.without_annotation == ("a.png",) and not any("share a lane" in note for note in found.notes)


def test_blank_lines_are_pointed_out_apart_from_rejected_ones(folders: tuple[Path, Path]):
    anno, pred = folders
    path = pred / "a.lines.txt"
    path.write_text(path.read_text() + "\n\nx\n")
    found = evaluate_culane(anno, pred, lists={"all": ["a.jpg"]})
    assert found.scores["all"][0.5] == Counts(1, 3, 0) and len(found.rejected) == 1
    blank = "2 predicted lanes are blank lines without points, and each counts as a lane that matches nothing"
    assert [note for note in found.notes if "blank" in note] == [f"{blank}; take these lines out."]


def test_a_wrong_folder_is_an_error_and_not_an_f1_of_zero(folders: tuple[Path, Path], tmp_path: Path):
    (tmp_path / "other").mkdir()
    with pytest.raises(LgadError, match=r"other holds no lane file of the 1 frame"):
        evaluate_culane(folders[0], tmp_path / "other", lists={"one": ["a.jpg"]})
    with pytest.raises(LgadError, match=r"nowhere does not exist"):
        evaluate_culane(folders[0], tmp_path / "nowhere", lists={"one": ["a.jpg"]})
    with pytest.raises(LgadError, match="name no frame"):
        evaluate_culane(*folders, lists={"one": []})
