"""What is run together: the data of a data set, and the models of a recipe on it; and when."""

from collections.abc import Iterator

import dagster as dg

from assets.partitions import GRID

_DATA = dg.AssetSelection.groups("data")
_EVIDENCE = dg.AssetSelection.groups("evidence")
_ACROSS_RECIPES = dg.AssetSelection.assets("recipe_comparison")

data_job = dg.define_asset_job(
    "data",
    selection=_DATA,
    tags={"dagster/max_retries": "1"},
    description="Recordings to training shards, of one data set.",
)

retrain_job = dg.define_asset_job(
    "retrain",
    selection=dg.AssetSelection.all() - _DATA - _EVIDENCE - _ACROSS_RECIPES,
    tags={"dagster/max_retries": "1"},  # a second try goes on from the checkpoint
    description="Teacher, students, scores, registry and report, of one recipe on one data set.",
)

compare_job = dg.define_asset_job(
    "compare",
    selection=_ACROSS_RECIPES,
    description="All recipes of a data set side by side, after a backfill of `retrain` over them.",
)

gain_job = dg.define_asset_job(
    "gain",
    selection=_EVIDENCE,
    tags={"dagster/max_retries": "1"},
    description="Many paired trainings of one recipe on one data set: what each method gains, and how sure.",
)


@dg.schedule(
    job=retrain_job,
    cron_schedule="0 2 * * *",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Every night at two, every recipe on every data set whose shards are there. A training that "
    "is up to date is recognized by its fingerprint and costs seconds.",
)
def nightly(context: dg.ScheduleEvaluationContext) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One run for each point of the grid that has data."""
    ready = context.instance.get_materialized_partitions(dg.AssetKey("shards"))
    night = context.scheduled_execution_time.strftime("%Y-%m-%d")
    points = [key for key in GRID.get_partition_keys() if key.keys_by_dimension["dataset"] in ready]
    if not points:
        yield dg.SkipReason("No data set has shards yet; materialize the job `data` first.")
    for point in points:
        yield dg.RunRequest(run_key=f"{night} {point}", partition_key=point)


JOBS = [data_job, retrain_job, compare_job, gain_job]
SCHEDULES = [nightly]
