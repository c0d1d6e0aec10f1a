"""The page to try models in a real browser: registered version, data set frame, picture, clip, bad files."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from playwright.sync_api import Page, expect

from lgad_pipeline import DecodeConfig, View, build_network, write_predictor
from lgad_pipeline.distillation.teacher import teacher_spec
from lgad_pipeline.networks.checkpoint import save_network
from resources.mlflow.logged_model import files_digest
from resources.mlflow.resource import default_tracking
from resources.mlflow.versions import CHAMPION, DIGEST_TAG, FINGERPRINT_TAG, claim
from resources.project import Project
from tests.support.trainings import IMAGE_SIZE, SPEC, pack_road
from tests_ui.conftest import PATIENCE, ROOT, free_port

FIRST = 5 * PATIENCE  # the first page waits for the imports of torch and MLflow
SETTINGS = """
datasets:
  roads: {kind: culane, root: road, image_size: [32, 88], crop_top: 240, lane_width: 40}
recipes:
  tiny: {network: {name: enet, width: 0.25}, teacher: {}, student: {}}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """A project with networks that were never trained and one registered version, and the running page."""
    folder = tmp_path_factory.mktemp("app")
    (folder / "lgad.yaml").write_text(SETTINGS)
    paths = Project(file=str(folder / "lgad.yaml")).paths("roads", "tiny")
    (folder / "road").mkdir()
    paths.shards.parent.mkdir(parents=True)
    shutil.copytree(pack_road(folder / "road"), paths.shards)
    for seed, role in enumerate(("student_alone", "student_lgad", "teacher")):
        torch.manual_seed(seed)
        spec = teacher_spec(SPEC, "one_hot") if role == "teacher" else SPEC
        save_network(paths.network(role), build_network(spec), spec=spec)
        if role != "teacher":
            decode = DecodeConfig(existence_threshold=0, peak_threshold=0)
            write_predictor(paths.network(role), View((590, 1640), IMAGE_SIZE, 240), decode_config=decode)
    register(folder, paths.student_lgad)
    port = free_port()
    environment = {**os.environ, "LGAD_SETTINGS": str(folder / "lgad.yaml")}
    command = [sys.executable, str(ROOT / "app.py"), "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None and f"localhost:{port}" in server.stdout.readline(), "see .lgad/logs"
    yield f"http://localhost:{port}", folder
    server.send_signal(signal.SIGTERM)
    assert server.wait(60) == 0


def register(folder: Path, student: Path) -> None:
    """Register a student as version 1 and champion of roads-tiny."""
    tracking, name = default_tracking(folder), "roads-tiny"
    claim(tracking, name, owner="me", tags={"dataset": "roads", "recipe": "tiny"})
    run = tracking.client.create_run(tracking.experiment("roads")).info.run_id
    network = folder / "version/artifacts/network"
    shutil.copytree(student, network)
    tags = {DIGEST_TAG: files_digest(network), FINGERPRINT_TAG: "1"}
    tracking.client.create_model_version(name, (folder / "version").as_uri(), run, tags=tags)
    tracking.client.set_registered_model_alias(name, CHAMPION, "1")


def write_clip(path: Path) -> None:
    clip = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (320, 192))
    for number in range(5):
        clip.write(np.full((192, 320, 3), 40 * number, np.uint8))
    clip.release()


def test_frames_clips_and_bad_files_with_the_champion(app: tuple[str, Path], page: Page) -> None:
    address, folder = app
    page.set_default_timeout(FIRST)
    page.goto(address)
    # The champion is chosen at first: this sentence is there for registered versions only.
    expect(page.get_by_text("The other networks are those that were trained last")).to_be_visible(
        timeout=FIRST
    )
    # A frame of the data set: all three networks, each with probability and attention maps.
    for title in ("Student alone", "Student with LGAD", "Teacher"):
        expect(page.get_by_text(title, exact=True)).to_be_visible(timeout=FIRST)
    expect(page.get_by_text("probability maps")).to_have_count(3, timeout=PATIENCE)
    expect(page.get_by_text("label map, its input")).to_have_count(1)
    images = page.locator("[data-testid=stImage] img")
    expect(images).to_have_count(10, timeout=PATIENCE)  # three in each column, and the legend
    for index in range(10):
        assert images.nth(index).evaluate("image => image.complete && image.naturalWidth") > 0
    # A picture of another size: no label map, so no teacher.
    page.get_by_text("picture or clip", exact=True).click()
    upload = page.locator("input[type=file]")
    cv2.imwrite(str(folder / "own.png"), np.full((300, 834, 3), 90, np.uint8))
    upload.set_input_files(str(folder / "own.png"))
    expect(page.get_by_text("The teacher reads label maps")).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("probability maps")).to_have_count(2, timeout=PATIENCE)
    write_clip(folder / "clip.mp4")
    upload.set_input_files(str(folder / "clip.mp4"))
    expect(page.get_by_text("clip.mp4, frame 0")).to_be_visible(timeout=PATIENCE)
    # Files that are not what their names say are answered by a sentence.
    for name, content, reason in (
        ("text.jpg", b"<script>alert(1)</script>", "text.jpg"),
        ("text.mp4", b"no video", "cannot be read as a video"),
    ):
        (folder / name).write_bytes(content)
        upload.set_input_files(str(folder / name))
        expect(page.get_by_test_id("stAlert").filter(has_text=reason)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_text("Traceback")).to_have_count(0)
