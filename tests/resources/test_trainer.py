"""Launchers of the trainer: one training in the process of the step, by torchrun, and its cancellation."""

import json
import shutil
from pathlib import Path

import pytest

from lgad_pipeline.config.trainer import TrainerConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Recipe, SyntheticDataset
from resources.paths import ProjectPaths
from resources.trainer import Log, Trainer
from tests.support.trainings import IMAGE_SIZE, pack_road

TRAINING = {
    "steps": 40,
    "batch_size": 4,
    "threads": 1,
    "log_every": 2,
    "validate_every": 20,
    "checkpoint_seconds": 1e6,
    "optimizer": {"warmup_steps": 2},
}
DATASET = SyntheticDataset.model_validate({"kind": "synthetic", "image_size": IMAGE_SIZE, "lane_width": 40})


@pytest.fixture
def paths(tmp_path: Path) -> ProjectPaths:
    (tmp_path / "road").mkdir()
    paths = ProjectPaths(tmp_path / "state", tmp_path / "road", "synthetic", "enet")
    paths.shards.parent.mkdir(parents=True)
    shutil.move(pack_road(tmp_path / "road"), paths.shards)
    return paths


def student(trainer: Trainer, paths: ProjectPaths, log: Log, **training: object):
    recipe = Recipe.model_validate(
        {"network": {"width": 0.25}, "teacher": TRAINING, "student": {**TRAINING, **training}}
    )
    return trainer.student(DATASET, recipe, paths, log, teacher=None)


def test_torchrun_passes_metrics_on_and_a_cancelled_training_resumes(paths: ProjectPaths) -> None:
    trainer = Trainer.of_settings(TrainerConfig(launcher="torchrun", device="cpu", devices=2))
    steps: list[int] = []

    class Cancelled(BaseException):
        """Exception that Dagster raises in a step whose run is cancelled."""

    def cancelled(metrics: dict[str, float], step: int) -> None:
        steps.append(step)
        raise Cancelled

    with pytest.raises(Cancelled):
        student(trainer, paths, cancelled)
    # The checkpoint would be written after the last step only: the processes stopped cleanly.
    assert steps == [2] and (paths.student_alone / "checkpoint.pt").is_file()
    stopped = json.loads((paths.student_alone / "job.jsonl").read_text().splitlines()[-1])["stopped"]
    logged: dict[int, dict[str, float]] = {}
    result = student(trainer, paths, lambda metrics, step: logged.update({step: metrics}))
    assert list(logged) == [step for step in range(2, 41, 2) if step > stopped]
    assert not result.reused and result.history["step"].tolist() == [*range(2, 41, 2)]
    assert logged[40]["val/miou"] == result.history["val/miou"].iloc[-1]
    assert student(trainer, paths, lambda metrics, step: None).reused


def test_an_error_of_the_training_is_that_of_the_launcher(paths: ProjectPaths) -> None:
    trainer = Trainer(launcher="torchrun", device="cpu", devices=2)
    with pytest.raises(
        LgadError, match="batch_size 5 cannot be divided equally among 2 processes; change it"
    ):
        student(trainer, paths, lambda metrics, step: None, batch_size=5)


def test_one_process_has_one_device(paths: ProjectPaths) -> None:
    with pytest.raises(
        LgadError, match="in_process trains on one device, not on 2; set launcher to torchrun"
    ):
        student(Trainer(devices=2), paths, lambda metrics, step: None)
    with pytest.raises(ValueError, match="in_process trains on one device, not on 2"):
        TrainerConfig(devices=2)
