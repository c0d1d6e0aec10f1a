"""The name that a project's shards and models carry where other projects may see them."""

import subprocess
import sys
from pathlib import Path

import pytest

from resources.project import Project

TRAINING = "{steps: 200}"
SETTINGS = f"""recipes:
  enet:
    network: {{name: enet}}
    teacher_network: {{name: enet}}
    teacher: {TRAINING}
    student: {TRAINING}
"""
PRINT = "import sys; from resources.project import Project; print(Project(file=sys.argv[1]).owner)"


@pytest.fixture(autouse=True)
def no_other_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LGAD_STATE", raising=False)


def project(folder: Path, more: str = "") -> Project:
    folder.mkdir(exist_ok=True)
    (folder / "lgad.yaml").write_text(SETTINGS + more)
    return Project(file=str(folder / "lgad.yaml"))


def test_two_projects_have_two_names_and_a_moved_one_keeps_its_name(tmp_path):
    first = project(tmp_path / "a").owner
    assert first != project(tmp_path / "b").owner
    (tmp_path / "a").rename(tmp_path / "moved")
    assert project(tmp_path / "moved").owner == first


def test_checkouts_share_the_name_in_lgad_yaml(tmp_path):
    owners = {project(tmp_path / name, "owner: night-team\n").owner for name in ("a", "b")}
    assert owners == {"night-team"}


def test_processes_that_start_at_once_agree(tmp_path):
    project(tmp_path / "a")
    command = [sys.executable, "-c", PRINT, str(tmp_path / "a" / "lgad.yaml")]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    names = {process.communicate()[0] for process in started}
    assert len(names) == 1 and len(names.pop().strip()) == 32
