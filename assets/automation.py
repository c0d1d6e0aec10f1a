"""Automation of assets: retries, and the conditions under which assets are requested."""

from typing import Any

import dagster as dg

from assets.freshness import is_fresh
from assets.keys import asset_key
from assets.partitions import grid_key
from lgad_pipeline.settings import settings_path
from resources.project import Project

RETRY_TRAINING = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""Retry policy of trainings: a failed or killed step resumes at its checkpoint, in the same MLflow run."""


class StaleAndRetrained(dg.AutomationCondition):
    """Condition for the stale partitions of recipes that `retrain` in lgad.yaml names for their data set."""

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        """Select the stale partitions among the candidates."""
        if context.candidate_subset.is_empty:
            return dg.AutomationResult(context, context.get_empty_subset())
        project = Project(file=str(settings_path()))
        asset = context.asset_graph.get(context.key).assets_def
        instance = context.asset_graph_view.instance
        stale = {
            str(grid_key(dataset, recipe))
            for dataset in project.settings.datasets
            for recipe in project.settings.retrained(dataset)
            if not is_fresh(instance, project, asset=asset, dataset=dataset, recipe=recipe)
        }
        subset = context.candidate_subset.compute_intersection_with_partition_keys(stale)
        return dg.AutomationResult(context, subset)


_SHARDS_UPDATED = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated()).allow(
    dg.AssetSelection.assets(asset_key("shards"))
)
_SCORES_UPDATED: Any = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
_IS_DUE: Any = (_SHARDS_UPDATED & StaleAndRetrained()).with_label(
    "the shards were updated and this asset is stale"
)
_FOLLOWS = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested()).with_label(
    "an input of this asset will be updated"
)
AFTER_DATA = (
    (_IS_DUE | _FOLLOWS).since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("stale after an update or a check of its data")
AFTER_SCORES = (
    _SCORES_UPDATED.since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("after an update of the scores of a recipe")
