"""Partitions: the data sets of lgad.yaml, and the grid of data sets and recipes."""

import dagster as dg

from lgad_pipeline.settings import Settings
from resources.paths import ProjectPaths
from resources.project import Project
from resources.state_store import fetch_results

# Decorators need the partitions, so lgad.yaml is read once here when the code location loads.
SETTINGS = Settings.from_environment()

# A data set with an invalid entry keeps its partition: its runs fail with the reason, its history stays.
DATASETS = dg.StaticPartitionsDefinition(SETTINGS.dataset_names)
GRID = dg.MultiPartitionsDefinition(
    {"dataset": DATASETS, "recipe": dg.StaticPartitionsDefinition(sorted(SETTINGS.recipes))}
)


def grid_key(dataset: str, recipe: str) -> dg.MultiPartitionKey:
    """Build the partition key of a recipe on a data set."""
    return dg.MultiPartitionKey({"dataset": dataset, "recipe": recipe})


def split_key(partition: str) -> tuple[str, str]:
    """Split a partition key into data set and recipe; the recipe of a data asset is empty."""
    if "|" not in partition:
        return partition, ""
    keys = GRID.get_partition_key_from_str(partition).keys_by_dimension
    return keys["dataset"], keys["recipe"]


def dataset_and_recipe(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> tuple[str, str]:
    """Read data set and recipe from the partition of a run."""
    return split_key(str(context.partition_key))


def fetch_inputs(
    context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, project: Project, *assets: str
) -> ProjectPaths:
    """Complete on this machine the results that a run reads, and return the paths of its partition.

    Args:
        context: context of the asset or check.
        project: settings and paths of the project.
        assets: names of the assets that the run reads.
    """
    return fetch_results(project.paths(*dataset_and_recipe(context)), *assets)
