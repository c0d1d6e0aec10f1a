"""Databases of MLflow that are outdated, too new, locked or damaged; warnings in a run's log."""

import re
import shutil
import sqlite3
import traceback
from contextlib import closing

import dagster as dg
import numpy as np
import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from lgad_pipeline.errors import LgadError
from resources.mlflow import store as mlflow_store
from resources.mlflow.journal_file import InputRecord
from resources.mlflow.resource import MlflowTracking, default_tracking
from resources.mlflow.run import SyncError


@pytest.fixture
def folder(tmp_path, training):
    """A project with one training in its store."""
    with training(default_tracking(tmp_path), tmp_path / "teacher") as run:
        run.log({"train/loss": 2.0}, 1)
    return tmp_path


def set_schema(folder, revision: str) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))


def ends(tracking: MlflowTracking) -> str:
    """How a step ends that cannot do without the store: its sentence."""
    with pytest.raises((dg.Failure, dg.RetryRequested)) as caught, tracking.needed():
        tracking.client.search_experiments()
    return f"{type(caught.value).__name__}: {caught.value.__cause__}"


def test_outdated_database_names_the_command_that_upgrades_it(folder, training):
    folder = shutil.copytree(
        folder, folder.with_name("of an older MLflow")
    )  # it checks a store once a process
    set_schema(folder, "bd07f7e963c5")
    tracking = default_tracking(folder)
    with pytest.raises(LgadError) as caught:
        tracking.check()
    command = re.search(r"then type: (\S+) db upgrade (.+)\.$", str(caught.value))
    assert command and command[1].endswith("mlflow") and command[2] == f"'sqlite:///{folder}/mlflow.db'"
    assert ends(default_tracking(folder)).startswith("Failure: MLflow at sqlite:///")
    with training(tracking, folder / "teacher") as run:  # the training is kept
        run.log({"train/loss": 1.0}, 2)
    with pytest.raises(SyncError, match="older MLflow; kept in"):
        tracking.sync(folder / "teacher")
    folder = shutil.copytree(folder, folder.with_name("of a newer MLflow"))
    set_schema(folder, "ffffffffffff")
    with pytest.raises(LgadError, match=r"by a newer MLflow than .* install the version that wrote it"):
        default_tracking(folder).check()


def test_locked_database_is_waited_for_and_then_named(folder, training, monkeypatch):
    monkeypatch.setattr("resources.mlflow.relocation._BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(folder / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        tracking = default_tracking(folder)
        sentence = ends(tracking)
        assert sentence.startswith("RetryRequested: MLflow at sqlite:///")
        assert "is locked by another process; end that process" in sentence and "are kept" in sentence
        with pytest.raises(SyncError, match="is locked by another process; kept in"):
            tracking.sync(folder / "teacher")
        tracking.check()  # it may be free again when it is needed
        other.execute("ROLLBACK")
    default_tracking(folder).sync(folder / "teacher")


def test_damaged_database_is_one_sentence(folder):
    (folder / "mlflow.db").write_bytes(b"no database" * 1000)
    with pytest.raises(LgadError, match="is damaged; put a copy of it back"):
        default_tracking(folder).check()


def test_password_in_an_unknown_error_is_not_passed_on(folder):
    tracking = default_tracking(folder)
    with pytest.raises(LgadError) as caught, tracking.needed():
        raise MlflowException(
            "got unsupported URI 'postgres://lgad:S3CRET@host/mlflow'", error_code=INVALID_PARAMETER_VALUE
        )
    shown = "".join(traceback.format_exception(caught.value))
    assert "unsupported URI" in shown and "S3CRET" not in shown


def test_experiment_that_was_deleted_is_restored(folder):
    tracking = default_tracking(folder)
    number = tracking.experiment("roads")
    tracking.client.delete_experiment(number)
    assert tracking.experiment("roads") == number
    assert tracking.client.get_experiment(number).lifecycle_stage == "active"


@pytest.mark.parametrize("what", ["metrics", "input", "picture", "file"])
def test_error_of_a_synchronization_is_in_the_log_of_the_run(training, tmp_path, monkeypatch, what):
    monkeypatch.setitem(mlflow_store._PATIENCE, "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    nobody = MlflowTracking(uri="http://127.0.0.1:9")
    with training(nobody, tmp_path) as run:
        run.log({"train/loss": 2.0}, 1)
    send = {
        "metrics": lambda: nobody.add_metrics(tmp_path, {"test/f1": 0.5}),
        "input": lambda: nobody.add_input(tmp_path, InputRecord(name="roads", digest="f")),
        "picture": lambda: nobody.add_picture(tmp_path, np.zeros((8, 8, 3), np.uint8), "lanes.png"),
        "file": lambda: nobody.add_file(tmp_path, b"", "f1.svg"),
    }

    @dg.op
    def step() -> None:
        assert send[what]() is None  # there is nothing that a caller could drop

    @dg.job
    def scores() -> None:
        step()

    with dg.DagsterInstance.ephemeral() as instance:
        result = scores.execute_in_process(instance=instance)
        messages = [entry.user_message for entry in instance.all_logs(result.run_id)]
    assert any("does not answer; kept in" in message and "lgad sync" in message for message in messages)
