"""Types of matched lanes, counted by hand."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from typer.testing import CliRunner

from assets.presentation.score_metadata import type_metadata
from lgad_pipeline.cli.main import app
from lgad_pipeline.data.frame_table import write_lane_files
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.evaluation.lane_type_scores import TypeScore, score_types
from lgad_pipeline.lanes.lane_files import write_lanes
from lgad_pipeline.lanes.lane_types import write_types

SIZE = (590, 1640)


def lane(x: float) -> np.ndarray:
    y = np.arange(580, 280, -10, dtype=np.float32)
    return np.stack([np.full_like(y, x), y], 1)


def write(root: Path, frame: str, lanes: dict[float, str]) -> None:
    write_lanes(root / f"{frame}.lines.txt", [lane(x) for x in lanes])
    write_types(root / f"{frame}.lines.txt", list(lanes.values()))


def folders(root: Path) -> tuple[Path, Path, list[str]]:
    anno, pred = root / "anno", root / "pred"
    # Matched: the first is right, the second wrong, the third not annotated; 1300 and 1500 match nothing.
    write(anno, "a", {200: "solid white", 500: "dashed white", 800: "", 1300: "solid"})
    write(pred, "a", {201: "solid", 501: "solid", 801: "dashed", 1500: "solid"})
    # In another order; two names fit the first.
    write(anno, "b", {300: "solid dashed", 900: "dashed yellow"})
    write(pred, "b", {902: "dashed", 302: "dashed"})
    write(anno, "c", {300: "solid"})
    write_lanes(pred / "c.lines.txt", [lane(300)])  # without types
    return anno, pred, ["a.jpg", "b.jpg", "c.jpg"]


def test_the_share_of_right_types_by_hand(tmp_path: Path) -> None:
    anno, pred, frames = folders(tmp_path)
    scores = evaluate_culane(anno, pred, lists={"all": frames, "a": frames[:1]}, frame_size=SIZE)
    names = ("solid", "dashed")
    score = score_types(anno, pred, scores, lane_types=names)
    assert score == TypeScore(right=2, known=3) and score.accuracy == 2 / 3
    # "dashed yellow" is a type of its own, so that "dashed" is wrong for it.
    names = ("solid", "dashed", "dashed yellow")
    assert score_types(anno, pred, scores, lane_types=names) == TypeScore(1, 3)
    # Without names, the words of "dashed" are in "solid dashed".
    assert score_types(anno, pred, scores) == TypeScore(3, 4)
    (pred / "b.types.txt").write_text("dashed\n")  # one line for two lanes
    score = score_types(anno, pred, scores)
    assert (score.right, score.known) == (1, 2)
    (unread,) = score.unread
    assert unread.startswith(f"b.jpg ({pred / 'b.types.txt'} ")


def test_matches_name_frame_lanes_and_iou_in_frames_of_several_sizes(tmp_path: Path) -> None:
    anno, pred, frames = folders(tmp_path)
    # Frame b has an image of another size, so that it is matched apart from a and c.
    assert cv2.imwrite(str(anno / "b.jpg"), np.zeros((600, 1650, 3), np.uint8))
    scores = evaluate_culane(anno, pred, lists={"all": frames}, frame_size=None)
    matches = scores.matches[scores.matches["iou"] > 0.5]
    # By hand: lanes of a in order, those of b crossed, 1 or 2 px apart at a width of 30 px.
    expected = [
        ("a.jpg", 0, 0),
        ("a.jpg", 1, 1),
        ("a.jpg", 2, 2),
        ("b.jpg", 0, 1),
        ("b.jpg", 1, 0),
        ("c.jpg", 0, 0),
    ]
    assert sorted(matches[["frame", "annotated", "predicted"]].itertuples(index=False, name=None)) == expected
    assert (matches["iou"] > 0.85).all() and scores.scores["total"][0.5].tp == len(expected)


def test_lgad_evaluate_says_it_where_types_are_known(tmp_path: Path) -> None:
    anno, pred, frames = folders(tmp_path)
    (tmp_path / "list.txt").write_text("\n".join(frames))
    arguments = ["evaluate", "--annotations", str(anno), "--predictions", str(pred)]
    arguments += ["--list", str(tmp_path / "list.txt"), "--json", str(tmp_path / "scores.json")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "the type is right for 3 of 4 matched lanes of known type" in " ".join(result.output.split())
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["about"]["types"] == {str(pred): {"right": 3, "known": 4}}
    (pred / "b.types.txt").write_text("dashed\n")  # one line for two lanes
    (pred / "a.types.txt").write_text("solid\n")  # one line for four
    output = " ".join(CliRunner().invoke(app, arguments).output.split())
    assert f"{pred}: the types of 2 frames cannot be read: a.jpg (" in output and ") and others." in output
    for file in pred.glob("*.types.txt"):
        file.unlink()
    assert "known type" not in CliRunner().invoke(app, arguments).output


def test_lane_files_of_a_table_have_the_annotated_types(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {
            "frame": ["a.jpg", "b.jpg"],
            "lanes": [[lane(100), lane(400)]] * 2,
            "lane_types": [["solid", ""], None],
        }
    )
    (tmp_path / "b.types.txt").write_text("of an earlier table")
    write_lane_files(table, tmp_path)
    assert (tmp_path / "a.types.txt").read_text() == "solid\n\n" and not (tmp_path / "b.types.txt").exists()


def test_the_page_of_the_scores_shows_them_where_they_are_known() -> None:
    shown = type_metadata({"student_lgad": TypeScore(right=2, known=4)})
    assert "| 4 | 2 | 0.500 |" in shown["types of lanes"].value and type_metadata({}) == {}
