import io
import socket

import pytest
import yaml
from rich.console import Console

import demo
import ui
from lgad_pipeline.errors import LgadError

TEXT = """# mine
datasets:
  # the world
  synthetic: {kind: synthetic}
recipes:
  enet: {teacher: {}, student: {}}
"""


def quiet() -> Console:
    return Console(file=io.StringIO())


def test_new_data_set_is_added_and_comments_stay(tmp_path):
    (tmp_path / "lgad.yaml").write_text(TEXT)
    demo.add_dataset(tmp_path / "lgad.yaml", "mine", str(tmp_path), quiet())
    text = (tmp_path / "lgad.yaml").read_text()
    assert "# mine\n" in text and "  # the world\n" in text
    entries = yaml.safe_load(text)["datasets"]
    assert entries["mine"]["root"] == str(tmp_path) and list(entries) == ["mine", "synthetic"]
    demo.add_dataset(tmp_path / "lgad.yaml", "mine", str(tmp_path), quiet())
    assert (tmp_path / "lgad.yaml").read_text() == text


def test_file_without_data_sets_gets_them():
    added = yaml.safe_load(demo.with_dataset("recipes: {}\n", "mine", demo.Path("/data")))
    assert added["datasets"]["mine"]["kind"] == "culane" and added["recipes"] == {}


@pytest.mark.parametrize(
    ("name", "root", "told"),
    [
        ("other", "", "ROOT="),
        ("other", "/nowhere/at/all", "does not exist"),
        ("synthetic", "/tmp", "already describes"),
        ("Bad Name", "/tmp", "Bad Name"),
    ],
)
def test_one_sentence_for_each_mistake(tmp_path, name, root, told):
    (tmp_path / "lgad.yaml").write_text(TEXT)
    with pytest.raises(LgadError, match=told):
        demo.add_dataset(tmp_path / "lgad.yaml", name, root, quiet())
    assert (tmp_path / "lgad.yaml").read_text() == TEXT


def test_second_demo_at_once_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LGAD_SETTINGS", str(tmp_path / "lgad.yaml"))
    with demo.only_demo(), pytest.raises(LgadError, match="Another"), demo.only_demo():
        pass


def test_port_in_use_is_one_sentence():
    with socket.socket() as other:
        other.bind((ui.HOST, 0))
        other.listen()
        with pytest.raises(LgadError, match="make ui PORT=3001"):
            ui.check_free(other.getsockname()[1], "make ui PORT=3001")
