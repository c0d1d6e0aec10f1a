"""Nights of a small project: a real daemon, code server, Dagster instance and MLflow store."""

import shutil
import subprocess
import sys

import dagster as dg
import pytest
from mlflow import MlflowClient

from tests.support.services import ROOT, Services, recipe, wait, write_frames, write_settings

DATASETS = {name: {"retrain": {"quiet_seconds": 3}} for name in ("drives", "others")}
# The first evening, in a process of its own: it has the partitions of this project.
EVENING = """
import dagster as dg
from assets.partitions import grid_key
from definitions import defs

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        for dataset in ("drives", "others"):
            defs.resolve_job_def("data").execute_in_process(instance=instance, partition_key=dataset)
        key = grid_key("drives", "enet")
        defs.resolve_job_def("retrain").execute_in_process(instance=instance, partition_key=key)
"""


@pytest.mark.nights
@pytest.mark.filterwarnings("ignore")
def test_new_frames_retrain_what_is_stale(tmp_path, monkeypatch):
    write_frames(tmp_path / "drives", seed=1, train=8, val=4)
    write_frames(tmp_path / "tonight", seed=1, train=12, val=4)
    write_frames(tmp_path / "others", seed=2, train=2, val=2)
    write_settings(tmp_path, DATASETS, {"enet": recipe(10, 10)})
    services = Services(tmp_path)
    (tmp_path / "evening.py").write_text(EVENING)
    environment = {**services.environment, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "evening.py"], cwd=tmp_path, env=environment, check=True)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")

    def version(alias: str) -> str:
        """Version that has an alias; empty for none."""
        return str(client.get_registered_model("drives-enet").aliases.get(alias, ""))

    def is_promoted(number: str) -> bool:
        return "becomes champion" in client.get_model_version("drives-enet", number).tags["decision"]

    # A student of ten steps is not put in use unless it is better than lanes drawn blindly.
    first = "1" if is_promoted("1") else ""
    assert version("challenger") == "1" and version("champion") == first
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.get() as instance, services:
        known = {run.run_id for run in instance.get_runs()}

        def new_runs() -> list[dg.DagsterRun]:
            return [run for run in instance.get_runs() if run.run_id not in known]

        def trained() -> list[dg.DagsterRun]:
            return [run for run in new_runs() if run.tags.get("lgad/recipe") and run.is_finished]

        services.dagster("sensor", "start", "new_frames")
        shutil.copytree(tmp_path / "tonight", tmp_path / "drives", dirs_exist_ok=True)
        wait(trained, f"the models did not follow; see {tmp_path}/daemon.log")
        assert {run.tags["dagster/partition"] for run in new_runs()} == {"drives", "drives|enet"}
        assert [run.status for run in trained()] == [dg.DagsterRunStatus.SUCCESS]
        assert version("challenger") == "2"
        assert version("champion") == ("2" if is_promoted("2") else first)
        wait(
            lambda: not instance.event_log_storage.get_concurrency_info("device").active_slot_count,
            "the slot of the device is still held",
        )
