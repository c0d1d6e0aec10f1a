"""Build the wheel from the tracked files, install it into a fresh environment and try it there.

The packages that it depends on are those of the environment that runs this script: nothing is downloaded.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

CHECK = """
import importlib.metadata, sys
from importlib.resources import files
from pathlib import Path

import assets, expected_files, lgad_pipeline, resources

prefix = Path(sys.prefix).resolve()
for module in (assets, lgad_pipeline, resources):
    assert Path(module.__file__).resolve().is_relative_to(prefix), module.__file__
assert lgad_pipeline.__version__ == importlib.metadata.version("lgad-pipeline")
for name in lgad_pipeline.__all__:
    getattr(lgad_pipeline, name)
installed = {str(path) for path in importlib.metadata.files("lgad-pipeline")}
missing = [name for name in expected_files.EXPECTED if name not in installed]
assert not missing, missing
print("wheel:", len(installed), "files, version", lgad_pipeline.__version__)
"""


def tracked() -> list[str]:
    """Return the paths of the tracked files that exist, relative to the root."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def build(folder: Path, names: list[str]) -> Path:
    """Copy the tracked files to `folder`, so that no old build is packed, and build the wheel there."""
    for name in names:
        target = folder / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    output = folder / "wheel"
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(output), "."]
    subprocess.run(command, cwd=folder / "source", check=True)
    (wheel,) = output.glob("*.whl")
    return wheel


def install(folder: Path, wheel: Path) -> Path:
    """Install the wheel into a fresh environment that finds other packages in this one; return its `bin`."""
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    binaries = environment / "bin"
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([binaries / "python", "-m", "pip", "install", *options, wheel], check=True)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "packages_of_the_project.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return binaries


def main() -> None:
    """Build, install and check."""
    names = tracked()
    packages = ("assets/", "lgad_pipeline/", "resources/")
    data = (".py", ".html", ".css", ".json", "py.typed")
    expected = [name for name in names if name.startswith(packages) and name.endswith(data)]
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        binaries = install(folder, build(folder, names))
        (folder / "check").mkdir()
        (folder / "check" / "expected_files.py").write_text(f"EXPECTED = {expected!r}\n")
        for command in (
            [binaries / "python", "-c", CHECK],
            [binaries / "lgad", "--version"],
            [binaries / "lgad", "evaluate", "--help"],
        ):
            shown = {"stdout": subprocess.DEVNULL} if "--help" in command else {}
            subprocess.run(command, cwd=folder / "check", env=clean, check=True, **shown)


if __name__ == "__main__":
    main()
