import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets import notifications, sensors
from assets.jobs import in_progress
from assets.notifications import ATTEMPTS, failure_sensor
from assets.sensors import lost_runs, new_frames, worker_of
from definitions import definitions
from lgad_pipeline.config.schedule import NotifyConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_files import LaneFileError
from resources.mlflow.resource import default_tracking
from resources.notification import run_command
from resources.processes import HOST_TAG
from resources.progress import ProgressLog
from resources.project import Project

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
        night.execute_in_process(instance=instance, tags=TAGS)
"""


def test_run_whose_process_was_killed_is_marked_failed(tmp_path, monkeypatch):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    here = {HOST_TAG: socket.gethostname()}
    (tmp_path / "night.py").write_text(SLEEP.replace("TAGS", str(here)))
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
        context = dg.build_sensor_context(instance)
        lost_runs(context)
        started = instance.get_run_by_id(run_id)
        assert started is not None and started.status == dg.DagsterRunStatus.STARTED
        cursor = json.loads(context.cursor or "")
        assert cursor[run_id][0] == process.pid
        instance.add_run_tags(run_id, {HOST_TAG: "another-machine"})
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        lost_runs(dg.build_sensor_context(instance))
        elsewhere = instance.get_run_by_id(run_id)
        assert elsewhere is not None and elsewhere.status == dg.DagsterRunStatus.STARTED
        instance.add_run_tags(run_id, here)
        lost_runs(dg.build_sensor_context(instance))
        lost = instance.get_run_by_id(run_id)
        assert lost is not None and lost.status == dg.DagsterRunStatus.FAILURE


@dg.op
def frames():
    try:
        b"\xff".decode()
    except UnicodeError as error:
        raise LaneFileError("list/train.txt is not a text; restore it.") from error


@dg.job(tags={"dagster/partition": "my_drives"})
def data():
    frames()


class Failures:
    """The sensor of failed runs with its cursor, on an instance of its own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, *command: str) -> None:
        self.instance, self.cursor = instance, None
        self.sensor = failure_sensor(NotifyConfig(command=command))
        (folder / "lgad.yaml").write_text("recipes: {enet: {teacher: {}, student: {}}}\n")
        self.resources: dict = {
            "project": Project(file=str(folder / "lgad.yaml")),
            "mlflow": default_tracking(folder),
        }

    def fail(self, **tags: str) -> dg.DagsterRun:
        result = data.execute_in_process(instance=self.instance, raise_on_error=False, tags=tags)
        return result.dagster_run

    def tick(self) -> str:
        context = dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, resources=self.resources
        )
        ticked = self.sensor.evaluate_tick(context)
        self.cursor = ticked.cursor
        assert ticked.skip_message is not None
        return ticked.skip_message


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def test_a_failure_is_reported_when_no_retry_follows(tmp_path, instance):
    messages = tmp_path / "messages.jsonl"
    failures = Failures(tmp_path, instance, "tee", "-a", str(messages))
    failures.fail()
    assert failures.tick() == "0 failed runs were reported."  # it is of the time before the sensor
    failures.fail(**{"dagster/will_retry": "true"})
    run = failures.fail()
    assert failures.tick() == "1 failed runs were reported."
    assert failures.tick() == "0 failed runs were reported."
    assert [json.loads(line) for line in messages.read_text().splitlines()] == [
        {
            "event": "run_failed",
            "run": f"http://localhost:3000/runs/{run.run_id}",
            "job": "data",
            "partition": "my_drives",
            "step": "frames",
            "reason": "list/train.txt is not a text; restore it.",
        }
    ]


def test_message_that_was_not_delivered_is_sent_again(tmp_path, instance):
    script = tmp_path / "tell.sh"
    script.write_text("exit 3\n")
    failures = Failures(tmp_path, instance, "sh", str(script), "https://hooks.example/secret")
    failures.tick()
    failures.fail()
    skipped = failures.tick()
    assert "0 failed runs were reported. notify.command of lgad.yaml ended with 3" in skipped
    assert "Attempt 1 of 20; the next tick tries again." in skipped and "secret" not in skipped
    script.write_text(f"cat >> {tmp_path}/messages\n")
    failures.fail()
    assert failures.tick() == "2 failed runs were reported."
    assert len((tmp_path / "messages").read_text().splitlines()) == 2


def test_slow_command_leaves_messages_to_the_next_tick(tmp_path, instance, monkeypatch):
    monkeypatch.setattr(notifications, "_START_SECONDS", 0)
    messages = tmp_path / "messages.jsonl"
    failures = Failures(tmp_path, instance, "tee", "-a", str(messages))
    failures.tick()
    runs = [failures.fail().run_id for _ in range(2)]
    assert [failures.tick() for _ in range(3)] == [
        f"{count} failed runs were reported." for count in (1, 1, 0)
    ]
    assert [json.loads(line)["run"][-36:] for line in messages.read_text().splitlines()] == runs


def test_message_is_given_up_after_many_attempts(tmp_path, instance):
    failures = Failures(tmp_path, instance, "false")
    failures.tick()
    failures.fail()
    skipped = [failures.tick() for _ in range(ATTEMPTS + 1)]
    assert "Attempt 19 of 20" in skipped[-3] and "tries again" not in skipped[-2]
    assert skipped[-1] == "0 failed runs were reported."


