"""The commands of docs/retraining.md, as they are printed there, in a fresh shell."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not (ROOT / ".venv").exists(), reason="needs the virtual environment of `make setup`")
def test_schedule_and_sensor_are_started_as_printed(tmp_path):
    page = (ROOT / "docs" / "retraining.md").read_text(encoding="utf-8")
    (block,) = [text for text in re.findall(r"```console\n(.*?)```", page, re.DOTALL) if "schedule" in text]
    for name in ("assets", "resources", "lgad_pipeline"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("definitions.py", "workspace.yaml", "dagster.yaml", "lgad.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / ".venv").symlink_to((ROOT / ".venv").resolve())
    finished = subprocess.run(
        ["bash", "-e", "-c", block.replace("my_drives", "synthetic")],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert "Started schedule retrain_synthetic" in finished.stdout
    assert "Started sensor new_frames" in finished.stdout
