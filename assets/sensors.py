"""What is watched: folders of frames, models behind their data, runs that died, runs that failed."""

import json
import subprocess
import time
import warnings
from collections.abc import Iterator, Mapping

import dagster as dg

from assets.failures import reason
from assets.freshness import data_version, latest_of, look_at
from assets.jobs import ACROSS_RECIPES, MODELS, RUN_TAGS, data_job, in_progress, refresh
from assets.partitions import SETTINGS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.retraining import NotifyConfig
from resources.processes import alive
from resources.project import Project
from resources.tracking import MlflowTracking


@dg.sensor(
    job=data_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks through the folders of the data sets that have `retrain` in lgad.yaml, by names, "
    "sizes and times; no file is opened. New or changed frames are taken up once the folder has been "
    "quiet for `quiet_seconds`; the models that are stale then follow by `models_follow_data`.",
)
def new_frames(
    context: dg.SensorEvaluationContext, project: Project
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A run for each data set whose folder is not what its frames were made from."""
    reasons, requested = [], False
    for dataset, entry in project.settings.datasets.items():
        if entry.retrain is None:
            continue
        seen = look_at(project.place(dataset).recordings)
        known = latest_of(context.instance, dg.AssetKey("recordings"), dataset)
        if known is not None and data_version(known[0]) == seen.digest:
            reasons.append(f"{dataset} is as it was.")
        elif time.time() - seen.changed < entry.retrain.quiet_seconds:
            reasons.append(f"{dataset} has changed just now, and may go on changing.")
        elif in_progress(context.instance, dataset):
            reasons.append(f"The data of {dataset} is being made already.")
        elif request := refresh(context, project, dataset, f"{dataset} {seen.digest}"):
            requested = True
            yield request
    if not requested:
        yield dg.SkipReason(" ".join(reasons) or "No data set of lgad.yaml has `retrain`.")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A run whose process is gone without a word (the machine was switched off, or everything was "
    "killed) is marked failed, so that it is tried again and its slot in the pool becomes free. It looks at "
    "the processes of this machine: switch it off where runs are launched on others.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Mark runs failed whose process has died."""
    instance = context.instance
    lost = [
        run
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        if (worker := worker_of(instance, run.run_id)) is not None and not alive(*worker)
    ]
    for run in lost:
        instance.report_run_failed(run, "The process of this run has died; what follows goes on from there.")
    return dg.SkipReason(f"{len(lost)} runs had lost their process.")


def worker_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The id of the process that works on a run, and when it said so; None before it has."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        metadata = entry.get_dagster_event().engine_event_data.metadata
        if "pid" in metadata:
            return int(str(metadata["pid"].value)), entry.timestamp
    return None


def failure_sensor(notify: NotifyConfig) -> dg.SensorDefinition:
    """The sensor that tells of runs which failed for good, with the command of lgad.yaml."""

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Runs `notify.command` of lgad.yaml for each run that failed and is not tried again; the "
        "message is JSON on its standard input.",
    )
    def sensor(context: dg.RunFailureSensorContext, mlflow: MlflowTracking) -> dg.SkipReason | None:
        run = context.dagster_run
        if run.tags.get("dagster/will_retry") == "true":
            return dg.SkipReason(f"Run {run.run_id[:8]} is tried again.")
        failures = context.get_step_failure_events()
        first = failures[0] if failures else None
        error = first.step_failure_data.error if first else None
        message = {
            "run": f"{mlflow.dagster_ui}/runs/{run.run_id}",
            "job": run.job_name,
            "partition": run.tags.get("dagster/partition", ""),
            "step": first.step_key if first else None,
            "reason": reason(error) if error else context.failure_event.message,
        }
        tell(notify, message)
        return None

    return sensor


def tell(notify: NotifyConfig, message: Mapping[str, str | None]) -> None:
    """Give a message to the user's command.

    Raises:
        LgadError: it is not there, failed, or took more than a minute.
    """
    try:
        finished = subprocess.run(
            notify.command,
            input=json.dumps(message) + "\n",
            text=True,
            capture_output=True,
            timeout=60,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LgadError(f"notify.command of lgad.yaml cannot be run ({error}); correct it.") from error
    if finished.returncode:
        raise LgadError(
            f"notify.command of lgad.yaml ended with {finished.returncode} "
            f"({finished.stderr.strip()[-500:]}); correct it."
        )


def follower() -> dg.SensorDefinition:
    """The sensor that starts the models which declare that they follow their data."""
    with warnings.catch_warnings():
        # A condition of our own is evaluated in the code location, which is in beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            "models_follow_data",
            target=MODELS | ACROSS_RECIPES,
            use_user_code_server=True,
            emit_backfills=False,
            run_tags=RUN_TAGS,
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            description="Trains, scores and registers what is stale after the shards of a data set were made "
            "or looked through, for the recipes in its `retrain` of lgad.yaml.",
        )


def sensors() -> list[dg.SensorDefinition]:
    """All of them; `failed_runs` where lgad.yaml says whom to tell."""
    told = [failure_sensor(SETTINGS.notify)] if SETTINGS.notify else []
    return [new_frames, follower(), lost_runs, *told]
