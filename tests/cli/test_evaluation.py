import json
from pathlib import Path

import cv2
import pandas as pd
import pytest
from typer.testing import CliRunner

from lgad_pipeline.cli.main import app
from lgad_pipeline.errors import LgadError


def lgad(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_evaluate_finds_the_scenarios_and_writes_counts_and_frames(official: Path, tmp_path: Path):
    folder = official / "culane_eval"
    files = ("--json", tmp_path / "o.json", "--per-frame", tmp_path / "o.parquet")
    thresholds = ("--threshold", 0.5, "--threshold", 0.75)
    where = (
        "--annotations",
        folder / "anno",
        "--predictions",
        folder / "pred",
        "--list",
        folder / "list" / "test.txt",
    )
    output = lgad("evaluate", *where, *thresholds, *files, "--mf1")
    assert "test7_cross" in output and "mF1" in output
    expected = json.loads((folder / "expected.json").read_text())
    content = json.loads((tmp_path / "o.json").read_text())
    for name in ("test0_normal", "test7_cross", "all"):
        for threshold in ("0.5", "0.75"):
            found = content["total" if name == "all" else name][threshold]
            assert {kind: found[kind] for kind in ("tp", "fp", "fn")} == expected[name][threshold]
    assert content["total"]["0.5"]["f1_interval"][0] < content["total"]["0.5"]["f1"]
    frames = pd.read_parquet(tmp_path / "o.parquet")
    assert len(frames) == 300 and frames["tp_0.5"].sum() == expected["all"]["0.5"]["tp"]
    assert set(frames["list"]) == set(expected) - {"all"}


def test_two_prediction_folders_are_compared(official: Path, tmp_path: Path):
    folder = official / "culane_eval"
    where = ("--annotations", folder / "anno", "--list", folder / "list" / "test_split" / "test0_normal.txt")
    output = lgad(
        "evaluate",
        *where,
        "--predictions",
        folder / "pred",
        "--predictions",
        folder / "anno",
        "--json",
        tmp_path / "o",
    )
    assert "less the first" in output
    content = json.loads((tmp_path / "o").read_text())
    gain = (
        content[str(folder / "anno")]["total"]["0.5"]["f1"]
        - content[str(folder / "pred")]["total"]["0.5"]["f1"]
    )
    assert content["difference"]["0.5"]["f1"] == pytest.approx(gain)


def test_rasterize_writes_label_maps_and_their_list(official: Path, tmp_path: Path):
    anno = official / "culane_eval" / "anno"
    (tmp_path / "train.txt").write_text("/d/00000.jpg\nd/00001.jpg\n/d/none.jpg\n")
    lgad(
        "rasterize",
        "--annotations",
        anno,
        "--list",
        tmp_path / "train.txt",
        "--output",
        tmp_path,
        "--width",
        8,
    )
    lines = (tmp_path / "list" / "train_gt.txt").read_text().splitlines()
    assert [line.split()[:2] for line in lines][1] == ["/d/00001.jpg", "/laneseg_label_w8/d/00001.png"]
    assert lines[2].endswith("none.png 0 0 0 0")
    for line in lines:
        _, label, *flags = line.split()
        picture = cv2.imread(str(tmp_path / label.lstrip("/")), cv2.IMREAD_UNCHANGED)
        assert picture is not None and picture.shape == (590, 1640)
        assert [int((picture == slot).any()) for slot in range(1, 5)] == [int(flag) for flag in flags]


def test_rasterize_does_not_hide_frames_of_a_data_set(tmp_path: Path):
    (tmp_path / "list").mkdir()
    for name in "abc":
        (tmp_path / f"{name}.lines.txt").write_text("300 590 700 300\n")
    (tmp_path / "list/train.txt").write_text("/a.jpg\n/b.jpg\n/c.jpg\n")
    (tmp_path / "few.txt").write_text("a.jpg\n")
    where = ("rasterize", "--annotations", tmp_path, "--output", tmp_path, "--list")
    with pytest.raises(
        LgadError, match=r"train_gt\.txt would be read instead of .*, which names 2 frames that"
    ):
        lgad(*where, tmp_path / "few.txt")
    assert [path.name for path in tmp_path.glob("*/*")] == ["train.txt"]
    lgad(*where, tmp_path / "list/train.txt")
    assert len((tmp_path / "list/train_gt.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("name", "split"), [("valid", "val"), ("Test0_normal", "test"), ("train_val", "train"), ("few", "train")]
)
def test_rasterize_names_its_list_after_the_split(tmp_path: Path, name: str, split: str):
    (tmp_path / "a.lines.txt").write_text("300 590 700 300\n")
    (tmp_path / f"{name}.txt").write_text("a.jpg\n")
    where = ("--annotations", tmp_path, "--list", tmp_path / f"{name}.txt", "--output", tmp_path / "out")
    lgad("rasterize", *where)
    assert [path.name for path in (tmp_path / "out/list").iterdir()] == [f"{split}_gt.txt"]


def test_rasterize_takes_one_list(tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/a.lines.txt").write_text("700 590 750 300\n")
    (tmp_path / "list").mkdir()
    for name in ("train", "val"):
        (tmp_path / f"list/{name}.txt").write_text("d/a.jpg\n")
    words = [
        "rasterize",
        "--annotations",
        tmp_path,
        "--list",
        tmp_path / "list",
        "--output",
        tmp_path / "out",
    ]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 1 and "is a folder; give one list of frames" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_evaluate_tusimple_writes_its_figures(official: Path, tmp_path: Path):
    folder = official / "tusimple_eval"
    lgad(
        "evaluate-tusimple",
        "--annotations",
        folder / "gt.json",
        "--predictions",
        folder / "pred.json",
        "--json",
        tmp_path / "o",
    )
    assert set(json.loads((tmp_path / "o").read_text())) >= {"accuracy", "fp", "fn"}


def test_frames_without_a_lane_file_are_named(tmp_path: Path):
    for frame in ("Drive/0", "Drive/1", *(f"empty/{number}" for number in range(7))):
        for folder in ("anno", "pred"):
            path = tmp_path / folder / f"{frame}.lines.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("100 500 120 400 140 300\n")
    (tmp_path / "anno/Drive/1.lines.txt").unlink()
    lines = ["Drive/0.jpg", "Drive/1.jpg", "drive/0.JPG", "hello", "# of May"]
    (tmp_path / "list.txt").write_text("\n".join(lines))
    where = ("--annotations", tmp_path / "anno", "--list", tmp_path / "list.txt")
    output = lgad("evaluate", *where, "--predictions", tmp_path / "pred", "--json", tmp_path / "o.json")
    hint = "drive/0.JPG (there is Drive/0.lines.txt; write the list in the case of the files)"
    expected = [
        f"3 frames have no lane file in {tmp_path / 'anno'} and count as without lanes: Drive/1.jpg, {hint}, "
        "hello.",
        f"2 frames have no lane file in {tmp_path / 'pred'} and count as without lanes: {hint}, hello.",
    ]
    assert [line for line in output.splitlines() if "no lane file" in line] == [
        f"note: {line}" for line in expected
    ]
    assert json.loads((tmp_path / "o.json").read_text())["about"]["notes"][1:3] == expected
    assert "'# of May' names no file; a list has no comments, take the line out" in output
    shown = lgad("rasterize", *where, "--output", tmp_path / "maps")
    assert expected[0] in shown
    (tmp_path / "list.txt").write_text(
        "\n".join(["Drive/0.jpg", *(f"gone/{number}.jpg" for number in range(7))])
    )
    output = lgad("evaluate", *where, "--predictions", tmp_path / "pred")
    assert "7 frames have no lane file" in output and "gone/4.jpg and 2 more." in output


def test_mistakes_are_one_sentence(official: Path, tmp_path: Path):
    folder = official / "culane_eval"
    where = ["evaluate", "--annotations", folder / "anno", "--predictions", folder / "pred"]
    for words, says in (
        ([], "give the frames to evaluate with --list"),
        (["--list", tmp_path], "holds no list"),
        (["--list", folder / "list" / "test.txt", "--threshold", 2], "must be 0 or more and below 1"),
        (["--list", folder / "list" / "test.txt", "--threshold", 1], "below 1, which no IoU exceeds"),
    ):
        with pytest.raises(LgadError, match=says):
            lgad(*where, *words)


def test_an_output_never_replaces_an_input(official: Path, tmp_path: Path):
    (tmp_path / "frames.txt").write_text("d/00000.jpg\n")
    (tmp_path / "truth.json").write_text('{"raw_file": "0.jpg", "lanes": [[1]], "h_samples": [1]}\n')
    (tmp_path / "guess.json").symlink_to(tmp_path / "truth.json")
    anno, frames = official / "culane_eval" / "anno", tmp_path / "frames.txt"
    where = ("evaluate", "--annotations", anno, "--predictions", anno, "--list", frames)
    truth = tmp_path / "truth.json"
    tusimple = ("evaluate-tusimple", "--annotations", truth, "--predictions", truth)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(LgadError, match=r"frames\.txt is read by this command and would be replaced"):
        lgad(*where, "--json", frames)
    with pytest.raises(LgadError, match=r"frames\.txt is read by this command and would be replaced"):
        lgad(*where, "--per-frame", frames)
    with pytest.raises(LgadError, match=r"guess\.json is read by this command and would be replaced"):
        lgad(*tusimple, "--json", tmp_path / "guess.json")
    (tmp_path / "0.lines.txt").write_text("1 2 3 4\n")
    with pytest.raises(LgadError, match="may be a list, lane file or image"):
        lgad(*where, "--json", tmp_path / "0.lines.txt")
    assert before == {path: path.read_bytes() for path in before}


def test_an_output_never_replaces_a_file_of_the_user(official: Path, tmp_path: Path):
    (tmp_path / "frames.txt").write_text("d/00000.jpg\n")
    anno = official / "culane_eval" / "anno"
    other = tmp_path / "label_data_0313.json"
    other.write_text('{"raw_file": "0.jpg", "lanes": [[1]], "h_samples": [1]}\n')
    (tmp_path / "lgad.yaml").write_text("datasets: {}\n")
    (tmp_path / "drawn.json").write_text('{"version": "5.4.1", "shapes": []}')
    pd.DataFrame({"frame": ["0.jpg"]}).to_parquet(tmp_path / "mine.parquet")
    task = tmp_path / "task.json"
    task.write_text('{"raw_file": "0.jpg", "h_samples": [1]}')
    where = ("evaluate", "--annotations", anno, "--predictions", anno, "--list", tmp_path / "frames.txt")
    export = ("export-tusimple", "--annotations", task, "--predictions", tmp_path, "--output")
    tusimple = ("evaluate-tusimple", "--annotations", task, "--predictions", task)
    llamas = ("evaluate-llamas", "--annotations", tmp_path, "--predictions", tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for words in (
        (*where, "--json", tmp_path / "lgad.yaml"),
        (*where, "--json", tmp_path / "drawn.json"),
        (*where, "--per-frame", tmp_path / "mine.parquet"),
        (*where, "--per-frame", other),
        (*tusimple, "--json", other),
        (*llamas, "--json", tmp_path / "drawn.json"),
        (*export, other),
    ):
        with pytest.raises(LgadError, match="exists and holds something else than this command writes"):
            lgad(*words)
    assert before == {path: path.read_bytes() for path in before}


def test_an_output_of_the_same_command_is_replaced(official: Path, tmp_path: Path):
    anno = official / "culane_eval" / "anno"
    (tmp_path / "frames.txt").write_text("d/00000.jpg\n")
    (tmp_path / "0.lines.txt").write_text("5 1 5 2\n")
    truth = tmp_path / "truth.json"
    truth.write_text('{"raw_file": "0.jpg", "lanes": [[5, 5]], "h_samples": [1, 2]}\n')
    scores, rows, lines = (tmp_path / name for name in ("scores.json", "frames.parquet", "lines.json"))
    figures = tmp_path / "figures.json"
    figures.touch()  # an empty file has nothing to lose
    for _ in range(2):
        lgad(
            "evaluate",
            "--annotations",
            anno,
            "--predictions",
            anno,
            "--list",
            tmp_path / "frames.txt",
            "--json",
            scores,
            "--per-frame",
            rows,
        )
        lgad("export-tusimple", "--annotations", truth, "--predictions", tmp_path, "--output", lines)
        lgad("evaluate-tusimple", "--annotations", truth, "--predictions", lines, "--json", figures)
    assert json.loads(figures.read_text())["accuracy"] == 1
