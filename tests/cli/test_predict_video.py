"""`lgad predict` with videos, patterns and streams."""

import json
import os
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from lgad_pipeline.atomic_files import machine
from lgad_pipeline.cli.inference import predict
from lgad_pipeline.cli.main import app
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.frame_predictor import Lane, PreparedFrame
from lgad_pipeline.inference.predictor import LanePredictor, write_predictor
from lgad_pipeline.inference.video_edits import edited_seconds
from lgad_pipeline.inference.video_prediction import predict_video
from lgad_pipeline.inference.video_reader import VideoReader, is_stream, result_name, shown
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.view import View
from tests.cli.matroska import write_matroska

VIEW = View((48, 96), (16, 32), 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that finds lanes everywhere: random weights, thresholds at zero."""
    folder = tmp_path_factory.mktemp("trained")
    spec = NetworkSpec(image_size=VIEW.image_size, width=0.25)
    torch.manual_seed(0)
    save_network(folder, build_network(spec), spec=spec)
    write_predictor(folder, VIEW, decode_config=DecodeConfig(existence_threshold=0, peak_threshold=0))
    return folder


def picture(number: int, height: int = 48, width: int = 96) -> np.ndarray:
    frame = np.full((height, width, 3), 80, np.uint8)
    frame[:, (5 * number) % (width - 10) :][:, :10] = 240
    return frame


def write_video(path: Path, frames: int = 20, rate: float = 10, size: tuple[int, int] = (48, 96)) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, size[::-1])
    for number in range(frames):
        writer.write(picture(number, *size))
    writer.release()
    return path


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_variable_rate_is_no_damage_and_a_cut_off_file_is(tmp_path, model, capsys) -> None:
    times = [0, 40, 80, 120, 160, 400, 700, 1000, 1040, 1080, 1500]
    whole = write_matroska(tmp_path / "phone.mkv", [picture(n) for n in range(11)], times)
    predict(str(whole), model, tmp_path / "out", pictures=True)
    assert capsys.readouterr().err == ""
    annotated = VideoReader(str(tmp_path / "out" / "phone.lanes.mp4"))
    assert (annotated.count, annotated.rate) == (76, 50), "frames are repeated in gaps: the speed is the same"
    lines = records(tmp_path / "out" / "phone.lanes.jsonl")
    np.testing.assert_allclose([line["time"] for line in lines], np.array(times) / 1000, atol=1e-3)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    predict(str(cut), model, tmp_path / "out")
    assert "and 5 could be read; it may be damaged" in capsys.readouterr().err


def test_a_late_start_longer_sound_and_an_edit_list_are_no_damage(tmp_path, model, capsys) -> None:
    pictures = [picture(number) for number in range(60)]
    write_matroska(tmp_path / "late.mkv", pictures, [5000 + 40 * number for number in range(60)])
    sound = write_matroska(tmp_path / "sound.mkv", pictures, [40 * number for number in range(60)])
    stated = struct.pack(">d", 2400)
    assert sound.read_bytes().count(stated) == 1
    sound.write_bytes(sound.read_bytes().replace(stated, struct.pack(">d", 3100)))
    whole = write_video(tmp_path / "whole.mp4", frames=60, rate=25).read_bytes()
    at = whole.index(b"elst") + 12  # duration in 1/1000 s, first time in 1/12800 s
    edits = (1600).to_bytes(4) + (10 * 512).to_bytes(4)
    (tmp_path / "edited.mp4").write_bytes(whole[:at] + edits + whole[at + 8 :])
    for name, frames in (("late.mkv", 60), ("sound.mkv", 60), ("edited.mp4", 40)):
        predict(str(tmp_path / name), model, tmp_path / "out")
        assert capsys.readouterr().err == ""
        lines = records(tmp_path / "out" / f"{Path(name).stem}.lanes.jsonl")
        times = [line["time"] for line in lines]
        np.testing.assert_allclose(times, np.arange(frames) / 25, atol=1e-3)
    late = (tmp_path / "late.mkv").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(late[: len(late) // 3])
    predict(str(tmp_path / "cut.mkv"), model, tmp_path / "out")
    assert "could be read; it may be damaged" in capsys.readouterr().err


def test_an_edit_list_with_damage_is_left_out(tmp_path) -> None:
    video = write_video(tmp_path / "clip.mp4")
    whole = video.read_bytes()
    assert edited_seconds(video) == 2
    at = whole.index(b"elst")
    for content in (whole[: at + 6], whole[: at - 4] + b"\0\0\0\1" + whole[at:], b"", whole[:at] + b"free"):
        video.write_bytes(content)
        assert edited_seconds(video) is None
    assert edited_seconds(tmp_path / "missing.mp4") is None


def test_a_video_gives_json_lines_with_times_and_an_annotated_video(tmp_path, model, capsys) -> None:
    video = write_video(tmp_path / "clip.mp4", size=(96, 192))  # twice the training's frame size
    predict(str(video), model, tmp_path / "out", pictures=True)
    printed = capsys.readouterr()
    assert f"clip.lanes.jsonl and clip.lanes.mp4 below {tmp_path / 'out'}: 20 frames, 80 lanes" in printed.out
    assert "frames/s" in printed.out and printed.err == ""
    lines = records(tmp_path / "out" / "clip.lanes.jsonl")
    assert [line["frame"] for line in lines] == list(range(20))
    np.testing.assert_allclose([line["time"] for line in lines], np.arange(20) / 10, atol=1e-3)
    assert lines[0].keys() == {"frame", "time", "lanes"}
    for lane in lines[5]["lanes"]:
        assert lane.keys() == {"slot", "existence", "confidence", "points"}
        points = np.array(lane["points"])
        assert (points[:, 0] < 192).all() and points[0, 1] == 96 and (np.diff(points[:, 1]) < 0).all()
    annotated = VideoReader(str(tmp_path / "out" / "clip.lanes.mp4"))
    assert (annotated.count, annotated.rate, annotated.size) == (20, 10, (96, 192))
    frames = [frame.image for frame in annotated.frames()]
    original = [frame.image for frame in VideoReader(str(video)).frames()]
    for drawn, plain in zip(frames, original, strict=True):
        changed = np.abs(drawn.astype(int) - plain).max(axis=2) > 40
        assert changed[:, 40:150].any(axis=1).mean() > 0.5  # lanes cross most rows


def test_the_lanes_of_a_video_are_those_of_its_frames(tmp_path, model) -> None:
    video = write_video(tmp_path / "clip.mp4", frames=11)
    (tmp_path / "frames").mkdir()
    for frame in VideoReader(str(video)).frames():
        cv2.imwrite(str(tmp_path / "frames" / f"{frame.number:02d}.png"), frame.image[..., ::-1])
    predict(str(video), model, tmp_path / "out")
    predict(str(tmp_path / "frames"), model, tmp_path / "out", json_lines=True)
    by_video = records(tmp_path / "out" / "clip.lanes.jsonl")
    by_frames = records(tmp_path / "out" / "frames.lanes.jsonl")
    assert [line["frame"] for line in by_frames] == [f"{number:02d}.png" for number in range(11)]
    assert "time" not in by_frames[0]
    for line, other in zip(by_video, by_frames, strict=True):
        for lane, same in zip(line["lanes"], other["lanes"], strict=True):
            np.testing.assert_allclose(lane["points"], same["points"], atol=0.05)


def test_json_lines_of_a_second_source_are_added(tmp_path, model) -> None:
    for folder, names in (("a", ("1", "2")), ("b", ("3",))):
        (tmp_path / folder).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), picture(int(name)))
    written = tmp_path / "out" / "frames.lanes.jsonl"

    def frames() -> list[str]:
        return [line["frame"] for line in records(written)]

    predict(str(tmp_path / "a"), model, tmp_path / "out", json_lines=True)
    first = written.read_text()
    predict(str(tmp_path / "b"), model, tmp_path / "out", json_lines=True)
    assert frames() == ["1.png", "2.png", "3.png"] and written.read_text().startswith(first)
    predict(str(tmp_path / "a" / "1.png"), model, tmp_path / "out", json_lines=True)
    assert frames() == ["2.png", "3.png", "1.png"], "a frame has one line"
    written.write_text(first + "not a record\n")
    with pytest.raises(LgadError, match=r"frames\.lanes\.jsonl, line 3, is not the record of a frame; move"):
        predict(str(tmp_path / "b"), model, tmp_path / "out", json_lines=True)


def test_results_are_replaced_by_their_own_command_and_no_other_file_is(tmp_path, model) -> None:
    video = write_video(tmp_path / "clip.mp4", frames=3)
    for _ in range(2):
        predict(str(video), model, tmp_path / "out", seconds=0.15)
    assert len(records(tmp_path / "out" / "clip.lanes.jsonl")) == 2
    (tmp_path / "clip.lanes.mp4").write_text("mine")
    with pytest.raises(LgadError, match=r"that lgad predict did not write.*such as clip\.lanes\.mp4"):
        predict(str(video), model, tmp_path, pictures=True)
    assert (tmp_path / "clip.lanes.mp4").read_text() == "mine"


def test_results_of_a_video_that_were_changed_since_are_kept(tmp_path, model) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    video, out = write_video(tmp_path / "clip.mp4", frames=3), tmp_path / "out"
    other = shutil.copytree(model, tmp_path / "other")
    (other / "predictor.json").write_text((model / "predictor.json").read_text() + "\n")
    for source, network in ((video, model), (tmp_path / "a.png", other)):
        predict(str(source), network, out, pictures=True)
    results = sorted(path.name for path in out.glob("[!.]*"))
    assert results == ["a.lanes.jpg", "a.lines.txt", "predictions.jsonl"], "unchanged ones are removed"
    predict(str(video), model, out, pictures=True)
    (out / "clip.lanes.jsonl").write_text("mine")
    predict(str(tmp_path / "a.png"), other, out)
    assert (out / "clip.lanes.jsonl").read_text() == "mine" and not (out / "clip.lanes.mp4").exists()


class Killed(BaseException):
    """End of a command between two frames, as at Ctrl+C."""


def test_a_run_that_ends_early_keeps_the_earlier_results(tmp_path, model, monkeypatch) -> None:
    video, out = write_video(tmp_path / "clip.mp4"), tmp_path / "out"
    predict(str(video), model, out, pictures=True)
    before = {path.name: path.read_bytes() for path in out.glob("clip*")}
    assert len(before) == 2
    find = LanePredictor.predict_prepared

    def predict_first(self: LanePredictor, frames: Sequence[PreparedFrame]) -> list[list[Lane]]:
        assert (out / "clip.lanes.jsonl").read_bytes() == before["clip.lanes.jsonl"]
        monkeypatch.setattr(LanePredictor, "predict_prepared", end)
        return find(self, frames)

    def end(*_: object) -> None:
        raise Killed

    monkeypatch.setattr(LanePredictor, "predict_prepared", predict_first)
    with pytest.raises(Killed):
        predict(str(video), model, out, pictures=True)
    assert {path.name: path.read_bytes() for path in out.glob("*clip*")} == before
    monkeypatch.undo()
    process = subprocess.Popen(["true"])
    process.wait()
    left = out / f".clip.lanes.mp4.{machine()}-{process.pid}.part.mp4"  # of a process that was killed
    left.touch()
    other = out / ".photo.2024.part of a series.jpg"
    other.touch()
    predict(str(video), model, out, pictures=True)
    assert not left.exists() and other.exists()


def test_videos_of_one_name_in_two_folders_do_not_replace_each_other(tmp_path, model, capsys) -> None:
    for folder, frames in (("a", 3), ("b", 5)):
        (tmp_path / "in" / folder).mkdir(parents=True)
        write_video(tmp_path / "in" / folder / "clip.mp4", frames=frames)
    predict(f"{tmp_path}/in/*/clip.mp4", model, tmp_path / "out", pictures=True)
    assert len(records(tmp_path / "out/a/clip.lanes.jsonl")) == 3
    assert len(records(tmp_path / "out/b/clip.lanes.jsonl")) == 5
    assert (tmp_path / "out/a/clip.lanes.mp4").is_file() and (tmp_path / "out/b/clip.lanes.mp4").is_file()
    assert f"a/clip.lanes.jsonl and a/clip.lanes.mp4 below {tmp_path / 'out'}" in capsys.readouterr().out
    one, other = tmp_path / "in/a/clip.mp4", tmp_path / "in/b/clip.mp4"
    predict(str(one), model, tmp_path / "each")
    with pytest.raises(LgadError, match=f"each holds the result of {one}, which that of {other} would"):
        predict(str(other), model, tmp_path / "each")
    assert len(records(tmp_path / "each/clip.lanes.jsonl")) == 3
    predict(str(other), model, tmp_path / "each", overwrite=True)
    assert len(records(tmp_path / "each/clip.lanes.jsonl")) == 5
    other.rename(tmp_path / "clip.mp4")
    predict(str(tmp_path / "clip.mp4"), model, tmp_path / "each")  # moved, so that nothing is lost


def test_smoothed_lanes_have_identities(tmp_path, model) -> None:
    video = write_video(tmp_path / "clip.mp4")
    predict(str(video), model, tmp_path / "out", smooth=True)
    lines = records(tmp_path / "out" / "clip.lanes.jsonl")
    assert lines[0]["lanes"] == lines[1]["lanes"] == []  # a lane is shown from its third frame on
    tracks = [{lane["track"] for lane in line["lanes"]} for line in lines[2:]]
    assert any(tracks) and set.union(*tracks) <= set(range(1, 81))


def test_a_pattern_names_frames_and_videos(tmp_path, model, capsys) -> None:
    for name in ("day/a.png", "day/b.png", "night/a.png", "night/a.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / "in" / name), picture(0)) if name.endswith("png") else (
            tmp_path / "in" / name
        ).write_text("text")
    write_video(tmp_path / "in" / "day" / "clip.mp4", frames=2)
    predict(f"{tmp_path}/in/**/*.png", model, tmp_path / "out")
    predict(f"{tmp_path}/in/day/*", model, tmp_path / "day")
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("*/**/*.lines.txt"))
    assert written == [
        "day/a.lines.txt",
        "day/b.lines.txt",
        "out/day/a.lines.txt",
        "out/day/b.lines.txt",
        "out/night/a.lines.txt",
    ]
    assert (tmp_path / "day" / "clip.lanes.jsonl").is_file()
    with pytest.raises(LgadError, match=r"a\.txt is neither a JPEG or PNG frame nor.*narrower pattern"):
        predict(f"{tmp_path}/in/night/*", model, tmp_path / "out")
    with pytest.raises(LgadError, match=r"No file has a name of the form .*\*\.jpeg; correct the pattern"):
        predict(f"{tmp_path}/*.jpeg", model, tmp_path / "out")
    capsys.readouterr()
    predict(str(tmp_path / "in" / "day"), model, tmp_path / "day")
    assert "rejected: clip.mp4: is a video; predict it by itself." in capsys.readouterr().err


def test_a_video_whose_name_is_not_utf8_is_refused(tmp_path, model) -> None:
    original = write_video(tmp_path / "a.mp4", frames=1)
    chinese = tmp_path / os.fsdecode(b"\xb3\xb5.mp4")
    chinese.write_bytes(original.read_bytes())
    for source, output in ((chinese, tmp_path / "out"), (original, chinese.with_suffix(""))):
        with pytest.raises(LgadError, match="has a name or folder that is not UTF-8; rename it"):
            predict(str(source), model, output, pictures=True)


def test_a_video_that_cannot_be_read_stops_no_other(tmp_path, model, capsys) -> None:
    for name in ("a.mp4", "c.mp4"):
        (tmp_path / name).write_bytes(b"cut off")
    with pytest.raises(LgadError, match=r"None of the 2 videos can be read; see the reasons above"):
        predict(f"{tmp_path}/*.mp4", model, tmp_path / "out")
    with pytest.raises(LgadError, match=r"a\.mp4 cannot be read as a video; convert it"):
        predict(f"{tmp_path}/a.mp4", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    write_video(tmp_path / "b.mp4", frames=2)
    capsys.readouterr()
    predict(f"{tmp_path}/*.mp4", model, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.lanes.jsonl")] == ["b.lanes.jsonl"]
    assert capsys.readouterr().err.count("rejected: ") == 2


@pytest.mark.parametrize("rate", [66.6667, 119.8765, 240.1234, 29.97, 23.976024, 12.5])
def test_a_video_of_any_rate_is_annotated_with_its_length(tmp_path, model, rate) -> None:
    write_video(tmp_path / "a.avi", frames=40, rate=round(rate, 2))
    video = VideoReader(str(tmp_path / "a.avi"))
    video.rate = rate
    predict_video(
        LanePredictor.load(model),
        video,
        json_lines=tmp_path / "a.jsonl",
        annotated=tmp_path / "out.mp4",
        draw=lambda image, _: image,
    )
    written = VideoReader(str(tmp_path / "out.mp4"))
    assert written.rate == pytest.approx(rate, abs=0.06) and 39 <= written.count <= 42


def test_a_fault_in_the_prediction_of_a_video_stops_no_other(tmp_path, model, monkeypatch, capsys) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", frames=2)
    predicted = LanePredictor.predict_prepared

    def fails_once(self: LanePredictor, frames: Sequence[PreparedFrame]) -> list[list[Lane]]:
        monkeypatch.setattr(LanePredictor, "predict_prepared", predicted)
        raise LgadError("The first video is too bright; film it again.")

    monkeypatch.setattr(LanePredictor, "predict_prepared", fails_once)
    predict(f"{tmp_path}/*.mp4", model, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").glob("*.lanes.jsonl")] == ["b.lanes.jsonl"]
    assert "rejected: a.mp4: The first video is too bright" in capsys.readouterr().err
    predict(f"{tmp_path}/*.mp4", model, tmp_path / "out")
    first = (tmp_path / "out/a.lanes.jsonl").read_bytes()
    monkeypatch.setattr(LanePredictor, "predict_prepared", fails_once)
    predict(f"{tmp_path}/*.mp4", model, tmp_path / "out")
    assert (tmp_path / "out/a.lanes.jsonl").read_bytes() == first
    monkeypatch.setattr(LanePredictor, "predict_prepared", fails_once)
    with pytest.raises(LgadError, match="too bright"):
        predict(tmp_path / "a.mp4", model, tmp_path / "other")


def test_results_that_cannot_be_written_are_one_sentence(tmp_path, model) -> None:
    video, predictor = write_video(tmp_path / "a.mp4"), LanePredictor.load(model)
    with pytest.raises(LgadError, match=r"/dev/full cannot be written \(No space left"):
        predict_video(predictor, VideoReader(str(video)), json_lines=Path("/dev/full"))
    with pytest.raises(LgadError, match=r"a\.mp4 needs a function that draws lanes; give the argument draw"):
        predict_video(
            predictor, VideoReader(str(video)), json_lines=tmp_path / "a.jsonl", annotated=tmp_path / "a.mp4"
        )


@pytest.mark.parametrize("option", [{"smooth": True}, {"seconds": 1.0}])
def test_options_of_videos_are_refused_for_frames(tmp_path, model, option) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), picture(0))
    with pytest.raises(LgadError, match=f"frames and no video, which --{next(iter(option))} needs; make a"):
        predict(str(tmp_path), model, tmp_path / "out", **option)
    assert not (tmp_path / "out").exists()


def test_results_of_earlier_runs_are_left_out_of_a_pattern(tmp_path, model, capsys) -> None:
    (tmp_path / "day").mkdir()
    write_video(tmp_path / "day" / "clip.mp4", frames=2)
    for _ in range(2):
        predict(f"{tmp_path}/day/*.mp4", model, tmp_path / "day", pictures=True)
        assert sorted(path.name for path in (tmp_path / "day").glob("[!.]*")) == [
            "clip.lanes.jsonl",
            "clip.lanes.mp4",
            "clip.mp4",
            "predictions.jsonl",
        ]
    with pytest.raises(LgadError, match=r"are results of lgad predict; give a pattern of frames or videos"):
        predict(f"{tmp_path}/day/*.lanes.mp4", model, tmp_path / "out")


def test_a_source_that_cannot_be_read_is_one_sentence(tmp_path, model) -> None:
    (tmp_path / "text.mp4").write_text("text")
    for source, message in {
        str(
            tmp_path / "text.mp4"
        ): "text.mp4 cannot be read as a video; convert it: ffmpeg -i VIDEO OTHER.mp4",
        str(tmp_path / "no"): "no does not exist; give a folder of frames, a picture or a video",
        "/dev/null": "/dev/null is a device or a pipe; give .* the index of a camera: 0 for /dev/video0",
        "97": "97 cannot be read as a video; check the address and that the camera is on",
        "ftp://host/a.mp4": "ftp://host/a.mp4 is not the address of a stream; allowed are rtsp, rtsps",
        "http://user:secret@127.0.0.1:9/a.mp4?token=1": "http://127.0.0.1:9/a.mp4 cannot be read",
    }.items():
        with pytest.raises(LgadError, match=message) as error:
            predict(source, model, tmp_path / "out")
        assert "secret" not in str(error.value) and "token" not in str(error.value)
    assert not (tmp_path / "out").exists()
    write_video(tmp_path / "small.mp4", frames=2, size=(8, 40))
    with pytest.raises(LgadError, match=r"small\.mp4 is 40 x 8 px; allowed are"):
        predict(str(tmp_path / "small.mp4"), model, tmp_path / "out")


def test_a_truncated_video_is_named(tmp_path, model, capsys) -> None:
    video = cv2.VideoWriter(str(tmp_path / "a.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 10, (96, 48))
    for number in range(30):
        video.write(picture(number))
    video.release()
    content = (tmp_path / "a.avi").read_bytes()
    (tmp_path / "a.avi").write_bytes(content[: len(content) // 2])
    predict(str(tmp_path / "a.avi"), model, tmp_path / "out")
    found = len(records(tmp_path / "out" / "a.lanes.jsonl"))
    assert 5 < found < 29
    assert f"a.avi states 30 frames, and {found} could be read" in capsys.readouterr().err


def test_an_error_of_the_decoder_ends_the_reading(tmp_path) -> None:
    reader = VideoReader(str(write_video(tmp_path / "a.mp4", frames=20)))
    reader._capture.setExceptionMode(True)  # OpenCV raises an error at the end of the file
    found: list[int] = []

    def read() -> None:
        found.extend(frame.number for frame in reader.frames())

    consumer = ThreadPoolExecutor(1).submit(read)
    with pytest.raises(LgadError, match=r"a\.mp4 cannot be read as a video after 20 frames; convert it"):
        consumer.result(30)
    assert found == list(range(20))


def test_all_frames_are_returned_in_the_size_of_the_first(tmp_path) -> None:
    """FFmpeg scales the frames of a file; other backends of OpenCV may not."""
    pictures = [picture(0), picture(1, 96, 192), picture(2)]
    reader = VideoReader(str(write_matroska(tmp_path / "a.mkv", pictures, [0, 40, 80])))
    assert [frame.image.shape for frame in reader.frames()] == [(48, 96, 3)] * 3
    reader = VideoReader(str(tmp_path / "a.mkv"))
    rest = iter([*pictures[1:], None])
    reader._next = lambda: next(rest)  # type: ignore[method-assign]
    assert [frame.image.shape for frame in reader.frames()] == [(48, 96, 3)] * 3
    assert reader.skipped == 0


class Camera(BaseHTTPRequestHandler):
    """Camera that sends JPEG frames over HTTP, 50 a second, until the client leaves."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for number in range(3000):
                jpeg = cv2.imencode(".jpg", picture(number))[1].tobytes()
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + jpeg + b"\r\n")
                time.sleep(0.02)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def camera() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Camera)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://user:secret@127.0.0.1:{server.server_port}/live"
    server.shutdown()
    server.server_close()


