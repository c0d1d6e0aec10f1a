"""Suggestions in the night: the sensor asks for them, the asset writes them, and no folder is replaced."""

import json
from pathlib import Path

import cv2
import dagster as dg
import numpy as np
import pytest
import torch

from assets import suggestions as labelling
from assets.suggestions import suggestions, unlabelled_frames
from definitions import definitions
from lgad_pipeline import DecodeConfig, build_network
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.inference.predictor import write_predictor
from lgad_pipeline.networks.checkpoint import save_network
from lgad_pipeline.suggestion.ranking import Choice
from lgad_pipeline.view import View
from resources.paths import ProjectPaths
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Trainer
from tests.support.trainings import IMAGE_SIZE, SPEC, pack_road

# The name is that of the project's own lgad.yaml: the code location knows its partitions from there.
SETTINGS = """
datasets:
  synthetic:
    kind: synthetic
    image_size: [32, 88]
    suggest: {frames: new, count: 2, quiet_seconds: 0}
recipes:
  enet: {teacher: {}, student: {}}
"""


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    monkeypatch.setenv("LGAD_STATE", str(tmp_path / "state"))
    (tmp_path / "lgad.yaml").write_text(SETTINGS)
    (tmp_path / "new").mkdir()
    return Project(file=str(tmp_path / "lgad.yaml"))


def make_students(paths: ProjectPaths, tmp_path: Path) -> None:
    """Write packed frames and two students that were never trained."""
    (tmp_path / "road").mkdir()
    shards = pack_road(tmp_path / "road")
    paths.shards.parent.mkdir(parents=True)
    shards.rename(paths.shards)
    for seed, role in enumerate(STUDENTS):
        torch.manual_seed(seed)
        save_network(paths.network(role), build_network(SPEC), spec=SPEC)
        decode = DecodeConfig(existence_threshold=0, peak_threshold=0)
        write_predictor(paths.network(role), View((590, 1640), IMAGE_SIZE, 240), decode_config=decode)
        (paths.network(role) / "training.json").write_text(json.dumps({"fingerprint": role}))


def picture(path: Path, seed: int) -> None:
    small = np.random.default_rng(seed).integers(0, 255, (12, 24, 3), np.uint8)
    assert cv2.imwrite(str(path), cv2.resize(small, (820, 295)))


def tick(instance: dg.DagsterInstance, project: Project) -> list:
    context = dg.build_sensor_context(
        instance, resources={"project": project}, definitions=definitions(ProgressLog())
    )
    return list(unlabelled_frames(context))  # type: ignore[arg-type]


def materialize(instance: dg.DagsterInstance, project: Project) -> dict:
    result = dg.materialize(
        [suggestions],
        partition_key="synthetic",
        instance=instance,
        resources={"project": project, "trainer": Trainer(device="cpu"), "progress": ProgressLog()},
    )
    return {
        name: value.value
        for name, value in result.asset_materializations_for_node("lgad__suggestions")[0].metadata.items()
    }


def test_new_frames_are_suggested_once_and_corrections_stay(project, tmp_path):
    instance = dg.DagsterInstance.ephemeral()
    for seed in range(3):
        picture(tmp_path / f"new/{seed}.jpg", seed)
    (skipped,) = tick(instance, project)
    assert "no trained student_alone" in skipped.skip_message and "retrain" in skipped.skip_message
    make_students(project.paths("synthetic", "enet"), tmp_path)
    (request,) = tick(instance, project)
    assert request.partition_key == "synthetic"
    metadata = materialize(instance, project)
    folder = Path(metadata["folder"])
    assert metadata["suggested frames"] == 2 and len(list(folder.glob("*.json"))) == 2
    assert metadata["pictures"].startswith("![predicted lanes")
    (skipped,) = tick(instance, project)
    assert "nothing has changed" in skipped.skip_message
    corrected = next(folder.glob("*.json"))
    corrected.write_text("corrected by a person")
    materialize(instance, project)
    assert corrected.read_text() == "corrected by a person"
    picture(tmp_path / "new/3.jpg", 3)
    (request,) = tick(instance, project)
    assert Path(materialize(instance, project)["folder"]) != folder and corrected.exists()


def test_frames_that_were_removed_again_are_requested_again(project, tmp_path):
    instance = dg.DagsterInstance.ephemeral()
    make_students(project.paths("synthetic", "enet"), tmp_path)
    picture(tmp_path / "new/0.jpg", 0)
    (first,) = tick(instance, project)
    materialize(instance, project)
    picture(tmp_path / "new/1.jpg", 1)
    (second,) = tick(instance, project)
    (again,) = tick(instance, project)
    assert second.run_key == again.run_key  # A run that fails is not repeated at every tick.
    materialize(instance, project)
    (tmp_path / "new/1.jpg").unlink()
    (third,) = tick(instance, project)
    assert len({first.run_key, second.run_key, third.run_key}) == 3


def test_folder_without_its_table_is_not_replaced(project, tmp_path):
    instance = dg.DagsterInstance.ephemeral()
    make_students(project.paths("synthetic", "enet"), tmp_path)
    for seed in range(3):
        picture(tmp_path / f"new/{seed}.jpg", seed)
    folder = Path(materialize(instance, project)["folder"])
    (folder / labelling.DONE).unlink()
    corrected = next(folder.glob("*.json"))
    with pytest.raises(LgadError, match=r"has no suggestions.csv; move the folder away"):
        materialize(instance, project)
    assert corrected.exists()


def test_frames_that_all_have_labels_are_no_failure(project, tmp_path, monkeypatch):
    make_students(project.paths("synthetic", "enet"), tmp_path)
    picture(tmp_path / "new/0.jpg", 0)
    monkeypatch.setattr("lgad_pipeline.suggestion.candidates.choose", lambda *_: Choice([], 1))
    metadata = materialize(dg.DagsterInstance.ephemeral(), project)
    assert metadata == metadata | {
        "suggested frames": 0,
        "reason": f"Every frame of {tmp_path / 'new'} shows the same picture as one with labels.",
    }


def test_an_emptied_folder_starts_no_run(project, tmp_path):
    instance = dg.DagsterInstance.ephemeral()
    make_students(project.paths("synthetic", "enet"), tmp_path)
    (tmp_path / "new" / "notes.txt").write_text("all frames have labels now")
    (skipped,) = tick(instance, project)
    assert "new holds no JPEG or PNG frames" in skipped.skip_message
    picture(tmp_path / "new/0.jpg", 0)
    (request,) = tick(instance, project)
    assert request.partition_key == "synthetic"


def test_reasons_why_nothing_is_suggested(project, tmp_path, monkeypatch):
    instance = dg.DagsterInstance.ephemeral()
    make_students(project.paths("synthetic", "enet"), tmp_path)
    monkeypatch.setattr(labelling.time, "time", lambda: labelling.folder_state(tmp_path / "new").changed)
    quiet = SETTINGS.replace("quiet_seconds: 0", "quiet_seconds: 60")
    for settings, reason in (
        (quiet, "may still be changing"),
        (SETTINGS.replace("frames: new", "frames: elsewhere"), "There is no folder"),
        (SETTINGS.replace("    suggest: {frames: new, count: 2, quiet_seconds: 0}\n", ""), "No data set of"),
    ):
        (tmp_path / "lgad.yaml").write_text(settings)
        (skipped,) = tick(instance, Project(file=str(tmp_path / "lgad.yaml")))
        assert reason in skipped.skip_message
