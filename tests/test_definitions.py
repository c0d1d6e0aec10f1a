import os
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
