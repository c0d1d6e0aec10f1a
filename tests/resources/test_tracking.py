import numpy as np
import pandas as pd
import pytest

from resources.mlflow import run as tracked_run
from resources.mlflow import system_metrics
from resources.mlflow.journal import RunJournal
from resources.mlflow.resource import MlflowTracking, default_tracking, run_id_of


@pytest.fixture(scope="module")
def tracking(tmp_path_factory):
    return default_tracking(tmp_path_factory.mktemp("store"))


def steps(tracking: MlflowTracking, run_id: str) -> list[int]:
    return [entry.step for entry in tracking.client.get_metric_history(run_id, "train/loss")]


def test_killed_training_resumes_in_its_run(tracking, training, tmp_path):
    with pytest.raises(KeyboardInterrupt), training(tracking, tmp_path) as run:
        run.log({"train/loss": 2.0}, 1)
        run.log({"train/loss": 1.5}, 2)
        raise KeyboardInterrupt
    first = run_id_of(tmp_path)
    assert tracking.client.get_run(first).info.status == "KILLED"
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 1.5}, 2)  # the checkpoint was older than the last metrics
        run.log({"train/loss": 1.0}, 3)
    assert run_id_of(tmp_path) == first
    assert tracking.client.get_run(first).info.status == "FINISHED"
    assert steps(tracking, first) == [1, 2, 3]
    assert tracking.client.get_run(first).data.params == {"training.steps": "4"}


def test_other_inputs_are_another_run(tracking, training, tmp_path):
    with training(tracking, tmp_path, "one") as run:
        run.log({"train/loss": 2.0}, 1)
    first = run_id_of(tmp_path)
    with training(tracking, tmp_path, "two") as run:
        run.log({"train/loss": 2.0}, 1)
    assert run_id_of(tmp_path) != first


def test_what_the_store_lacks_is_sent_afterwards(tracking, training, tmp_path):
    history = pd.DataFrame({"step": [1, 2, 3], "train/loss": [3.0, 2.0, 1.0], "val/miou": [None, None, 0.5]})
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 2.0}, 2)
        run.complete(history)
    assert sorted(steps(tracking, run_id_of(tmp_path))) == [1, 2, 3]
    assert len(tracking.client.get_metric_history(run_id_of(tmp_path), "val/miou")) == 1


def test_reused_training_keeps_its_end_and_its_metrics(tracking, training, wait_for, tmp_path, monkeypatch):
    """The journal is sent while the pictures of a finished training are drawn again."""
    monkeypatch.setattr(tracked_run, "SEND_SECONDS", 0.05)
    history = pd.DataFrame({"step": [1, 2], "train/loss": [3.0, 2.0]})
    with training(tracking, tmp_path) as run:
        run.complete(history)
    before = tracking.client.get_run(run_id_of(tmp_path))
    monkeypatch.setattr(system_metrics, "LOG_SECONDS", 0.0)
    with training(tracking, tmp_path) as run:
        run.complete(history)
        run.add_picture(np.zeros((8, 8, 3), np.uint8), "overlays.png")
        wait_for(lambda: not RunJournal(tmp_path).has("overlays.png"))
        assert tracking.client.get_run(run_id_of(tmp_path)).info.status == "FINISHED"
    after = tracking.client.get_run(run_id_of(tmp_path))
    assert after.info.end_time == before.info.end_time and after.data.metrics == before.data.metrics


def test_failed_training_is_marked(tracking, training, tmp_path):
    with pytest.raises(ValueError, match="odd"), training(tracking, tmp_path) as run:
        run.log({"train/loss": 2.0}, 1)
        raise ValueError("odd")
    assert tracking.client.get_run(run_id_of(tmp_path)).info.status == "FAILED"


def test_address_comes_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com/")
    assert default_tracking(tmp_path).ui == "https://mlflow.example.com"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert default_tracking(tmp_path).uri == f"sqlite:///{tmp_path}/mlflow.db"
