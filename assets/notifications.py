"""Sensor that runs `notify.command` of lgad.yaml for each failed run without a further retry."""

import json
import time
from typing import Any

import dagster as dg

from assets.failures import failure_reason
from assets.keys import step_name
from lgad_pipeline.config.schedule import NotifyConfig
from lgad_pipeline.errors import LgadError
from resources.mlflow.resource import MlflowTracking
from resources.notification import OUTPUT, run_command
from resources.project import Project

ATTEMPTS = 20  # attempts to deliver one message, one per tick
_AT_ONCE = 20  # failed runs per tick
_START_SECONDS = 25  # A command takes up to 30 seconds, and a tick that takes 60 loses its cursor.


def failure_sensor(notify: NotifyConfig) -> dg.SensorDefinition:
    """Build the sensor `failed_runs`. Its cursor moves after the delivery of a message, so none is lost."""

    @dg.sensor(
        name="failed_runs",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs `notify.command` of lgad.yaml for each failed run without a further retry; the "
        "message is JSON on its standard input. A command that fails runs again at the next ticks, "
        f"{ATTEMPTS} times in total; its output is in .lgad/logs/{OUTPUT}.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, project: Project, mlflow: MlflowTracking
    ) -> dg.SkipReason:
        cursor = _Cursor.read(context.cursor, context.instance)
        attempted, reported, fault, started = 0, 0, "", time.monotonic()
        for record in _failures(context.instance, cursor.after):
            if attempted and time.monotonic() - started >= _START_SECONDS:
                break
            run = context.instance.get_run_by_id(record.event_log_entry.run_id)
            if run is not None and run.tags.get("dagster/will_retry") != "true":
                attempted += 1
                message = _message(context.instance, run, record.event_log_entry, mlflow.dagster_ui)
                try:
                    run_command(notify, message, output=project.state / "logs" / OUTPUT)
                    reported += 1
                except LgadError as error:
                    fault = str(error)
                    if cursor.attempts + 1 < ATTEMPTS:
                        cursor = _Cursor(cursor.after, cursor.attempts + 1)
                        break
                    context.log.error(
                        f"No report of the run {run.run_id[:8]} after {ATTEMPTS} attempts: {fault}"
                    )
            cursor = _Cursor(record.storage_id, 0)
        context.update_cursor(cursor.text)
        if not fault:
            return dg.SkipReason(f"{reported} failed runs were reported.")
        context.log.error(fault)
        attempt = (
            f" Attempt {cursor.attempts} of {ATTEMPTS}; the next tick tries again." if cursor.attempts else ""
        )
        return dg.SkipReason(f"{reported} failed runs were reported. {fault}{attempt}")

    return sensor


def _failures(instance: dg.DagsterInstance, after: int) -> list[dg.EventLogRecord]:
    """List the next failures of runs, oldest first.

    Args:
        instance: the Dagster instance.
        after: number of the last failure that was handled.
    """
    wanted = dg.RunStatusChangeRecordsFilter(dg.DagsterEventType.RUN_FAILURE, after_storage_id=after)
    return list(instance.fetch_run_status_changes(wanted, limit=_AT_ONCE, ascending=True).records)


def _message(
    instance: dg.DagsterInstance, run: dg.DagsterRun, entry: Any, dagster_ui: str
) -> dict[str, str | None]:
    steps = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    first = steps[0].get_dagster_event() if steps else None
    error = first.step_failure_data.error if first else None
    return {
        "event": "run_failed",
        "run": f"{dagster_ui}/runs/{run.run_id}",
        "job": run.job_name,
        "partition": run.tags.get("dagster/partition", ""),
        "step": step_name(first.step_key) if first and first.step_key else None,
        "reason": failure_reason(error) if error else entry.get_dagster_event().message,
    }


class _Cursor:
    """Cursor of the sensor.

    Args:
        after: number of the last failure that was handled.
        attempts: number of attempts to report the next failure.
    """

    def __init__(self, after: int, attempts: int) -> None:
        self.after, self.attempts = after, attempts

    @classmethod
    def read(cls, text: str | None, instance: dg.DagsterInstance) -> "_Cursor":
        """Read the cursor of the last tick; the cursor of the first tick is the latest failure."""
        try:
            after, attempts = json.loads(text or "")
            return cls(int(after), int(attempts))
        except (ValueError, TypeError):
            latest = instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1).records
            return cls(latest[0].storage_id if latest else 0, 0)

    @property
    def text(self) -> str:
        """Cursor for the next tick, as JSON."""
        return json.dumps([self.after, self.attempts])
