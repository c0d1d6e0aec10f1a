"""Outputs that cannot be written are refused before a command reads its inputs."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from lgad_pipeline.cli.main import app
from lgad_pipeline.errors import LgadError

COMMANDS = {
    "evaluate --json": ("evaluate", "--annotations", "no", "--predictions", "no", "--json"),
    "evaluate --per-frame": ("evaluate", "--annotations", "no", "--predictions", "no", "--per-frame"),
    "evaluate-tusimple": ("evaluate-tusimple", "--annotations", "no", "--predictions", "no", "--json"),
    "export-tusimple": ("export-tusimple", "--annotations", "no", "--predictions", "no", "--output"),
    "export": ("export", "no"),
}
FOLDERS = {
    "rasterize": ("rasterize", "--annotations", "no", "--list", "no", "--output"),
    "import": ("import", "labelme", "."),
}


def run(words: tuple[str, ...], output: Path) -> str:
    with pytest.raises(LgadError) as error:
        CliRunner().invoke(app, [*words, str(output)], catch_exceptions=False)
    return str(error.value)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_file_that_cannot_be_written_is_refused_at_the_start(words, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "file").touch()
    assert run(words, tmp_path / "folder.onnx").endswith("(Is a directory); name a file: this is a folder.")
    assert "a part of it is a file" in run(words, tmp_path / "file" / "x.onnx")
    assert run(words, Path("/proc/x/y.onnx")).startswith("/proc/x/y.onnx cannot be written")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx"]


def test_a_lane_file_is_not_replaced_by_the_exported_lines(tmp_path: Path) -> None:
    (tmp_path / "20.lines.txt").write_text("1 2 3 4\n")
    reason = run(COMMANDS["export-tusimple"], tmp_path / "20.lines.txt")
    assert "exists and may be a list, lane file or image" in reason


def test_the_schema_replaces_a_schema_alone(tmp_path: Path) -> None:
    (tmp_path / "lgad.yaml").write_text("datasets: {}\n")
    reason = run(("schema", "--output"), tmp_path / "lgad.yaml")
    assert "exists and holds something else than this command writes" in reason
    assert (tmp_path / "lgad.yaml").read_text() == "datasets: {}\n"
    words = ["schema", "--output", str(tmp_path / "schema.json")]
    for _ in range(2):
        assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0


@pytest.mark.parametrize("words", FOLDERS.values(), ids=FOLDERS)
def test_a_folder_that_cannot_be_written_is_refused_at_the_start(words, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    assert "/file" in run(words, tmp_path / "file")
    assert run(words, Path("/proc/x")).startswith("/proc/x cannot be written")
    assert "a part of it is a file" in run(words, tmp_path / "file" / "x")
