"""Sensors: new frames, models that are older than their data, runs whose process died."""

import json
import socket
import time
import warnings
from bisect import bisect_right
from collections.abc import Iterator

import dagster as dg

from assets.freshness import folder_state, latest_materialization
from assets.jobs import ACROSS_RECIPES, MODELS, RUN_TAGS, data_job, in_progress, refresh
from assets.notifications import failure_sensor
from assets.partitions import DATASETS, SETTINGS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import FolderDataset
from resources.processes import HOST_TAG, ProcessId, alive, process_id
from resources.project import Project

LOOKED_AT = 50  # data sets in one tick, so that it ends in seconds
REQUESTED = 4  # runs in one tick, so that many changed data sets do not start at once

# Tag of runs that the default launcher started through the code server, which evaluates the sensors as well.
_LAUNCHED_TAG = ".dagster/grpc_info"


@dg.sensor(
    job=data_job,
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks through the folders of the data sets that have `retrain` in lgad.yaml, by names, "
    "sizes and times; no file is opened. New or changed frames are processed once the folder has been "
    "quiet for `quiet_seconds`; the models that are stale then follow by `retrain_stale_models`. "
    f"A tick looks at {LOOKED_AT} data sets and requests {REQUESTED} runs at most; the next one continues "
    "where it ended.",
)
def new_frames(
    context: dg.SensorEvaluationContext, project: Project
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A run for each data set whose folder is not what its frames were made from."""
    watched = sorted(name for name, entry in project.settings.datasets.items() if entry.retrain)
    start = bisect_right(watched, context.cursor or "")
    unchanged, requested, reasons = 0, 0, list(project.settings.broken.values())
    for dataset in (watched[start:] + watched[:start])[:LOOKED_AT]:
        context.update_cursor(dataset)
        try:
            answer = _look_for_frames(context, project, dataset)
        except (LgadError, OSError) as error:  # it stops only itself
            answer = f"{dataset}: {error}"
        if isinstance(answer, dg.RunRequest):
            requested += 1
            yield answer
        elif answer:
            reasons.append(answer)
        else:
            unchanged += 1
        if requested == REQUESTED:
            break
    for told in reasons:
        context.log.warning(told)
    if not requested:
        counted = f"{unchanged} of {len(watched)} data sets were looked at and are unchanged."
        yield dg.SkipReason(" ".join([*reasons, counted]) if watched or reasons else _NONE_WATCHED)


_NONE_WATCHED = "No data set of lgad.yaml has `retrain`."


def _look_for_frames(
    context: dg.SensorEvaluationContext, project: Project, dataset: str
) -> dg.RunRequest | str | None:
    """A run for a data set that has changed, or why there is none; None for one that has not changed."""
    if not DATASETS.has_partition_key(dataset):
        return f"{dataset} is new in lgad.yaml; reload the code location."
    entry = project.dataset(dataset)
    assert entry.retrain is not None
    if isinstance(entry, FolderDataset):
        entry.require_root()
    seen = folder_state(project.paths(dataset).recordings)
    known = latest_materialization(context.instance, dg.AssetKey("recordings"), dataset)
    if known is not None and known.data_version == seen.digest:
        return None
    # A time in the future (a clock that was set back, a copy from another machine) is no reason to wait.
    if 0 <= time.time() - seen.changed < entry.retrain.quiet_seconds:
        return f"{dataset} has changed just now, and may still be changing."
    if in_progress(context.instance, dataset):
        return f"The data of {dataset} is being made already."
    return refresh(context, project, dataset, f"{dataset} {seen.digest}")


@dg.sensor(
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="A run whose process is gone without a word (the machine was switched off, or everything was "
    "killed) is marked failed, so that it is tried again and its slot in the pool becomes free. It judges "
    "runs of this machine alone: those of the default launcher, and those of `make demo` here.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Mark runs failed whose process has died; the cursor holds the identities of the processes seen."""
    instance, lost = context.instance, 0
    known = {run: ProcessId(*values) for run, values in json.loads(context.cursor or "{}").items()}
    seen: dict[str, ProcessId] = {}
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        worker = worker_of(instance, run.run_id) if runs_here(instance, run) else None
        if worker is None:
            continue
        found = process_id(worker[0])
        if found is not None and alive(*worker, known.get(run.run_id)):
            seen[run.run_id] = found
            continue
        lost += 1
        instance.report_run_failed(run, "The process of this run has died; a retry continues where it was.")
    context.update_cursor(json.dumps(seen))
    return dg.SkipReason(f"{lost} runs had lost their process.")


def runs_here(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """True if a run's process is one of this machine: its code server or a demo here started it."""
    launched = _LAUNCHED_TAG in run.tags and isinstance(instance.run_launcher, dg.DefaultRunLauncher)
    return launched or run.tags.get(HOST_TAG) == socket.gethostname()


def worker_of(instance: dg.DagsterInstance, run_id: str) -> tuple[int, float] | None:
    """The id of the process that works on a run, and when it said so; None before it has."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ENGINE_EVENT):
        metadata = entry.get_dagster_event().engine_event_data.metadata
        if "pid" in metadata:
            return int(str(metadata["pid"].value)), entry.timestamp
    return None


def follower() -> dg.SensorDefinition:
    """The sensor that starts the trainings which declare that they follow their data."""
    with warnings.catch_warnings():
        # A condition of our own is evaluated in the code location, which is in beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        return dg.AutomationConditionSensorDefinition(
            "retrain_stale_models",
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
    """All of them; `failed_runs` only if lgad.yaml has `notify`."""
    told = [failure_sensor(SETTINGS.notify)] if SETTINGS.notify else []
    return [new_frames, follower(), lost_runs, *told]