def test_command_that_hangs_is_started_once_in_a_tick(tmp_path, instance, monkeypatch):
    monkeypatch.setattr(notifications, "_START_SECONDS", 0)
    starts = tmp_path / "starts"
    failures = Failures(tmp_path, instance, "sh", "-c", f"echo >> {starts}; exit 1")
    failures.tick()
    failures.fail()
    failures.fail()
    for _ in range(ATTEMPTS):  # the last attempt for the first run leaves the second run to the next tick
        failures.tick()
    assert len(starts.read_text().splitlines()) == ATTEMPTS


SECRET = "https://hooks.example/T0/secret"


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (("/nowhere/tell", SECRET), r"cannot be run \(No such file or directory\)"),
        (("a\0b", SECRET), "cannot be run"),
        (
            ("sh", "-c", f"echo no such channel {SECRET} >&2; printf '\\377\\0'; exit 3"),
            "ended with 3; its output is",
        ),
    ],
)
def test_command_that_does_not_work_is_one_sentence_without_its_output(tmp_path, command, sentence):
    output = tmp_path / "logs" / "notify.log"
    with pytest.raises(LgadError, match=sentence) as error:
        run_command(NotifyConfig(command=command), {"run": "a\0b"}, output=output)
    assert "secret" not in str(error.value) and output.stat().st_mode & 0o777 == 0o600
    assert (b"no such channel" in output.read_bytes()) == (command[0] == "sh")


def watched(folder: Path, count: int, **broken: str) -> Project:
    entries = {
        f"d{number:03}": f"{{kind: culane, root: d{number:03}, retrain: {{}}}}" for number in range(count)
    }
    for name in entries:
        (folder / name).mkdir()
        os.utime(folder / name, (0, 0))
    lines = "".join(f"  {name}: {entry}\n" for name, entry in {**entries, **broken}.items())
    (folder / "lgad.yaml").write_text(
        f"datasets:\n{lines}recipes: {{enet: {{teacher: {{}}, student: {{}}}}}}\n"
    )
    return Project(file=str(folder / "lgad.yaml"))


class Tick:
    """One tick of `new_frames` in a code location that was loaded with these settings."""

    def __init__(self, instance: dg.DagsterInstance, project: Project, cursor: str | None = None) -> None:
        context = dg.build_sensor_context(
            instance=instance,
            cursor=cursor,
            repository_def=definitions(ProgressLog()).get_repository_def(),
            resources={"project": project},
        )
        found: list[Any] = list(new_frames(context))  # pyright: ignore
        self.cursor = context.cursor
        self.requested = [one.partition_key for one in found if isinstance(one, dg.RunRequest)]
        self.skipped = " ".join(str(one.skip_message) for one in found if isinstance(one, dg.SkipReason))


def test_tick_is_bounded_and_the_next_one_continues(tmp_path, instance, monkeypatch):
    monkeypatch.setattr(sensors, "CHECKED_PER_TICK", 3)
    project = watched(tmp_path, 5)
    monkeypatch.setattr(sensors, "DATASETS", dg.StaticPartitionsDefinition(project.settings.dataset_names))
    tick = Tick(instance, project)
    assert "changed just now" in tick.skipped and tick.cursor == "d002"
    monkeypatch.setattr(time, "time", lambda: 4e9)  # the folders have been quiet since
    tick = Tick(instance, project, tick.cursor)
    assert tick.requested == ["d003", "d004", "d000"]
    monkeypatch.setattr(sensors, "REQUESTED_PER_TICK", 1)
    tick = Tick(instance, project, tick.cursor)
    assert tick.requested == ["d001"] and tick.cursor == "d001"


def test_clock_that_was_set_back_silences_nothing(tmp_path, instance, monkeypatch):
    project = watched(tmp_path, 1)
    monkeypatch.setattr(sensors, "DATASETS", dg.StaticPartitionsDefinition(project.settings.dataset_names))
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert Tick(instance, project).requested == ["d000"]


def test_bad_data_sets_are_named_in_the_tick_and_stop_no_other(tmp_path, instance, monkeypatch):
    monkeypatch.setattr(time, "time", lambda: 4e9)
    away = "{kind: culane, root: /mnt/not/mounted, retrain: {}}"
    project = watched(tmp_path, 2, a_way=away, typo="{kind: culane, rot: .}")
    monkeypatch.setattr(sensors, "DATASETS", dg.StaticPartitionsDefinition(["a_way", "d000", "typo"]))
    assert Tick(instance, project).requested == ["d000"]
    monkeypatch.setattr(sensors, "in_progress", lambda *_: True)
    messages = Tick(instance, project).skipped
    assert "/mnt/not/mounted cannot be read (there is no such folder); mount its disk" in messages
    assert "datasets.typo.rot is not a known key; did you mean root?" in messages
    assert "d001 is new in lgad.yaml; reload the code location." in messages


def test_only_the_data_job_of_the_partition_counts_as_in_progress(instance):
    jobs = definitions(ProgressLog())

    def start(job: str, partition: str) -> None:
        instance.create_run_for_job(jobs.resolve_job_def(job), tags={"dagster/partition": partition})

    start("data", "others")
    start("compare", "synthetic")
    assert not in_progress(instance, "synthetic") and in_progress(instance, "others")
    start("data", "synthetic")
    assert in_progress(instance, "synthetic")
