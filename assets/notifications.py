"""The sensor that runs `notify.command` of lgad.yaml for each run that failed for good."""

import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from assets.failures import failure_reason
from lgad_pipeline.atomic_files import atomic_path
from lgad_pipeline.config.schedule import NotifyConfig
from lgad_pipeline.errors import LgadError
from resources.mlflow.resource import MlflowTracking
from resources.project import Project

ATTEMPTS = 20  # of one message, one a tick
_AT_ONCE = 20  # failed runs that one tick looks at
_SECONDS = 30  # for the command; a tick must end within a minute
OUTPUT = "notify.log"


def failure_sensor(notify: NotifyConfig) -> dg.SensorDefinition:
    """The sensor `failed_runs`. Its cursor moves on when a message was delivered, so none is lost."""

    @dg.sensor(
        name="failed_runs",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs `notify.command` of lgad.yaml for each run that failed and is not tried again; the "
        "message is JSON on its standard input. A command that fails is tried again at the next ticks, "
        f"{ATTEMPTS} times in all; what it writes is in .lgad/logs/{OUTPUT}.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, project: Project, mlflow: MlflowTracking
    ) -> dg.SkipReason:
        cursor = _Cursor.read(context.cursor, context.instance)
        reported, fault = 0, ""
        for record in _failures(context.instance, cursor.after):
            run = context.instance.get_run_by_id(record.event_log_entry.run_id)
            if run is not None and run.tags.get("dagster/will_retry") != "true":
                message = _message(context.instance, run, record.event_log_entry, mlflow.dagster_ui)
                try:
                    run_command(notify, message, project.state / "logs" / OUTPUT)
                    reported += 1
                except LgadError as error:
                    fault = str(error)
                    if cursor.attempts + 1 < ATTEMPTS:
                        cursor = _Cursor(cursor.after, cursor.attempts + 1)
                        break
                    context.log.error(f"Given up after {ATTEMPTS} attempts, run {run.run_id[:8]}: {fault}")
            cursor = _Cursor(record.storage_id, 0)
        context.update_cursor(cursor.text)
        if not fault:
            return dg.SkipReason(f"{reported} failed runs were reported.")
        context.log.error(fault)
        again = (
            f" Attempt {cursor.attempts} of {ATTEMPTS}; the next tick tries again." if cursor.attempts else ""
        )
        return dg.SkipReason(f"{reported} failed runs were reported. {fault}{again}")

    return sensor


def run_command(notify: NotifyConfig, message: Mapping[str, str | None], output: Path) -> None:
    """Run the user's command with a message on its standard input.

    Neither the command's arguments nor its output are in the error: an address with a token may be in them.

    Args:
        notify: The command.
        message: What it gets, as one line of JSON on its standard input.
        output: File that gets what the command wrote, readable by its owner alone.

    Raises:
        LgadError: the command is not there, failed, or took longer than half a minute.
    """
    text, ended = b"", ""
    try:
        finished = subprocess.run(
            notify.command,
            input=json.dumps(message).encode() + b"\n",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_SECONDS,
            check=False,
        )
        text = finished.stdout
        if finished.returncode:
            ended = f"ended with {finished.returncode}"
    except subprocess.TimeoutExpired as error:
        text, ended = error.output or b"", f"did not end within {_SECONDS} seconds"
    except OSError as error:
        ended = f"cannot be run ({error.strerror})"
    except ValueError:  # a NUL in it
        ended = "cannot be run (it holds a character that no command can have)"
    stamp = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {ended or 'ended with 0'}\n".encode()
    with atomic_path(output, durable=False) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_bytes(stamp + text[-100_000:])
    if ended:
        raise LgadError(f"notify.command of lgad.yaml {ended}; its output is in {output}.")


def _failures(instance: dg.DagsterInstance, after: int) -> list[dg.EventLogRecord]:
    """The next failures of runs, oldest first."""
    wanted = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    return list(instance.fetch_run_status_changes(wanted, limit=_AT_ONCE, ascending=True).records)


def _message(
    instance: dg.DagsterInstance, run: dg.DagsterRun, entry: Any, dagster_ui: str
) -> dict[str, str | None]:
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    first = steps[0].get_dagster_event() if steps else None
    error = first.step_failure_data.error if first else None
    return {
        "run": f"{dagster_ui}/runs/{run.run_id}",
        "job": run.job_name,
        "partition": run.tags.get("dagster/partition", ""),
        "step": first.step_key if first else None,
        "reason": failure_reason(error) if error else entry.get_dagster_event().message,
    }


class _Cursor:
    """The last failure that is done with, and the attempts for the one after it."""

    def __init__(self, after: int, attempts: int) -> None:
        self.after, self.attempts = after, attempts

    @classmethod
    def read(cls, text: str | None, instance: dg.DagsterInstance) -> "_Cursor":
        """The cursor of the last tick; at the first tick, failures of the past are left alone."""
        try:
            after, attempts = json.loads(text or "")
            return cls(int(after), int(attempts))
        except (ValueError, TypeError):
            latest = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
            return cls(latest[0].storage_id if latest else 0, 0)

    @property
    def text(self) -> str:
        """The cursor for the next tick."""
        return json.dumps([self.after, self.attempts])