def test_a_stream_is_predicted_while_it_arrives(tmp_path, model, camera, capsys) -> None:
    predict(camera, model, tmp_path / "out", pictures=True, seconds=1.0)
    [path] = (tmp_path / "out").glob("*.lanes.jsonl")
    assert path.name == f"127_0_0_1_{camera.rpartition(':')[2].replace('/', '_')}.lanes.jsonl"
    lines = records(path)
    times = [line["time"] for line in lines]
    assert len(lines) > 3 and times == sorted(times) and times[-1] < 1
    assert "secret" not in (tmp_path / "out" / "predictions.jsonl").read_text() + capsys.readouterr().out


def test_kinds_of_sources_are_distinguished(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_stream("0") and is_stream("rtsp://host/a") and not is_stream("a.mp4")
    (tmp_path / "0").mkdir()
    assert not is_stream("0")  # a folder of that name
    assert shown("rtsp://user:word@host:554/a?key=1") == "rtsp://host:554/a"
    for word in ("wo/rd", "wo#rd", "wo?rd", "wo[rd", "wo@rd"):
        assert shown(f"rtsp://user:{word}@host/a") == "rtsp://host/a"
    assert shown("http://[abc/x") == "http://[abc/x"
    assert result_name("rtsp://user:word@host/a/b") == "host_a_b"
    names = {result_name(f"http://cam{number}/video?mail=a@b") for number in (1, 2)}
    assert len(names) == 2 and not any("cam" in name for name in names)


def test_the_command_states_its_sources() -> None:
    text = " ".join(CliRunner().invoke(app, ["predict", "--help"]).output.split())
    assert "address of a stream" in text and "--smooth" in text
