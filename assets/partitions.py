"""Partitions: data sets, and recipes on data sets, as lgad.yaml names them when the code is loaded."""

import dagster as dg

from lgad_pipeline.settings import Settings

# The code location reads lgad.yaml here alone while it loads, because decorators need the partitions.
SETTINGS = Settings.from_environment()

# A data set with a broken entry keeps its partition: its runs fail with the reason, and its history stays.
DATASETS = dg.StaticPartitionsDefinition(SETTINGS.dataset_names)
GRID = dg.MultiPartitionsDefinition(
    {"dataset": DATASETS, "recipe": dg.StaticPartitionsDefinition(sorted(SETTINGS.recipes))}
)


def grid_key(dataset: str, recipe: str) -> dg.MultiPartitionKey:
    """The partition of a recipe on a data set."""
    return dg.MultiPartitionKey({"dataset": dataset, "recipe": recipe})


def dataset_and_recipe(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> tuple[str, str]:
    """Data set and recipe of a run on the grid."""
    key = context.partition_key
    if not isinstance(key, dg.MultiPartitionKey):
        key = GRID.get_partition_key_from_str(key)
    return key.keys_by_dimension["dataset"], key.keys_by_dimension["recipe"]
