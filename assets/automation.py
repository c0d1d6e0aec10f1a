"""Automation of assets: retries, and the conditions under which assets are requested."""

import json
from typing import Any

import dagster as dg

from assets.freshness import in_unfinished_run, is_fresh, latest_materialization
from assets.keys import asset_key
from assets.partitions import split_key
from lgad_pipeline.settings import settings_path
from resources.project import Project

RETRY_TRAINING = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""Retry policy of trainings: a failed or killed step resumes at its checkpoint, in the same MLflow run."""


class StaleAndRetrained(dg.AutomationCondition):
    """Condition for the stale partitions of recipes that `retrain` in lgad.yaml names for their data set.

    The candidates are partitions whose shards were updated. A partition that is up to date is not checked
    again before the next update; the cursor keeps the run of the shards for which it was checked.
    """

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        """Select the stale partitions among the candidates."""
        if context.candidate_subset.is_empty:
            return dg.AutomationResult(context, context.get_empty_subset(), cursor=context.cursor)
        project = Project(file=str(settings_path()))
        asset = context.asset_graph.get(context.key).assets_def
        instance = context.asset_graph_view.instance
        checked: dict[str, str] = json.loads(context.cursor or "{}")
        stale = set()
        for partition in sorted(context.candidate_subset.expensively_compute_partition_keys()):
            dataset, recipe = split_key(partition)
            if dataset not in project.settings.datasets or recipe not in project.settings.retrained(dataset):
                continue
            packed = latest_materialization(instance, asset_key("shards"), partition=dataset)
            update = packed.run_id if packed else ""
            # A run that has not ended may still materialize the inputs of its results.
            if checked.get(partition) == update or in_unfinished_run(
                instance, asset.key, partition=partition
            ):
                continue
            if is_fresh(instance, project, asset=asset, dataset=dataset, recipe=recipe):
                checked[partition] = update
            else:
                stale.add(partition)
        subset = context.candidate_subset.compute_intersection_with_partition_keys(stale)
        return dg.AutomationResult(context, subset, cursor=json.dumps(checked))


# An update remains due until it is requested: a result that was computed meanwhile may be of earlier inputs.
_UPDATED: Any = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
_SHARDS_UPDATED = _UPDATED.allow(dg.AssetSelection.assets(asset_key("shards"))).since(
    dg.AutomationCondition.newly_requested()
)
_IS_DUE: Any = (_SHARDS_UPDATED & StaleAndRetrained()).with_label(
    "the shards were updated and this asset is stale"
)
_FOLLOWS = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested()).with_label(
    "an input of this asset will be updated"
)
AFTER_DATA = (
    ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
    & (_IS_DUE | _FOLLOWS)
).with_label("stale after an update or a check of its data")
AFTER_SCORES = (
    _UPDATED.since(dg.AutomationCondition.newly_requested())
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("after an update of the scores of a recipe")
