"""Which results are up to date: made from the same code, settings and inputs, in a run that succeeded."""

from collections.abc import Mapping
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import dagster as dg

import lgad_pipeline
from assets.partitions import GRID, grid_key
from resources.project import Project

INPUTS_TAG = "lgad/inputs"
DATA_VERSION_TAG = "dagster/data_version"
_LIBRARY = Path(lgad_pipeline.__file__).parent


@cache
def code_version(*rooms: str) -> str:
    """A fingerprint of the library's code in these rooms and files; Dagster compares it too."""
    digest = blake2b(digest_size=6)
    for room in rooms:
        path = _LIBRARY / room
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            digest.update(file.relative_to(_LIBRARY).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def made(
    context: dg.AssetExecutionContext, project: Project, data_version: str, metadata: Mapping[str, Any]
) -> dg.MaterializeResult:
    """The result of an asset, with what it was made from, so that it need not be made again."""
    dataset, recipe = _parts(context.partition_key)
    tag = inputs_digest(context.instance, project, context.assets_def, dataset, recipe)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(data_version), metadata=metadata, tags={INPUTS_TAG: tag}
    )


def is_fresh(
    instance: dg.DagsterInstance, project: Project, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> bool:
    """Whether a partition is there and was made, in a run that succeeded, from what would be used now."""
    record = latest(instance, asset, dataset, recipe)
    if record is None or record[0].tags is None:
        return False
    materialization, run_id = record
    run = instance.get_run_by_id(run_id)
    if run is None or run.status != dg.DagsterRunStatus.SUCCESS:
        return False  # stopped on the way, or held back by a check
    place = project.place(dataset, recipe)
    output = getattr(place, asset.key.to_user_string(), None)
    if output is not None and not output.exists():
        return False
    if output == place.recordings and data_version(materialization) != tree_digest(place.recordings):
        return False
    return (materialization.tags or {}).get(INPUTS_TAG) == inputs_digest(
        instance, project, asset, dataset, recipe
    )


def inputs_digest(
    instance: dg.DagsterInstance, project: Project, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> str:
    """A fingerprint of everything that a partition is made from: code, settings, the parents' data.

    An asset of the data set whose parent is made by recipe is made from all recipes.
    """
    on_grid = isinstance(asset.partitions_def, dg.MultiPartitionsDefinition)
    spec = asset.get_asset_spec(asset.key)
    parts = [spec.code_version or "", project.settings_digest(dataset, recipe if on_grid else "")]
    points = [grid_key(dataset, name) for name in ([recipe] if on_grid else project.settings.recipes)]
    for dep in sorted(spec.deps, key=lambda dep: dep.asset_key):
        by_recipe = [_latest(instance, dep.asset_key, point) for point in points]
        records = [record for record in by_recipe if record] or [_latest(instance, dep.asset_key, dataset)]
        parts += [data_version(record[0]) if record else "missing" for record in records]
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def latest(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> tuple[dg.AssetMaterialization, str] | None:
    """The latest materialization of a partition and its run's id."""
    on_grid = isinstance(asset.partitions_def, dg.MultiPartitionsDefinition)
    return _latest(instance, asset.key, grid_key(dataset, recipe) if on_grid else dataset)


def data_version(materialization: dg.AssetMaterialization) -> str:
    """The fingerprint that the asset gave its data."""
    return (materialization.tags or {}).get(DATA_VERSION_TAG, "")


def tree_digest(root: Path) -> str:
    """A fingerprint of a folder's files by name, size and time of change; contents are not read."""
    digest = blake2b(digest_size=16)
    for path in sorted(root.rglob("*")):
        if path.is_file():
            stat = path.stat()
            digest.update(f"{path.relative_to(root)}\0{stat.st_size}\0{stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _latest(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str
) -> tuple[dg.AssetMaterialization, str] | None:
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return None
    return records[0].asset_materialization, records[0].run_id


def _parts(partition: str) -> tuple[str, str]:
    """Data set and recipe of a partition key; a data asset has no recipe."""
    if "|" not in partition:
        return partition, ""
    keys = GRID.get_partition_key_from_str(partition).keys_by_dimension
    return keys["dataset"], keys["recipe"]
