"""Stale assets of a job, those included whose records in MLflow are gone."""

from typing import Any

import dagster as dg

from assets.freshness import latest_materialization, stale_assets
from assets.keys import asset_name
from assets.partitions import grid_key
from assets.registry import registered_model
from lgad_pipeline.config.roles import STUDENTS
from resources.mlflow.resource import MlflowTracking
from resources.mlflow.versions import is_intact
from resources.state_store import fetch_stored


def stale_in_job(
    instance: dg.DagsterInstance, defs: dg.Definitions, job: str, *, dataset: str, recipe: str
) -> list[dg.AssetKey]:
    """List the assets of a job that are stale for a partition, and those that depend on a stale one.

    Args:
        instance: the Dagster instance.
        defs: definitions of the code location.
        job: name of the job.
        dataset: name of the data set.
        recipe: name of the recipe.
    """
    resources: Any = defs.resources or {}
    project, tracking = resources["project"], resources["mlflow"]
    names = {asset_name(key) for key in defs.resolve_job_def(job).asset_layer.executable_asset_keys}

    def in_mlflow(name: str) -> bool:  # the MLflow store may have been deleted or replaced
        if name == "registered_model":
            return _is_registered(instance, tracking, dataset, recipe)
        if name == "teacher" and not project.recipe(recipe).trains_teacher_first:
            return True
        return name not in ("teacher", *STUDENTS) or tracking.has_run(
            fetch_stored(project.paths(dataset, recipe), name).network(name)
        )

    return stale_assets(
        instance,
        project,
        graph=defs.resolve_asset_graph(),
        names=names,
        dataset=dataset,
        recipe=recipe,
        exists=in_mlflow,
    )


def _is_registered(instance: dg.DagsterInstance, tracking: MlflowTracking, dataset: str, recipe: str) -> bool:
    """Return True if the registered version of a recipe is in MLflow, with its files."""
    record = latest_materialization(instance, registered_model.key, partition=grid_key(dataset, recipe))
    if record is None:
        return False
    metadata: Any = record.materialization.metadata
    with tracking.explained():
        return is_intact(tracking, str(metadata["model"].value), version=str(metadata["version"].value))
