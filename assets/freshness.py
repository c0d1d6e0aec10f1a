"""Staleness: a result is fresh if code, settings, inputs and its files are those of a run that succeeded."""

import contextlib
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from assets.manifests import changed_file_reasons, write_manifest
from assets.partitions import GRID, grid_key
from resources.project import Project
from resources.provenance import git_commit

if TYPE_CHECKING:
    from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

INPUTS_TAG = "lgad/inputs"
DATA_VERSION_TAG = "dagster/data_version"


def materialize_result(
    context: dg.AssetExecutionContext,
    project: Project,
    data_version: str,
    metadata: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """The result of an asset, with its files and what it was made from, so that it need not be made again."""
    dataset, recipe = _parts(context.partition_key)
    write_manifest(project.paths(dataset, recipe), context.asset_key.to_user_string())
    tag_run(context, data_version)
    tag = inputs_digest(context.instance, project, context.assets_def, dataset, recipe)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(data_version),
        metadata={
            key: round(value, 4) if isinstance(value, float) else value for key, value in metadata.items()
        },
        tags={INPUTS_TAG: tag},
        check_results=checks,
    )


def is_fresh(
    instance: dg.DagsterInstance, project: Project, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> bool:
    """Return True if a partition is there, unchanged, and was made from what would be used now."""
    record = latest(instance, asset, dataset, recipe)
    if record is None or record[0].tags is None:
        return False
    materialization, run_id = record
    if not _succeeded(instance, run_id):
        return False  # stopped on the way, or held back by a check
    paths, name = project.paths(dataset, recipe if _on_grid(asset) else ""), asset.key.to_user_string()
    if name == "recordings" and data_version(materialization) != folder_state(paths.recordings).digest:
        return False
    if changed_file_reasons(paths, name):
        return False
    return (materialization.tags or {}).get(INPUTS_TAG) == inputs_digest(
        instance, project, asset, dataset, recipe
    )


def stale_assets(
    instance: dg.DagsterInstance,
    project: Project,
    graph: "AssetGraph",
    names: Collection[str],
    dataset: str,
    recipe: str = "",
    known: Callable[[str], bool] = lambda name: True,
) -> list[dg.AssetKey]:
    """Those of the named assets that are not up to date for a partition, or follow from one that is not.

    `known` may say of an asset that it is not, for reasons of its own.
    """
    stale: list[dg.AssetKey] = []
    for key in graph.toposorted_asset_keys:
        name, asset = key.to_user_string(), graph.get(key)
        if name not in names:
            continue
        follows = any(parent in stale for parent in asset.parent_keys)
        if follows or not is_fresh(instance, project, asset.assets_def, dataset, recipe) or not known(name):
            stale.append(key)
    return stale


def tag_run(context: dg.AssetExecutionContext, made_data: str = "") -> None:
    """Write into a run's tags what it works on, so that runs are found by it.

    Args:
        context: of the asset that is made.
        made_data: the fingerprint of what it made, where that is data; a training has that of its shards.
    """
    dataset, recipe = _parts(context.partition_key)
    packed = latest_materialization(context.instance, dg.AssetKey("shards"), dataset) if recipe else None
    tags = {
        "lgad/dataset": dataset,
        "lgad/recipe": recipe,
        "lgad/data_fingerprint": data_version(packed[0]) if packed else made_data,
        "lgad/commit": git_commit(),
    }
    context.instance.add_run_tags(context.run.run_id, {name: value for name, value in tags.items() if value})


def inputs_digest(
    instance: dg.DagsterInstance, project: Project, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> str:
    """A fingerprint of everything that a partition is made from: code, settings, the parents' data.

    An asset of the data set whose parent is made by recipe is made from all recipes.
    """
    on_grid = _on_grid(asset)
    spec = asset.get_asset_spec(asset.key)
    parts = [spec.code_version or "", project.settings_digest(dataset, recipe if on_grid else "")]
    points = [grid_key(dataset, name) for name in ([recipe] if on_grid else project.settings.recipes)]
    for dep in sorted(spec.deps, key=lambda dep: dep.asset_key):
        by_recipe = [latest_materialization(instance, dep.asset_key, point) for point in points]
        records = [record for record in by_recipe if record] or [
            latest_materialization(instance, dep.asset_key, dataset)
        ]
        parts += [data_version(record[0]) if record else "missing" for record in records]
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def latest(
    instance: dg.DagsterInstance, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> tuple[dg.AssetMaterialization, str] | None:
    """The latest materialization of an asset for a data set, or a recipe on it, and its run's id."""
    return latest_materialization(
        instance, asset.key, grid_key(dataset, recipe) if _on_grid(asset) else dataset
    )


def data_version(materialization: dg.AssetMaterialization) -> str:
    """The fingerprint that the asset gave its data."""
    return (materialization.tags or {}).get(DATA_VERSION_TAG, "")


class FolderState(NamedTuple):
    """What a look at a folder tells; no file is opened.

    Attributes:
        digest: fingerprint of the files by name, size and time of change.
        changed: when a file or folder was last added, changed, renamed or removed, seconds since 1970.
    """

    digest: str
    changed: float


def folder_state(root: Path) -> FolderState:
    """Look at the files below a folder; one that is missing looks empty."""
    lines, changed, here = [], 0.0, len(str(root)) + 1
    folders = [root] if root.is_dir() else []
    for folder in folders:  # grows as it goes
        changed = max(changed, folder.stat().st_ctime)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                    continue
                with contextlib.suppress(OSError):  # removed meanwhile, a link to nowhere or in a circle
                    stat = entry.stat()
                    changed = max(changed, stat.st_ctime)
                    lines.append(f"{entry.path[here:]}\0{stat.st_size}\0{stat.st_mtime_ns}\n")
    content = "".join(sorted(lines)).encode(errors="surrogateescape")
    return FolderState(blake2b(content, digest_size=16).hexdigest(), changed)


def _on_grid(asset: dg.AssetsDefinition) -> bool:
    """True for an asset of a recipe on a data set, False for one of a data set."""
    return isinstance(asset.partitions_def, dg.MultiPartitionsDefinition)


def _succeeded(instance: dg.DagsterInstance, run_id: str) -> bool:
    """True if a run, or a retry that continued it, succeeded."""
    if not instance.has_run(run_id):
        return False
    group = instance.get_run_group(run_id)
    return group is not None and any(run.status == dg.DagsterRunStatus.SUCCESS for run in group[1])


def latest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, partition: str
) -> tuple[dg.AssetMaterialization, str] | None:
    """The latest materialization of a partition, and its run's id."""
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
