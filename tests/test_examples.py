"""Each file of examples/ runs as its first lines say, in a process of its own, in seconds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py") if path.name != "made_up_road.py")
PRINTED = {
    "evaluate_predictions.py": "F1",
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_runs(name, tmp_path):
    text = (ROOT / "examples" / name).read_text(encoding="utf-8")
    assert f"`python examples/{name}`" in text, "the docstring states the command"
    finished = subprocess.run(
        [sys.executable, f"examples/{name}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert finished.returncode == 0, finished.stderr
    assert PRINTED.get(name, "") in finished.stdout
