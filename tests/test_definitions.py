import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Loading them costs seconds, in every process that Dagster starts.
HEAVY = ("torch", "mlflow", "pandas", "pyarrow", "matplotlib", "lightning_fabric")
LOAD = f"""
import sys
import definitions
print(sorted(name for name in {HEAVY} if name in sys.modules))
"""


def test_the_code_location_loads_without_torch_and_mlflow():
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOAD],
        cwd=ROOT,
        env={**os.environ, "LGAD_SETTINGS": str(ROOT / "lgad.yaml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert loaded.stdout == "[]\n", loaded.stderr


def test_the_command_line_of_dagster_checks_and_lists_the_definitions(tmp_path):
    shutil.copy(ROOT / "dagster.yaml", tmp_path)
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    outputs = [
        subprocess.run(
            [Path(sys.executable).parent / "dg", *words],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for words in (["check", "defs"], ["list", "defs", "--json"])
    ]
    assert "All definitions loaded successfully" in outputs[0]
    listed = json.loads(outputs[1])
    assert "lgad/lane_scores" in [asset["asset_key"] for asset in listed["assets"]]
    assert {"retrain", "gain"} <= {job["name"] for job in listed["jobs"]}
