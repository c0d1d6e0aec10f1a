"""A project whose folder was renamed, copied or restored elsewhere: a real MLflow store in it."""

import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from resources.mlflow.journal import RunJournal
from resources.mlflow.relocation import relocate
from resources.mlflow.resource import default_tracking, run_id_of

ROOT = Path(__file__).parents[2]
LOAD = """
import mlflow
mlflow.set_tracking_uri("sqlite:///mlflow.db")
folder = mlflow.artifacts.download_artifacts("models:/roads-enet@champion")
print(open(folder + "/network/weights.txt").read())
"""
USE = """
import sys
from pathlib import Path
from resources.mlflow.resource import default_tracking
client, run = default_tracking(Path.cwd()).client, sys.argv[1]
print(Path(client.download_artifacts(run, "network/weights.txt")).read_text())
client.log_text(run, "new", "more.txt")
"""
SETTINGS = "recipes: {enet: {teacher: {steps: 200}, student: {steps: 200}}}\n"


def locations(database: Path) -> list[str]:
    """Every artifact path in a database."""
    queries = (
        "SELECT artifact_location FROM experiments",
        "SELECT artifact_uri FROM runs",
        "SELECT storage_location FROM model_versions",
    )
    with sqlite3.connect(database) as connection:
        return [row[0] for query in queries for row in connection.execute(query)]


@pytest.fixture(scope="module")
def project(tmp_path_factory, request):
    """A project with one run, a file in it and a registered version, made in the folder `my drives #2`."""
    folder = tmp_path_factory.mktemp("projects") / "my drives #2"
    folder.mkdir()
    (folder / "lgad.yaml").write_text(SETTINGS)
    tracking = default_tracking(folder)
    client = tracking.client
    run = client.create_run(tracking.experiment("roads")).info.run_id
    client.log_text(run, "kept", "network/weights.txt")
    client.create_registered_model("roads-enet")
    client.create_model_version("roads-enet", str(client.get_run(run).info.artifact_uri), run)
    client.set_registered_model_alias("roads-enet", "champion", "1")
    return folder, run


@pytest.mark.parametrize("keep", [True, False])
def test_moved_and_copied_projects_read_and_write_in_their_own_folder(project, tmp_path, keep):
    folder, run = project
    here = tmp_path / "elsewhere"
    shutil.copytree(folder, here)
    old = tmp_path / "old"
    if not keep:
        folder.rename(old)
    before = sorted(path for path in folder.rglob("*")) if keep else []
    try:
        assert python(USE, here, run) == "kept"  # MLflow remembers folders of runs as long as a process lives
        assert any(here.rglob("more.txt"))
        assert folder.exists() == keep and sorted(folder.rglob("*")) == before
        assert not [path for path in locations(here / "mlflow.db") if folder.name in unquote(path)]
        assert relocate(here / "mlflow.db", here / "mlruns") == 0
    finally:
        if not keep:
            old.rename(folder)


def test_one_command_repairs_a_store_for_programs_that_know_mlflow_alone(project, tmp_path):
    here = tmp_path / "restored"
    shutil.copytree(project[0], here)
    assert f"they lead to {here / 'mlruns'}" in python(
        "import maintenance; maintenance.main()", here, "relocate"
    )
    assert python(LOAD, here) == "kept"


def test_experiments_that_others_keep_elsewhere_stay_where_they_are(project, tmp_path):
    here = tmp_path / "elsewhere"
    shutil.copytree(project[0], here)
    with sqlite3.connect(here / "mlflow.db") as connection:
        connection.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) "
            "VALUES (7, 'theirs', '/mnt/theirs/mlruns/theirs', 'active'), "
            "(8, 's3', 's3://bucket/mlruns/s3', 'active')"
        )
    assert relocate(here / "mlflow.db", here / "mlruns") > 0
    assert {"/mnt/theirs/mlruns/theirs", "s3://bucket/mlruns/s3"} <= set(locations(here / "mlflow.db"))


def test_journals_of_a_moved_project_know_their_runs(training, tmp_path):
    before, here = tmp_path / "before", tmp_path / "here"
    before.mkdir()
    with training(default_tracking(before), before / "teacher") as run:
        run.log({"train/loss": 2.0}, 1)
    first = run_id_of(before / "teacher")
    sent = before / "teacher/mlflow/sent.json"  # as earlier versions wrote it
    sent.write_text(sent.read_text().replace("sqlite:///mlflow.db", f"sqlite:///{before}/mlflow.db"))
    before.rename(here)
    tracking = default_tracking(here)
    assert RunJournal(here / "teacher").sent(tracking.store).run_id == first and tracking.has_run(
        here / "teacher"
    )
    with training(tracking, here / "teacher") as run:
        run.log({"train/loss": 1.0}, 2)
    history = tracking.client.get_metric_history(first, "train/loss")
    assert [entry.value for entry in history] == [2.0, 1.0] and not before.exists()


def python(program: str, folder: Path, *arguments: str) -> str:
    """What a program prints that is run in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW", "LGAD"))}
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        env=kept | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
