"""`lgad predict` with the folders, frames and lists that people have."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unicodedata import normalize

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lgad_pipeline.cli import inference
from lgad_pipeline.cli.main import app
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.evaluation.culane import evaluate_culane
from lgad_pipeline.inference.input_frames import distortion
from lgad_pipeline.inference.prediction_folder import PredictionFolder, model_fingerprint
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.lanes.lane_files import read_lanes
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View

VIEW = View((48, 96), (16, 32), 0)


def predict(source: Path, *arguments: Any, **options: Any) -> None:
    """Call the command, whose source is a text on the command line."""
    inference.predict(str(source), *arguments, **options)


def trained(folder: Path, seed: int) -> Path:
    """A network that finds lanes everywhere: random weights, thresholds at zero."""
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25)
    torch.manual_seed(seed)
    save_network(folder, build_network(spec), spec=spec)
    write_predictor(folder, VIEW, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0))
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("trained") / "one", 0)


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("trained") / "two", 1)


def jpeg(height: int = 48, width: int = 96, grey: int = 90) -> bytes:
    frame = np.full((height, width, 3), grey, np.uint8)
    frame[:, width // 3 : width // 2] = 250
    return cv2.imencode(".jpg", frame)[1].tobytes()


def put(folder: Path, **files: bytes) -> Path:
    folder.mkdir(exist_ok=True)
    for name, data in files.items():
        (folder / name.replace("__", ".")).write_bytes(data)
    return folder


def below(folder: Path) -> list[str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return sorted(path.relative_to(folder).as_posix() for path in files)


def test_a_bad_frame_is_counted_by_its_reason_and_stops_no_other(tmp_path, model, capsys) -> None:
    cut = jpeg()[:-60]
    frames = put(
        tmp_path / "in",
        cut__jpg=cut,
        cut2__jpg=cut,
        good__jpg=jpeg(),
        text__jpg=b"no",
        b__bmp=b"BM",
        c__jfif=jpeg(),
    )
    (frames / "gone.jpg").symlink_to("nowhere.jpg")
    (frames / f"{'n' * 240}.jpg").write_bytes(jpeg())
    (frames / "clip").symlink_to(put(tmp_path / "elsewhere", more__jpg=jpeg()))
    put(frames / ".thumbnails", small__jpg=jpeg())
    predict(frames, model, tmp_path / "out", pictures=True)
    assert below(tmp_path / "out") == ["good.lanes.jpg", "good.lines.txt", "predictions.jsonl"]
    printed = capsys.readouterr()
    assert printed.out == f"1 lane file below {tmp_path / 'out'}, 4 lanes in it\n"
    assert "rejected: cut.jpg and 1 more: is cut off before its end" in printed.err
    assert "rejected: text.jpg: is neither a JPEG nor a PNG image" in printed.err
    assert "rejected: b.bmp: is a .bmp image; convert it to JPEG or PNG." in printed.err
    assert "rejected: c.jfif: is a .jfif image; convert it to JPEG or PNG." in printed.err
    assert "rejected: gone.jpg: cannot be read (No such file or directory); correct the path" in printed.err
    assert "n.jpg: has a name of more than 220 bytes; rename the file." in printed.err
    assert "rejected: clip: is a link to a folder; predict it by itself." in printed.err


def test_frames_of_any_size_give_lanes_in_their_own_pixels(tmp_path, model, capsys) -> None:
    frames = put(tmp_path / "in", same__jpg=jpeg(), twice__jpg=jpeg(96, 192), hd__jpg=jpeg(90, 120))
    predict(frames, model, tmp_path / "out")
    [same, twice, hd] = [
        np.concatenate(read_lanes(tmp_path / "out" / f"{name}.lines.txt")) for name in ("same", "twice", "hd")
    ]
    assert 40 < same[:, 1].max() <= 48 < 88 < twice[:, 1].max() <= 96
    assert hd[:, 1].max() == 90 and hd[:, 0].max() < 120
    printed = capsys.readouterr().err
    assert "1 frame: Frames of 120 x 90 px have another aspect ratio than the training's 96 x 48" in printed
    assert "192" not in printed


def test_the_aspect_ratio_is_compared() -> None:
    culane = View((590, 1640), (288, 800), 240)
    assert distortion((295, 820), culane) is None
    assert "1280 x 720" in str(distortion((720, 1280), culane))  # 1.78 against 2.78
    assert "400 x 100" in str(distortion((100, 400), culane))


def test_a_single_frame_and_what_is_none(tmp_path, model) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg(), b__jpg=jpeg(), drive__avi=b"RIFF")
    predict(frames / "a.jpg", model, tmp_path / "out")
    assert below(tmp_path / "out") == ["a.lines.txt", "predictions.jsonl"]
    with pytest.raises(LgadError, match=r"drive\.avi cannot be read as a video; convert it: ffmpeg"):
        predict(frames / "drive.avi", model, tmp_path / "out")
    with pytest.raises(LgadError, match="nowhere does not exist"):
        predict(tmp_path / "nowhere", model, tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LgadError, match="holds no JPEG or PNG frames"):
        predict(tmp_path / "empty", model, tmp_path / "out")


def test_a_frame_is_turned_as_its_exif_orientation_says(tmp_path, model) -> None:
    plain = jpeg(96, 48)  # stored upright, shown lying: 48 rows of 96
    tag = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00"
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + tag + b"\0\0\0\0"
    turned = plain[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + plain[2:]
    stored = cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR)
    assert stored is not None
    shown = cv2.rotate(stored, cv2.ROTATE_90_CLOCKWISE)
    frames = put(tmp_path / "in", exif__jpg=turned, png__png=cv2.imencode(".png", shown)[1].tobytes())
    predict(frames, model, tmp_path / "out")
    assert (tmp_path / "out/exif.lines.txt").read_text() == (tmp_path / "out/png.lines.txt").read_text() != ""


def test_annotations_are_overwritten_only_with_the_option(tmp_path, model) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg(), b__jpg=jpeg(), a__lines__txt=b"1 2 3 4 \n")
    with pytest.raises(
        LgadError, match=r"1 file that lgad predict did not write .* a\.lines\.txt .*annotations"
    ):
        predict(frames, model, frames)
    assert (frames / "a.lines.txt").read_text() == "1 2 3 4 \n" and len(below(frames)) == 3
    predict(frames, model, frames, overwrite=True)
    assert (frames / "a.lines.txt").read_text() != "1 2 3 4 \n"
    predict(frames, model, frames)


def test_files_of_others_in_the_output_are_refused(tmp_path, model) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg())
    put(tmp_path / "thesis", chapter__tex=b"x", DS_Store=b"")
    (tmp_path / "thesis/loop.png").symlink_to("loop.png")
    with pytest.raises(LgadError, match=r"thesis holds .* such as .*; name another output folder"):
        predict(frames, model, tmp_path / "thesis")
    put(tmp_path / "journal", predictions__jsonl=b"my own notes\nand more\n")
    with pytest.raises(LgadError, match=r"predictions\.jsonl is not a journal"):
        predict(frames, model, tmp_path / "journal")
    put(frames, a__lanes__jpg=jpeg())  # a frame of this name that the command did not draw
    with pytest.raises(LgadError, match=r"such as a\.lanes\.jpg"):
        predict(frames / "a.jpg", model, frames, pictures=True)
    with pytest.raises(LgadError, match="is a file; name a folder"):
        predict(frames, model, frames / "a.jpg")


@pytest.mark.parametrize("output", [".", "found"])
def test_its_own_pictures_are_no_frames(tmp_path, model, output: str) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg(), b__lanes__jpg=jpeg())
    predict(frames, model, frames / output, pictures=True)
    once = below(frames)
    predict(frames, model, frames / output, pictures=True)
    assert below(frames) == once
    predict(frames, model, tmp_path / "elsewhere")
    assert below(tmp_path / "elsewhere") == ["a.lines.txt", "b.lanes.lines.txt", "predictions.jsonl"]


def test_the_same_model_adds_and_another_one_replaces(tmp_path, model, other_model, capsys) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg(), b__jpg=jpeg())
    out = tmp_path / "out"
    predict(frames / "a.jpg", model, out)
    predict(frames / "b.jpg", model, out)
    first = (out / "b.lines.txt").read_text()
    assert below(out) == ["a.lines.txt", "b.lines.txt", "predictions.jsonl"]
    predict(frames / "b.jpg", other_model, out)
    assert below(out) == ["b.lines.txt", "predictions.jsonl"]
    assert (out / "b.lines.txt").read_text() != first
    assert "1 files that another model had written removed" in capsys.readouterr().err
    (out / "b.lines.txt").write_text("5 6 7 8 \n")  # corrected by hand: an annotation now
    with pytest.raises(LgadError, match=r"changed since, such as b\.lines\.txt"):
        predict(frames / "b.jpg", model, out)


def test_files_that_were_changed_since_are_kept(tmp_path, model, other_model, capsys) -> None:
    names = ("a__jpg", "b__jpg", "c__jpg")
    frames, out = put(tmp_path / "in", **dict.fromkeys(names, jpeg())), tmp_path / "out"
    predict(frames, model, out, pictures=True, json_lines=True)
    for changed in ("a.lanes.jpg", "b.lines.txt", "frames.lanes.jsonl"):
        (out / changed).write_text("5 6 7 8 \n")
    predict(frames / "c.jpg", other_model, out, overwrite=True)
    kept = ["a.lanes.jpg", "b.lines.txt", "frames.lanes.jsonl"]
    assert below(out) == [*kept[:2], "c.lines.txt", kept[2], "predictions.jsonl"]
    assert {(out / name).read_text() for name in kept} == {"5 6 7 8 \n"}
    assert "3 files that another model had written removed" in capsys.readouterr().err


def test_types_that_were_changed_since_are_refused(tmp_path) -> None:
    frames, out = put(tmp_path / "in", a__jpg=jpeg()), tmp_path / "out"
    with PredictionFolder(out, "one", frames=frames) as results:
        results.choose_names(["a.jpg"], [".lines.txt", ".types.txt"])
        results.write("a.jpg", b"1 2 3 4 \n", types=b"solid\n")
        results.finish()
    (out / "a.types.txt").write_text("dashed\n")
    with pytest.raises(LgadError, match=r"changed since, such as a\.types\.txt; name another output folder"):
        PredictionFolder(out, "two", frames=frames)


def test_the_earlier_results_of_a_rejected_frame_are_removed(tmp_path, model, capsys) -> None:
    frames, out = put(tmp_path / "in", a__jpg=jpeg(), b__jpg=jpeg()), tmp_path / "out"
    predict(frames, model, out, pictures=True)
    (frames / "a.jpg").write_bytes(jpeg()[:-60])
    capsys.readouterr()
    predict(frames, model, out)
    assert below(out) == ["b.lanes.jpg", "b.lines.txt", "predictions.jsonl"]
    assert f"2 earlier results of rejected frames removed from {out}, such as a.l" in capsys.readouterr().err
    (frames / "b.jpg").write_bytes(b"no picture")
    with pytest.raises(
        LgadError, match=r"No lane file was written.*\(2 frames\), and .*out keeps its earlier"
    ):
        predict(frames, model, out)
    assert below(out) == ["b.lanes.jpg", "b.lines.txt", "predictions.jsonl"]


def test_the_files_of_a_killed_run_are_known(tmp_path, model) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg(), b__jpg=jpeg())
    predict(frames, model, tmp_path / "out")
    journal = tmp_path / "out/predictions.jsonl"
    journal.write_text(journal.read_text() + '{"file": "c.lines.t')
    predict(frames, model, tmp_path / "out")
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [entry["file"] for entry in entries] == ["a.lines.txt", "b.lines.txt"]


def test_a_run_that_was_killed_between_journal_and_file_is_continued(tmp_path, model) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg(), b__jpg=jpeg())
    predict(frames, model, tmp_path / "out")
    journal = tmp_path / "out/predictions.jsonl"
    first = json.loads(journal.read_text().splitlines()[0])
    for number in (1, 2):  # each of two runs is killed before it has replaced the file
        with journal.open("a") as stream:
            stream.write(json.dumps(first | {"digest": f"{number:032x}"}) + "\n")
        killed = PredictionFolder(tmp_path / "out", model_fingerprint(model), frames=frames)
        with killed:
            killed._in_use.close()
    predict(frames, model, tmp_path / "out")
    assert len(journal.read_text().splitlines()) == 2
    (tmp_path / "out/a.lines.txt").write_text("1 2 3 4\n")  # corrected by hand
    with pytest.raises(LgadError, match="did not write or that changed since"):
        predict(frames, model, tmp_path / "out")


def test_a_folder_that_another_process_writes_is_refused(tmp_path, model) -> None:
    frames = put(tmp_path / "frames", a__jpg=jpeg())
    running = PredictionFolder(tmp_path / "out", model_fingerprint(model), frames=frames)
    with ThreadPoolExecutor(1) as pool:  # the lock belongs to a thread
        error = pool.submit(predict, frames, model, tmp_path / "out").exception()
    assert str(error) == (
        f"{tmp_path / 'out'} is in use by another process; wait until it has ended, or name another folder."
    )
    with running:
        assert running.finish() == 0
    assert not (tmp_path / "out").exists()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(predict, frames, model, tmp_path / "out").result()
    assert below(tmp_path / "out") == ["a.lines.txt", "predictions.jsonl"]


def test_a_journal_from_elsewhere_removes_nothing_outside(tmp_path, model, other_model) -> None:
    frames = put(tmp_path / "in", a__jpg=jpeg())
    predict(frames, model, tmp_path / "out")
    (tmp_path / "victim.lines.txt").touch()
    journal = tmp_path / "out/predictions.jsonl"
    entry = json.loads(journal.read_text())
    hostile = entry | {"file": "../victim.lines.txt", "stem": "../victim"}
    journal.write_text(json.dumps(hostile) + "\n" + json.dumps(entry) + "\n")
    with pytest.raises(LgadError, match="is not a journal"):
        predict(frames, other_model, tmp_path / "out")
    assert (tmp_path / "victim.lines.txt").exists()


def test_frames_that_differ_in_their_ending_alone_both_get_their_result(tmp_path, model) -> None:
    png = cv2.imencode(".png", np.full((96, 192, 3), 200, np.uint8))[1].tobytes()
    frames = put(tmp_path / "in", a__jpg=jpeg(), a__png=png, c__jpg=jpeg())
    out = tmp_path / "out"
    predict(frames, model, out)
    assert below(out) == ["a.jpg.lines.txt", "a.png.lines.txt", "c.lines.txt", "predictions.jsonl"]
    put(tmp_path / "truth")
    for name in ("a.jpg", "a.png", "c"):  # the annotation is what was found: all lanes match
        (tmp_path / "truth" / f"{name}.lines.txt").write_bytes((out / f"{name}.lines.txt").read_bytes())
    scores = evaluate_culane(
        tmp_path / "truth",
        out,
        lists={"test": ["a.jpg", "a.png", "c.jpg"]},
        frame_size=(96, 192),
        lane_width=5,
    )
    assert scores.without_prediction == ()
    assert scores.scores["test"][0.5].tp == 12
    apart = tmp_path / "apart"
    predict(frames / "a.jpg", model, apart)
    predict(frames / "a.png", model, apart)
    assert below(apart) == ["a.lines.txt", "a.png.lines.txt", "predictions.jsonl"]
    for name, other in (("a", "a.jpg"), ("a.png", "a.png")):  # a batch of another size rounds otherwise
        found = np.concatenate(read_lanes(apart / f"{name}.lines.txt"))
        np.testing.assert_allclose(found, np.concatenate(read_lanes(out / f"{other}.lines.txt")), atol=0.1)


def test_lists_are_read_as_they_are_meant(tmp_path, model, capsys) -> None:
    frames = put(tmp_path / "in", **{"day 1__jpg": jpeg(), "b__jpg": jpeg()})
    listed = tmp_path / "list.txt"
    listed.write_text(f"\ufeffday 1.jpg\r\n{frames}/b.jpg\r\nb.jpg\r\n../x.jpg\r\nmissing.jpg\r\n")
    predict(frames, model, tmp_path / "out", listed)
    assert below(tmp_path / "out") == ["b.lines.txt", "day 1.lines.txt", "predictions.jsonl"]
    printed = capsys.readouterr().err
    assert "list.txt, line 4: " in printed and "rejected: missing.jpg: cannot be read" in printed
    assert "1 lines of" in printed


def test_listed_frames_of_other_case_and_unicode_form(tmp_path, model, capsys) -> None:
    frames = put(tmp_path / "in", **{f"{normalize('NFD', 'é')}__jpg": jpeg(), "b__jpg": jpeg()})
    (tmp_path / "list.txt").write_text(f"{normalize('NFC', 'é')}.jpg\nB.JPG\n")
    predict(frames, model, tmp_path / "out", frame_list=tmp_path / "list.txt")
    assert below(tmp_path / "out") == [f"{normalize('NFD', 'é')}.lines.txt", "predictions.jsonl"]
    reason = "rejected: B.JPG: cannot be read (No such file or directory); write it as b.jpg, its file."
    assert reason in capsys.readouterr().err


def test_no_lane_file_is_no_success(tmp_path, model) -> None:
    frames = put(tmp_path / "in", a__jpg=b"no picture")
    with pytest.raises(LgadError, match=r"No lane file was written, since no frame can be used \(1 frame\)"):
        predict(frames, model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_files_reach_the_terminal_as_text(tmp_path, model) -> None:
    frames = put(tmp_path / "in", **{"\x1b[31m[bold]x[bold]__jpg": b"no picture", "a__jpg": jpeg()})
    printed = CliRunner().invoke(
        app, ["predict", str(frames), "--model", str(model), "--output", str(tmp_path / "out")]
    )
    assert printed.exit_code == 0 and "\x1b" not in printed.output
    assert "rejected: \\x1b[31m[bold]x[bold].jpg: is neither" in printed.output
