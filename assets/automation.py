"""Automation of assets: device pool, retries, and the conditions under which they are requested."""

from typing import Any

import dagster as dg

from assets.freshness import is_fresh
from assets.partitions import grid_key
from lgad_pipeline.settings import settings_path
from resources.project import Project

DEVICE = "device"
"""The pool of everything that computes on the accelerator; its limit stands in dagster.yaml."""

TRY_AGAIN = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
"""Of trainings: a step that breaks or is killed resumes at its checkpoint, in the same MLflow run."""


class ToBeRetrained(dg.AutomationCondition):
    """Partitions that lgad.yaml wants retrained (`retrain` of the data set) and that are stale."""

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        """The stale ones among the candidates."""
        if context.candidate_subset.is_empty:
            return dg.AutomationResult(context, context.get_empty_subset())
        project = Project(file=str(settings_path()))
        asset = context.asset_graph.get(context.key).assets_def
        instance = context.asset_graph_view.instance
        stale = {
            str(grid_key(dataset, recipe))
            for dataset in project.settings.datasets
            for recipe in project.settings.retrained(dataset)
            if not is_fresh(instance, project, asset, dataset, recipe)
        }
        subset = context.candidate_subset.compute_intersection_with_partition_keys(stale)
        return dg.AutomationResult(context, subset)


_DATA_WAS_MADE = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated()).allow(
    dg.AssetSelection.assets("shards")
)
_SCORES_WERE_MADE: Any = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.newly_updated())
_IS_DUE: Any = (_DATA_WAS_MADE & ToBeRetrained()).with_label("shards were made, and this does not fit them")
_FOLLOWS = dg.AutomationCondition.any_deps_match(dg.AutomationCondition.will_be_requested()).with_label(
    "what this is made from will be made"
)
AFTER_DATA = (
    (_IS_DUE | _FOLLOWS).since_last_handled()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("what is stale after its data was made or looked through")
AFTER_SCORES = (
    _SCORES_WERE_MADE.since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("after the scores of a recipe were made")
