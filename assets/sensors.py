"""Sensors for changed frames, stale models, and runs whose process has ended."""

import json
import socket
import time
import warnings
from bisect import bisect_right
from collections.abc import Iterator

import dagster as dg

from assets.freshness import in_unfinished_run, latest_materialization, succeeded
from assets.jobs import ACROSS_RECIPES, MODELS, RUN_TAGS, data_job, in_progress, refresh
from assets.keys import asset_key
from assets.notifications import failure_sensor
from assets.partitions import DATASETS, SETTINGS
from assets.suggestions import unlabelled_frames
from lgad_pipeline.datasets.folder_state import folder_state
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import FolderDataset
from resources.processes import HOST_TAG, ProcessId, alive, process_id
from resources.project import Project
from resources.state_store import is_stored

CHECKED_PER_TICK = 50  # data sets; a tick then ends in seconds
REQUESTED_PER_TICK = 4  # runs; many changed data sets then do not start at once

_NONE_WATCHED = "No data set of lgad.yaml has `retrain`."

# Tag of runs that the default launcher started through the code server, which evaluates the sensors as well.
_LAUNCHED_TAG = ".dagster/grpc_info"


@dg.sensor(
    job=data_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Lists the directories of the data sets with `retrain` in lgad.yaml and compares names, "
    "sizes and times; no file is opened. New or changed frames are processed when the directory has not "
    "changed for `quiet_seconds`; `retrain_stale_models` then retrains the stale models. "
    f"A tick checks at most {CHECKED_PER_TICK} data sets and requests at most {REQUESTED_PER_TICK} runs; the "
    "next tick continues after the last checked data set.",
)
def new_frames(
    context: dg.SensorEvaluationContext, project: Project
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """Request a run for each data set whose directory has changed since its last ingestion."""
    watched = sorted(name for name, entry in project.settings.datasets.items() if entry.retrain)
    start = bisect_right(watched, context.cursor or "")
    unchanged, requested, reasons = 0, 0, list(project.settings.broken.values())
    for dataset in (watched[start:] + watched[:start])[:CHECKED_PER_TICK]:
        context.update_cursor(dataset)
        try:
            answer = _check_folder(context, project, dataset)
        except (LgadError, OSError) as error:  # An error of one data set does not stop the others.
            answer = f"{dataset}: {error}"
        if isinstance(answer, dg.RunRequest):
            requested += 1
            yield answer
        elif answer:
            reasons.append(answer)
        else:
            unchanged += 1
        if requested == REQUESTED_PER_TICK:
            break
    for reason in reasons:
        context.log.warning(reason)
    if not requested:
        counted = f"{unchanged} of {len(watched)} data sets were checked and are unchanged."
        yield dg.SkipReason(" ".join([*reasons, counted]) if watched or reasons else _NONE_WATCHED)


def _check_folder(
    context: dg.SensorEvaluationContext, project: Project, dataset: str
) -> dg.RunRequest | str | None:
    """Return a run request, or the reason why there is none; None for an unchanged data set."""
    if not DATASETS.has_partition_key(dataset):
        return f"{dataset} is new in lgad.yaml; reload the code location."
    entry = project.dataset(dataset)
    assert entry.retrain is not None
    if isinstance(entry, FolderDataset):
        entry.require_root()
    paths = project.paths(dataset)
    if paths.rendered and is_stored(paths, "recordings"):
        return None
    current = folder_state(paths.recordings)
    last = latest_materialization(context.instance, asset_key("recordings"), partition=dataset)
    if last is not None and last.data_version == current.digest and succeeded(context.instance, last.run_id):
        return None
    # A time in the future (a clock that was set back, a copy from another machine) is no reason to wait.
    if 0 <= time.time() - current.changed < entry.retrain.quiet_seconds:
        return f"{dataset} has changed just now, and may still be changing."
    unfinished = in_unfinished_run(context.instance, asset_key("recordings"), partition=dataset)
    if unfinished or in_progress(context.instance, dataset):
        return f"The data of {dataset} is being processed already."
    run_key = (
        f"{dataset} {current.digest} {project.settings_digest(dataset)} {_last_packing(context, dataset)}"
    )
    if context.instance.get_run_ids(dg.RunsFilter(tags={"dagster/run_key": run_key}), limit=1):
        return f"The data of {dataset} could not be processed; correct its folder or its entry in lgad.yaml."
    return refresh(context, project, dataset=dataset, run_key=run_key)


def _last_packing(context: dg.SensorEvaluationContext, dataset: str) -> str:
    """Return the id of the run that packed the shards; empty if there is none, or if it failed.

    As a part of the key of a request, it lets a folder be processed again that is as it was some time ago.
    """
    packed = latest_materialization(context.instance, asset_key("shards"), partition=dataset)
    return packed.run_id if packed is not None and succeeded(context.instance, packed.run_id) else ""


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Marks a run as failed if its process has ended without a report. The run is then retried, "
    "and its slot in the pool becomes free. Only runs of this machine are checked: those of the default "
    "launcher and those of `make demo`.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Mark runs as failed whose process has ended.

    The cursor stores the identities of the running processes.
    """
    instance, lost = context.instance, 0
    known = {run: ProcessId(*values) for run, values in json.loads(context.cursor or "{}").items()}
    running: dict[str, ProcessId] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        worker = worker_of(instance, run.run_id) if runs_here(instance, run) else None
        if worker is None:
            continue
        identity = process_id(worker[0])
        if identity is not None and alive(*worker, known=known.get(run.run_id)):
            running[run.run_id] = identity
            continue
        lost += 1
        instance.report_run_failed(run, "The process of this run has died; a retry resumes the run.")
    context.update_cursor(json.dumps(running))
    return dg.SkipReason(f"{lost} runs have lost their process and were marked as failed.")


def runs_here(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Return True if the process of a run is on this machine: its code server or a demo here started it."""
    launched = _LAUNCHED_TAG in run.tags and isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    return launched or run.tags.get(HOST_TAG) == socket.gethostname()


def worker_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """Read the process id of a run and the time of its report; None before the report."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        metadata = entry.get_dagster_event().engine_event_data.metadata
        if "pid" in metadata:
            return int(str(metadata["pid"].value)), entry.timestamp
    return None


def follower() -> dg.SensorDefinition:
    """Build the sensor that retrains stale models after an update of their data."""
    with warnings.catch_warnings():
        # The condition of this project is evaluated in the code location; that is a beta feature.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            "retrain_stale_models",
            target=MODELS | ACROSS_RECIPES,
            use_user_code_server=True,
            emit_backfills=False,
            run_tags=RUN_TAGS,
            default_status=dg.DefaultSensorStatus.RUNNING,
            minimum_interval_seconds=30,
            description="Trains, scores and registers stale models after an update or check of the shards of "
            "a data set, for the recipes in its `retrain` of lgad.yaml.",
        )


def sensors() -> list[dg.SensorDefinition]:
    """List all sensors; `failed_runs` exists only if lgad.yaml has `notify`."""
    notifying = [failure_sensor(SETTINGS.notify)] if SETTINGS.notify else []
    return [new_frames, unlabelled_frames, follower(), lost_runs, *notifying]
