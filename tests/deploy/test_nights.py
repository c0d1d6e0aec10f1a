"""Nights of a small project: a real daemon, code server, Dagster instance and MLflow store."""

import shutil
import subprocess
import sys

import dagster as dg
import pytest
from mlflow import MlflowClient

from benchmarks.services import ROOT, Services, recipe, wait, write_frames, write_settings

DATASETS = {name: {"retrain": {"quiet_seconds": 3}} for name in ("drives", "others")}
POOR, GOOD = recipe(10, 10), recipe(20, 150)
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


@pytest.mark.filterwarnings("ignore")
def test_new_frames_retrain_what_is_stale_and_the_better_model_wins(tmp_path, monkeypatch):
    write_frames(tmp_path / "drives", seed=1, train=16, val=9)
    for night in (2, 3):  # copied in one go when it comes
        write_frames(tmp_path / f"night-{night}", seed=1, train=16 + night, val=9)
    write_frames(tmp_path / "others", seed=2, train=2, val=2)
    write_settings(tmp_path, DATASETS, {"enet": POOR})
    services = Services(tmp_path)
    (tmp_path / "evening.py").write_text(EVENING)
    subprocess.run(
        [sys.executable, "evening.py"],
        cwd=tmp_path,
        env={**services.environment, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")

    def champion() -> str:
        return str(client.get_model_version_by_alias("drives-enet", "champion").version)

    assert champion() == "1"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with dg.DagsterInstance.get() as instance, services:
        services.dagster("sensor", "start", "new_frames")
        for night, (settings, wins) in enumerate(((GOOD, "2"), (POOR, "2")), 2):
            known = {run.run_id for run in instance.get_runs()}
            write_settings(tmp_path, DATASETS, {"enet": settings})
            shutil.copytree(tmp_path / f"night-{night}", tmp_path / "drives", dirs_exist_ok=True)

            def ended(known=known) -> list[dg.DagsterRun]:
                new = [run for run in instance.get_runs() if run.run_id not in known]
                return [run for run in new if run.tags["dagster/partition"] != "drives" and run.is_finished]

            wait(ended, f"the models did not follow; see {tmp_path}/daemon.log")
            runs = [run for run in instance.get_runs() if run.run_id not in known]
            partitions = sorted(run.tags["dagster/partition"] for run in runs)
            assert partitions[:2] == ["drives", "drives|enet"] and "others" not in partitions
            assert {run.status for run in runs if run.is_finished} == {dg.DagsterRunStatus.SUCCESS}
            assert ended()[-1].tags["lgad/recipe"] == "enet" and ended()[-1].tags["lgad/commit"]
            challenger = client.get_model_version_by_alias("drives-enet", "challenger")
            assert str(challenger.version) == str(night)
            assert champion() == wins, challenger.tags
        slots = instance.event_log_storage.get_concurrency_info("device")
        assert slots.slot_count == 1 and slots.active_slot_count == 0
