import json
import os
import signal
import subprocess
import sys
import time

import dagster as dg
import pytest

from assets.sensors import failure_sensor, lost_runs, tell, worker_of
from lgad_pipeline.errors import LgadError
from lgad_pipeline.retraining import NotifyConfig
from resources.tracking import default_tracking

SLEEP = """
import time
import dagster as dg

@dg.op
def sleep():
    time.sleep(60)

@dg.job
def night():
    sleep()

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        night.execute_in_process(instance=instance)
"""


def test_run_whose_process_was_killed_is_marked_failed(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "night.py").write_text(SLEEP)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with (
        dg.DagsterInstance.get() as instance,
        subprocess.Popen([sys.executable, str(tmp_path / "night.py")], stderr=subprocess.DEVNULL) as process,
    ):
        while not (runs := instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))):
            assert process.poll() is None
            time.sleep(0.1)
        run_id = runs[0].run_id
        while worker_of(instance, run_id) is None:
            time.sleep(0.1)
        lost_runs(dg.build_sensor_context(instance))
        started = instance.get_run_by_id(run_id)
        assert started is not None and started.status == dg.DagsterRunStatus.STARTED
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        lost_runs(dg.build_sensor_context(instance))
        lost = instance.get_run_by_id(run_id)
        assert lost is not None and lost.status == dg.DagsterRunStatus.FAILURE


@dg.op
def frames():
    raise LgadError("list/train.txt is missing; restore it.")


@dg.job(tags={"dagster/partition": "my_drives"})
def data():
    frames()


def test_failure_is_told_once_it_is_final(tmp_path):
    told = tmp_path / "told.jsonl"
    sensor = failure_sensor(NotifyConfig(command=("tee", "-a", str(told))))
    tracking = default_tracking(tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        result = data.execute_in_process(instance=instance, raise_on_error=False)
        event = next(e for e in result.all_events if e.event_type == dg.DagsterEventType.RUN_FAILURE)

        def tick(run: dg.DagsterRun) -> None:
            context = dg.build_run_status_sensor_context(
                "failed_runs", event, instance, run, resources={"mlflow": tracking}
            )
            sensor(context.for_run_failure())

        run = result.dagster_run
        tick(run.with_tags({**run.tags, "dagster/will_retry": "true"}))
        assert not told.exists()
        tick(run)
    assert [json.loads(line) for line in told.read_text().splitlines()] == [
        {
            "run": f"http://localhost:3000/runs/{run.run_id}",
            "job": "data",
            "partition": "my_drives",
            "step": "frames",
            "reason": "list/train.txt is missing; restore it.",
        }
    ]


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("/nowhere/tell",), "cannot be run"),
        (("sh", "-c", "echo no such channel >&2; exit 3"), r"ended with 3 \(no such channel\)"),
    ],
)
def test_command_that_does_not_work_is_one_sentence(command, sentence):
    with pytest.raises(LgadError, match=sentence):
        tell(NotifyConfig(command=command), {"run": ""})
