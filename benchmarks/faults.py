"""SIGKILL during training: the step's process, the run's, the daemon, the code server, the tracking server.

    python -m benchmarks.faults [--rounds 5] [--victims step,run,daemon,code,mlflow]

The services run as in production: code server, daemon and MLflow's server. A teacher is trained that needs
more steps than there is time. Each round waits until metrics have arrived in MLflow, kills one process,
starts it again where it is a service, and waits until the training has gone on. Then it is looked whether

- every metric that MLflow had acknowledged is there, no step is missing between, all are in one MLflow run;
- no run but one that is alive holds the slot of the device;
- nothing is in the registry.

At last the training is cancelled, and the slot must become free.
"""

import os
import signal
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer
from dagster._core.errors import DagsterUserCodeProcessError

from assets.keys import asset_key, step_name
from assets.sensors import worker_of
from tests.support.services import Services, recipe, wait, write_frames, write_settings

ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
UNFINISHED = [status for status in dg.DagsterRunStatus if status not in ENDED]
_TEACHERS_LOSS = (
    "FROM metrics JOIN runs USING (run_uuid) WHERE key = 'train/loss' AND runs.name LIKE 'teacher%'"
)


def main(
    rounds: Annotated[int, typer.Option(help="Kills of each victim.")] = 5,
    victims: Annotated[str, typer.Option(help="Which, with commas.")] = "step,run,daemon,code,mlflow",
) -> None:
    """Kill, wait, look; print a line for each round."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        write_frames(folder / "drives", seed=1, train=16, val=6)
        write_settings(folder, {"drives": {}}, {"enet": recipe(1_000_000, 10)})
        services = Services(folder, mlflow=True)
        os.environ["DAGSTER_HOME"] = str(folder)
        os.chdir(folder)  # dagster.yaml's paths are relative to it
        with services, dg.DagsterInstance.get() as instance:
            services.launch("data", "drives")
            wait(lambda: instance.get_materialized_partitions(asset_key("shards")), "there are no shards")
            for victim in victims.split(","):
                for number in range(1, rounds + 1):
                    seconds = one_round(services, instance, victim)
                    print(f"{victim:8} {number}: went on after {seconds:.0f} s, nothing lost", flush=True)
            cancel(instance, folder)
            print("cancelled: the training has stopped, the slot of the device is free")


def one_round(services: Services, instance: dg.DagsterInstance, victim: str) -> float:
    """Kill once, wait until the training has gone on, and look; returns the seconds from the kill to that."""
    if not unfinished(instance):
        services.launch("retrain", "drives", "enet")
    begun = len(metrics(services.folder))
    wait(lambda: len(metrics(services.folder)) > begun + 1, "no training is under way")
    known = metrics(services.folder)
    killed = time.monotonic()
    kill(services, instance, victim)

    def went_on() -> bool:
        if not unfinished(instance):  # all its tries were killed
            services.launch("retrain", "drives", "enet")
        return max(metrics(services.folder)) > max(known)

    wait(went_on, f"no training went on after {victim} was killed")
    seconds = time.monotonic() - killed
    time.sleep(2)
    look(services.folder, instance, known)
    return seconds


def kill(services: Services, instance: dg.DagsterInstance, victim: str) -> None:
    """SIGKILL to one of them; services are started again after a while."""
    if victim in services.names:
        services.kill(victim)
        time.sleep(10)
        services.start(victim)
        return
    run = unfinished(instance)[0]
    if victim == "run":
        worker = worker_of(instance, run.run_id)
        assert worker is not None
        os.kill(worker[0], signal.SIGKILL)
        return
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_WORKER_STARTED)
    steps = [entry.get_dagster_event() for entry in entries]
    last = [event for event in steps if step_name(str(event.step_key)) == "teacher"][-1]
    os.kill(int(str(last.engine_event_data.metadata["pid"].value)), signal.SIGKILL)


def look(folder: Path, instance: dg.DagsterInstance, known: dict[int, float]) -> None:
    """See that nothing was lost and nothing is held that should not be."""
    now = metrics(folder)
    assert all(now.get(step) == value for step, value in known.items()), "an acknowledged metric is gone"
    assert sorted(now) == list(range(5, max(now) + 1, 5)), "a step is missing"
    assert query(folder, f"SELECT count(DISTINCT run_uuid) {_TEACHERS_LOSS}") == [(1,)]
    assert query(folder, "SELECT count(*) FROM model_versions") == [(0,)]
    holders = {
        slot.run_id for slot in instance.event_log_storage.get_concurrency_info("device").claimed_slots
    }
    alive = {run.run_id for run in unfinished(instance)}
    wait(
        lambda: (
            {slot.run_id for slot in instance.event_log_storage.get_concurrency_info("device").claimed_slots}
            <= {run.run_id for run in unfinished(instance)}
        ),
        f"the slot is held by {holders - alive}",
        patience=60,
    )


def cancel(instance: dg.DagsterInstance, folder: Path) -> None:
    """Cancel the training, and check that it stops and that its slot becomes free."""
    for run in unfinished(instance):
        try:
            instance.run_launcher.terminate(run.run_id)
        except DagsterUserCodeProcessError:
            # The code server that launched it was killed: this is the forced termination of the UI.
            instance.report_run_canceled(run)
    wait(lambda: not unfinished(instance), "the run does not stop", patience=300)
    wait(lambda: has_stopped(folder), "the training of a cancelled run continues", patience=120)
    wait(
        lambda: not instance.event_log_storage.get_concurrency_info("device").active_slot_count,
        "the slot of a cancelled run is not free",
        patience=120,
    )


def unfinished(instance: dg.DagsterInstance) -> list[dg.DagsterRun]:
    """Return the runs that have not ended, or wait for a retry."""
    runs = instance.get_runs(dg.RunsFilter(job_name="retrain"))
    ahead = [run for run in runs if run.tags.get("dagster/will_retry") == "true"]
    retried = {run.parent_run_id for run in runs}
    return [run for run in runs if run.status in UNFINISHED] + [
        run for run in ahead if run.run_id not in retried
    ]


def metrics(folder: Path) -> dict[int, float]:
    """Return the teacher's loss by step, as MLflow's database has it."""
    return dict(query(folder, f"SELECT step, value {_TEACHERS_LOSS}"))


def has_stopped(folder: Path) -> bool:
    """Return True if no metric arrives for ten seconds."""
    before = len(metrics(folder))
    time.sleep(10)
    return len(metrics(folder)) == before


def query(folder: Path, sql: str) -> list[tuple]:
    """Read MLflow's database."""
    with sqlite3.connect(f"file:{folder / 'mlflow.db'}?mode=ro", uri=True) as connection:
        return connection.execute(sql).fetchall()


if __name__ == "__main__":
    typer.run(main)
