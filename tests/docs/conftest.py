import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from tests.docs.blocks import ROOT

sys.path.insert(0, str(ROOT / "examples"))

Shell = Callable[[str], subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the files that a clone of the repository has, and no others."""
    folder = tmp_path_factory.mktemp("clone")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def project(clone: Path) -> Path:
    """Add to the clone a small data set, a network, prediction files, and the command `lgad`."""
    from made_up_road import draw_frame, lanes_of, write_lane_file, write_road
    from predict_folder import make_up_input

    folder = clone
    road = write_road(folder / "road")
    settings = (folder / "lgad.yaml").read_text(encoding="utf-8")
    settings = settings.replace("train: 1200, val: 120, test: 270", "train: 6, val: 2, test: 9")
    entry = (
        f"  my_drives: {{kind: culane, root: {road}, image_size: [80, 256], crop_top: 240, lane_width: 32}}\n"
    )
    (folder / "lgad.yaml").write_text(settings.replace("datasets:\n", f"datasets:\n{entry}", 1))
    _, model = make_up_input(folder)
    shutil.copytree(model, folder / ".lgad/models/synthetic/enet/student_lgad")
    cv2.imwrite(str(folder / "frame.jpg"), draw_frame(0))
    video = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, (1640, 590))
    for number in range(4):
        video.write(draw_frame(number))
    video.release()
    rows = list(range(240, 720, 10))
    task = {"raw_file": "clips/0601/1/20.jpg", "h_samples": rows, "lanes": [[600 + row for row in rows]]}
    for name in ("A.json", "test_label.json"):
        (folder / name).write_text(json.dumps(task) + "\n")
    (folder / "P.json").write_text(json.dumps({**task, "run_time": 10}) + "\n")
    for lanes in ("TUSIMPLE", "found"):
        (folder / lanes / "clips/0601/1").mkdir(parents=True)
        (folder / lanes / "clips/0601/1/20.lines.txt").write_text("850 250 860 260 870 270\n")
    for number in (8, 9):
        write_lane_file(folder / "SECOND" / f"{number:05d}.lines.txt", lanes_of(number))
    (folder / "SOURCE").mkdir()
    cv2.imwrite(str(folder / "SOURCE/a.jpg"), draw_frame(1))
    shape = {"label": "lane", "shape_type": "linestrip", "points": [[820, 300], [700, 580]]}
    content = {"imagePath": "a.jpg", "imageHeight": 590, "imageWidth": 1640, "shapes": [shape]}
    (folder / "SOURCE/a.json").write_text(json.dumps(content))
    shutil.make_archive(str(folder / "FOLDER/recordings"), "gztar", folder / "SOURCE")
    command = folder / "bin/lgad"
    command.parent.mkdir()
    command.write_text(
        f"#!{sys.executable}\nfrom lgad_pipeline.cli.main import main\nmain()\n", encoding="utf-8"
    )
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def shell(project: Path) -> Shell:
    """Run shell lines in the clone, in a shell without the variables of the test's environment."""

    def run(text: str) -> subprocess.CompletedProcess:
        environment = {
            "PATH": f"{project / 'bin'}:{os.environ['PATH']}",
            "HOME": str(project),
            "PYTHONPATH": str(project),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=project,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )

    return run
