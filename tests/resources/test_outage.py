"""Trainings whose MLflow server is away, refuses, is killed and comes back: a real server."""

import numpy as np
import pytest

from lgad_pipeline.errors import LgadError
from resources.mlflow import run as tracked_run
from resources.mlflow.journal import RunJournal
from resources.mlflow.resource import default_tracking, run_id_of
from resources.mlflow.run import SyncError

PICTURE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def server(mlflow_server):
    return mlflow_server()


@pytest.fixture
def tracking(server, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracked_run, "SEND_SECONDS", 0.05)
    return default_tracking(tmp_path)


def losses(tracking, folder) -> list[tuple[int, float]]:
    history = tracking.client.get_metric_history(run_id_of(folder), "train/loss")
    return sorted((entry.step, entry.value) for entry in history)


def test_server_that_comes_late_is_killed_and_comes_back(server, tracking, training, wait_for, tmp_path):
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 3.0}, 1)  # nobody is there yet
        wait_for(lambda: run._fault is not None)
        run.log({"train/loss": 2.5}, 2)
        server.start()
        wait_for(lambda: RunJournal(tmp_path).unsent() == "")
        server.kill()
        run.log({"train/loss": 2.0}, 3)
        wait_for(lambda: run._fault is not None)
        run.add_picture(PICTURE, "overlays.png")
    assert RunJournal(tmp_path).unsent() == "1 metrics, 1 files, status FINISHED"
    with pytest.raises(SyncError, match=r"does not answer.*lgad sync"):
        tracking.sync(tmp_path)
    assert tracking.has_run(tmp_path)
    server.start()
    tracking.sync_all(tmp_path)
    assert losses(tracking, tmp_path) == [(1, 3.0), (2, 2.5), (3, 2.0)]
    run = tracking.client.get_run(run_id_of(tmp_path))
    assert run.info.status == "FINISHED" and run.data.params == {"training.steps": "4"}
    assert [file.path for file in tracking.client.list_artifacts(run_id_of(tmp_path))] == ["overlays.png"]
    assert RunJournal(tmp_path).unsent() == ""


def test_confirmation_that_got_lost_doubles_nothing(server, tracking, training, tmp_path):
    server.start()
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 3.0, "val/miou": 0.5}, 1)
        run.log({"train/loss": 2.0}, 2)
    first = run_id_of(tmp_path)
    (tmp_path / "mlflow" / "sent.json").unlink()  # as if we had been killed before the answers came
    tracking.sync(tmp_path)
    assert run_id_of(tmp_path) == first
    assert losses(tracking, tmp_path) == [(1, 3.0), (2, 2.0)]


def test_what_another_training_left_unsent_is_sent_later(server, tracking, training, tmp_path):
    server.start()
    nobody = tracking.model_copy(update={"uri": "http://127.0.0.1:9"})
    with training(nobody, tmp_path / "teacher", "one") as run:
        run.log({"train/loss": 3.0}, 1)
    locks = {path: path.stat().st_ino for path in (tmp_path / "teacher").rglob(".lock")}
    with training(nobody, tmp_path / "teacher", "two") as run:
        run.log({"train/loss": 2.0}, 1)
    # A process that waits for the lock while the journal moves must wait for the same file as later ones.
    assert locks == {path: path.stat().st_ino for path in (tmp_path / "teacher").rglob(".lock")} != {}
    tracking.sync_all(tmp_path)
    aside = next((tmp_path / ".unsent").iterdir())
    assert losses(tracking, aside) == [(1, 3.0)]
    assert losses(tracking, tmp_path / "teacher") == [(1, 2.0)]


def test_wrong_password_stops_early_and_says_so(mlflow_server, training, wait_for, tmp_path, monkeypatch):
    key = {"MLFLOW_FLASK_SERVER_SECRET_KEY": "secret"}
    (tmp_path / "auth.ini").write_text(
        "[mlflow]\ndefault_permission = READ\nadmin_username = admin\nadmin_password = correct horse\n"
        f"database_uri = sqlite:///{tmp_path}/auth.db\n"
    )
    server = mlflow_server(
        "--app-name", "basic-auth", MLFLOW_AUTH_CONFIG_PATH=str(tmp_path / "auth.ini"), **key
    )
    server.start()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "wrong")
    monkeypatch.setattr(tracked_run, "SEND_SECONDS", 0.05)
    tracking = default_tracking(tmp_path)
    with (
        pytest.raises(LgadError, match=r"refuses the user; correct .*MLFLOW_TRACKING_PASSWORD"),
        training(tracking, tmp_path) as run,
    ):
        run.log({"train/loss": 3.0}, 1)
        wait_for(lambda: run._fault is not None)
        run.log({"train/loss": 2.0}, 2)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "correct horse")
    with training(tracking, tmp_path) as run:
        run.log({"train/loss": 1.0}, 3)
    assert losses(tracking, tmp_path) == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert tracking.client.get_run(run_id_of(tmp_path)).info.status == "FINISHED"


def test_password_in_the_address_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example.com")
    with pytest.raises(LgadError, match="MLFLOW_TRACKING_PASSWORD"):
        default_tracking(tmp_path)
