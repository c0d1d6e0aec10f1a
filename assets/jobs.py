"""Jobs for data, models, comparison and studies, and the schedules of data sets."""

from collections.abc import Iterator

import dagster as dg

from assets.freshness import stale_assets
from assets.keys import asset_key, asset_name
from assets.partitions import SETTINGS
from lgad_pipeline.config.schedule import RetrainConfig
from resources.project import Project

RUN_TAGS = {
    "dagster/max_retries": "2"
}  # for a run whose process or machine died; steps have their own retries
_ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
DATA = ("recordings", "frames", "lane_labels", "shards")

_DATA = dg.AssetSelection.groups("data")
_STUDIES = dg.AssetSelection.groups("studies")
ACROSS_RECIPES = dg.AssetSelection.assets(asset_key("recipe_comparison"))
SUGGESTIONS = dg.AssetSelection.groups("labelling")
MODELS = dg.AssetSelection.all() - _DATA - _STUDIES - ACROSS_RECIPES - SUGGESTIONS

data_job = dg.define_asset_job(
    "data", selection=_DATA, tags=RUN_TAGS, description="From recordings to shards, for one data set."
)

retrain_job = dg.define_asset_job(
    "retrain",
    selection=MODELS,
    tags=RUN_TAGS,
    description="Teacher, students, scores, registry and report, for one recipe on one data set.",
)

compare_job = dg.define_asset_job(
    "compare",
    selection=ACROSS_RECIPES,
    description="Compares all recipes of a data set, for example after a backfill of `retrain`.",
)

gain_job = dg.define_asset_job(
    "gain",
    selection=_STUDIES,
    tags=RUN_TAGS,
    description="Gain of each method over many paired trainings of one recipe on a data set.",
)


def refresh(
    context: dg.ScheduleEvaluationContext | dg.SensorEvaluationContext,
    project: Project,
    *,
    dataset: str,
    run_key: str,
) -> dg.RunRequest | None:
    """Build a run request for the stale data assets of a data set; its stale models follow after success.

    If only models are stale, the request is for the shards, which takes seconds. None if nothing is stale.

    Args:
        context: context of the schedule or sensor.
        project: settings and paths of the project.
        dataset: name of the data set.
        run_key: key of the request; Dagster runs a key once.
    """
    assert context.repository_def is not None
    graph = context.repository_def.asset_graph
    stale = stale_assets(context.instance, project, graph=graph, names=DATA, dataset=dataset)
    models = {asset_name(key) for key in MODELS.resolve(graph)}
    if not stale and not any(
        stale_assets(context.instance, project, graph=graph, names=models, dataset=dataset, recipe=recipe)
        for recipe in project.settings.retrained(dataset)
    ):
        return None
    return dg.RunRequest(
        run_key=run_key,
        partition_key=dataset,
        asset_selection=stale or [asset_key("shards")],
        tags={"lgad/dataset": dataset},
    )


def in_progress(instance: dg.DagsterInstance, dataset: str) -> bool:
    """Return True if a run of the job `data` for a data set has not ended yet."""
    unfinished = [status for status in dg.DagsterRunStatus if status not in _ENDED]
    tags = {"dagster/partition": dataset}
    return bool(
        instance.get_run_ids(dg.RunsFilter(job_name=data_job.name, tags=tags, statuses=unfinished), limit=1)
    )


def schedule_of(dataset: str, retrain: RetrainConfig) -> dg.ScheduleDefinition:
    """Build the schedule of a data set; `RetrainConfig` accepts what Dagster accepts."""

    @dg.schedule(
        name=f"retrain_{dataset.replace('-', '_')}",
        job=data_job,
        cron_schedule=retrain.cron,
        execution_timezone=retrain.timezone,
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description=f"Processes new and changed frames of the data set {dataset}; `retrain_stale_models` "
        "then retrains the stale models. No run starts if everything is up to date.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext, project: Project
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        if in_progress(context.instance, dataset):
            yield dg.SkipReason(f"The data of {dataset} is being processed already.")
            return
        time = context.scheduled_execution_time.strftime("%Y-%m-%d %H:%M")
        request = refresh(context, project, dataset=dataset, run_key=f"{dataset} {time}")
        yield request or dg.SkipReason(f"Everything of {dataset} is up to date.")

    return schedule


def schedules() -> list[dg.ScheduleDefinition]:
    """Build a schedule for each data set with `retrain` in lgad.yaml."""
    return [
        schedule_of(dataset, entry.retrain)
        for dataset, entry in sorted(SETTINGS.datasets.items())
        if entry.retrain is not None
    ]


suggest_job = dg.define_asset_job(
    "suggest",
    selection=SUGGESTIONS,
    tags=RUN_TAGS,
    description="Suggests the frames to label next, for one data set with `suggest` in lgad.yaml.",
)

JOBS = [data_job, retrain_job, compare_job, gain_job, suggest_job]
