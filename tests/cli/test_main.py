"""Every command: an output that cannot be written, and an input of the wrong kind, are one sentence."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lgad_pipeline.cli import main as cli
from lgad_pipeline.config.decoding import DecodeConfig
from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.networks.registry import build_network
from lgad_pipeline.settings import settings_path
from lgad_pipeline.view import View
from resources.project import Project

SETTINGS = """
datasets: {mine: {kind: culane, root: set, frame_size: [118, 328], image_size: [48, 128]}}
recipes: {enet: {teacher: {steps: 200}, student: {steps: 200}}}
"""
TRUTH = '{"raw_file": "a.jpg", "lanes": [[100, 110]], "h_samples": [60, 70]}\n'
PREDICTED = '{"raw_file": "a.jpg", "lanes": [[100, 110]], "run_time": 10}\n'
LABELME = (
    '{"imagePath": "a.jpg", "imageHeight": 118, "imageWidth": 328, '
    '"shapes": [{"shape_type": "linestrip", "label": "lane", "points": [[100, 117], [120, 60]]}]}'
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an input for every command, and `file`, which is not a folder."""
    jpeg = cv2.imencode(".jpg", np.full((118, 328, 3), 90, np.uint8))[1].tobytes()
    for folder in ("set/list", "labelme", "frames", "archives", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("set/a.jpg", "labelme/a.jpg", "frames/a.jpg"):
        (tmp_path / name).write_bytes(jpeg)
    texts = {
        "set/a.lines.txt": "100 117 120 97 150 67 \n",
        "set/list/train.txt": "a.jpg\n",
        "set/list/val.txt": "a.jpg\n",
        "set/list/test.txt": "a.jpg\n",
        "labelme/a.json": LABELME,
        "truth.json": TRUTH,
        "predicted.json": PREDICTED,
        "lgad.yaml": SETTINGS,
        "study.yaml": "{}\n",
        "file": "no folder\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary").write_bytes(bytes(range(128, 256)) * 20)
    spec = NetworkSpec(image_size=(16, 32), width=0.25)
    torch.manual_seed(0)
    save_network(tmp_path / "net", build_network(spec), spec=spec)
    write_predictor(tmp_path / "net", View((118, 328), spec.image_size), decode_config=DecodeConfig())
    monkeypatch.setenv("LGAD_SETTINGS", str(tmp_path / "lgad.yaml"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, capsys, arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["lgad", *arguments.split()])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


WRITING = [
    "import labelme labelme {out}",
    "rasterize --annotations set --list set/list/test.txt --output {out}",
    "evaluate --annotations set --predictions set --json {out}/y.json",
    "evaluate --annotations set --predictions set --per-frame {out}/y.parquet",
    "evaluate-tusimple --annotations truth.json --predictions predicted.json --json {out}/y.json",
    "export-tusimple --annotations truth.json --predictions set --output {out}/y.json",
    "show mine --output {out}/y.png",
    "predict frames --model net --output {out}",
    "export net {out}/y.onnx",
]


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("out", ["file/below", "/proc/nothing"])
def test_an_output_that_cannot_be_written_is_one_sentence(place, monkeypatch, capsys, command, out) -> None:
    code, printed = run(monkeypatch, capsys, command.format(out=out))
    assert code == 1 and "Traceback" not in printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and (out.split("/")[-1] in errors[0] or "file" in errors[0])


@pytest.mark.parametrize("empty", [["--output", ""], ["--output="]])
def test_an_empty_argument_is_not_the_current_folder(place, monkeypatch, capsys, empty) -> None:
    monkeypatch.setattr(sys, "argv", ["lgad", "predict", "frames", "--model", "net", *empty])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1 and "An argument is empty" in capsys.readouterr().err
    assert not (place / "predictions.jsonl").exists()


def test_a_home_folder_that_the_shell_leaves_is_that_of_the_user(place, monkeypatch, capsys) -> None:
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.setattr(sys, "argv", ["lgad", "predict", "~/frames/*.jpg", "--model=~/net", "--output=~/out"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code and "1 lane file below" in capsys.readouterr().out
    assert (place / "out" / "a.lines.txt").is_file() and not (place / "~").exists()
    monkeypatch.setenv("LGAD_SETTINGS", "~/lgad.yaml")
    monkeypatch.setenv("LGAD_STATE", "~/state")
    project = Project(file=str(settings_path()))
    assert (project.folder, project.state) == (place, place / "state")


READING = [
    "import labelme {it} out",
    "import cvat {it} out",
    "unpack {it}",
    "rasterize --annotations set --list {it} --output out",
    "evaluate --annotations {it} --predictions set --list set/list/test.txt",
    "evaluate --annotations set --predictions {it} --list set/list/test.txt",
    "evaluate-tusimple --annotations {it} --predictions predicted.json",
    "evaluate-tusimple --annotations truth.json --predictions {it}",
    "export-tusimple --annotations truth.json --predictions {it} --output out.json",
    "predict {it} --model net --output out",
    "predict frames --model {it} --output out",
    "export {it} out.onnx",
    "gain {it} --settings lgad.yaml --output out",
    "gain study.yaml --settings {it} --output out",
    "predict frames --model net --list {it} --output out",
    "screen {it} --study study.yaml --shards set",
    "screen net --study {it} --shards set",
    "screen net --study study.yaml --shards {it}",
]


@pytest.mark.parametrize("command", READING)
@pytest.mark.parametrize("it", ["nowhere", "empty", "file", "binary"])
def test_an_input_of_the_wrong_kind_is_one_sentence(place, monkeypatch, capsys, command, it) -> None:
    code, printed = run(monkeypatch, capsys, command.format(it=it))
    assert code == 1 and "Traceback" not in printed
    assert len([line for line in printed.splitlines() if line.startswith("error: ")]) == 1
