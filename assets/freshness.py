"""Staleness of assets: fingerprints of code, settings, inputs and files decide what is up to date."""

from collections.abc import Callable, Collection, Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg

from assets.keys import asset_key, asset_name
from assets.manifests import changed_file_reasons, write_manifest
from assets.partitions import grid_key, split_key
from lgad_pipeline.datasets.folder_state import folder_state
from resources.project import Project
from resources.provenance import git_commit

if TYPE_CHECKING:
    from resources.dagster_private import AssetGraph

INPUTS_TAG = "lgad/inputs"
"""Tag of a materialization: fingerprint of the code, settings and inputs it was computed from."""
DATA_VERSION_TAG = "dagster/data_version"
_PARENT = "dagster/parent_run_id"  # tag of a retry


def materialize_result(
    context: dg.AssetExecutionContext,
    project: Project,
    *,
    inputs: str,
    data_version: str,
    metadata: Mapping[str, Any],
    checks: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """Build the result of an asset, and record what is needed to see later that it is up to date.

    Args:
        context: context of the asset.
        project: settings and paths of the project.
        inputs: fingerprint of what the asset has read, from `inputs_at_start`.
        data_version: fingerprint of the data that the asset wrote.
        metadata: values that the asset page shows; floats are rounded to four decimals.
        checks: results of the checks that the asset evaluates itself.
    """
    dataset, recipe = split_key(str(context.partition_key))
    write_manifest(project.paths(dataset, recipe), asset_name(context.asset_key))
    tag_run(context, data_version)
    return dg.MaterializeResult(
        data_version=dg.DataVersion(data_version),
        metadata={
            key: round(value, 4) if isinstance(value, float) else value for key, value in metadata.items()
        },
        tags={INPUTS_TAG: inputs},
        check_results=checks,
    )


def inputs_at_start(context: dg.AssetExecutionContext, project: Project) -> str:
    """Compute the fingerprint of the inputs of an asset; to be called before the asset reads them.

    An input that is materialized while the asset computes is another one, so that the asset is then stale.
    """
    dataset, recipe = split_key(str(context.partition_key))
    return inputs_digest(context.instance, project, asset=context.assets_def, dataset=dataset, recipe=recipe)


def is_fresh(
    instance: dg.DagsterInstance, project: Project, *, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> bool:
    """Decide whether a partition is up to date.

    It is up to date if its last run succeeded, its files are unchanged, and its code, settings and inputs
    are the current ones.
    """
    name, recipe = asset_name(asset.key), recipe if _on_grid(asset) else ""
    record = latest_materialization(instance, asset.key, partition=_partition(dataset, recipe))
    if record is None or record.materialization.tags is None:
        return False
    if not succeeded(instance, record.run_id):
        return False  # The run was stopped, or a blocking check failed.
    paths = project.paths(dataset, recipe)
    frames_in_store = paths.rendered and paths.results is not None  # this machine need not have the frames
    if (
        name == "recordings"
        and not frames_in_store
        and record.data_version != folder_state(paths.recordings).digest
    ):
        return False
    if changed_file_reasons(paths, name):
        return False
    current = inputs_digest(instance, project, asset=asset, dataset=dataset, recipe=recipe)
    return record.materialization.tags.get(INPUTS_TAG) == current


def stale_assets(
    instance: dg.DagsterInstance,
    project: Project,
    *,
    graph: "AssetGraph",
    names: Collection[str],
    dataset: str,
    recipe: str = "",
    exists: Callable[[str], bool] = lambda name: True,
) -> list[dg.AssetKey]:
    """List the named assets that are stale for a partition, and those that depend on a stale one.

    Args:
        instance: the Dagster instance.
        project: settings and paths of the project.
        graph: the asset graph of the code location.
        names: names of the assets in question.
        dataset: name of the data set.
        recipe: name of the recipe; empty for data assets.
        exists: a further condition: returns False for an asset whose result does not exist any more.
    """
    stale: list[dg.AssetKey] = []
    for key in graph.toposorted_asset_keys:
        name, node = asset_name(key), graph.get(key)
        if name not in names:
            continue
        has_stale_input = any(parent in stale for parent in node.parent_keys)
        fresh = not has_stale_input and is_fresh(
            instance, project, asset=node.assets_def, dataset=dataset, recipe=recipe
        )
        if not fresh or not exists(name):
            stale.append(key)
    return stale


def tag_run(context: dg.AssetExecutionContext, data_version: str = "") -> None:
    """Tag a run with data set, recipe, data fingerprint and commit, so that it can be found by them.

    Args:
        context: context of the asset.
        data_version: fingerprint of the data that a data asset wrote. Runs of a recipe get the fingerprint
            of the shards instead.
    """
    dataset, recipe = split_key(str(context.partition_key))
    packed = (
        latest_materialization(context.instance, asset_key("shards"), partition=dataset) if recipe else None
    )
    tags = {
        "lgad/dataset": dataset,
        "lgad/recipe": recipe,
        "lgad/data_fingerprint": packed.data_version if packed else data_version,
        "lgad/commit": git_commit(),
    }
    context.instance.add_run_tags(context.run.run_id, {name: value for name, value in tags.items() if value})


def inputs_digest(
    instance: dg.DagsterInstance, project: Project, *, asset: dg.AssetsDefinition, dataset: str, recipe: str
) -> str:
    """Compute the fingerprint of everything that a partition is computed from.

    It covers the code, the settings and the data versions of the inputs. An asset of a data set that reads an
    asset of the grid reads all recipes.
    """
    on_grid = _on_grid(asset)
    spec = asset.get_asset_spec(asset.key)
    parts = [spec.code_version or "", project.settings_digest(dataset, recipe if on_grid else "")]
    grid_keys = [grid_key(dataset, name) for name in ([recipe] if on_grid else project.settings.recipes)]
    for dep in sorted(spec.deps, key=lambda dep: dep.asset_key):
        by_recipe = [latest_materialization(instance, dep.asset_key, partition=key) for key in grid_keys]
        records = [record for record in by_recipe if record] or [
            latest_materialization(instance, dep.asset_key, partition=dataset)
        ]
        parts += [record.data_version if record else "missing" for record in records]
    return blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


class MaterializationRecord(NamedTuple):
    """Materialization of a partition and the run that it is from.

    Attributes:
        materialization: the event with tags and metadata.
        run_id: id of the Dagster run.
    """

    materialization: dg.AssetMaterialization
    run_id: str

    @property
    def data_version(self) -> str:
        """Fingerprint of the data that the asset wrote."""
        return (self.materialization.tags or {}).get(DATA_VERSION_TAG, "")


def latest_materialization(
    instance: dg.DagsterInstance, key: dg.AssetKey, *, partition: str
) -> MaterializationRecord | None:
    """Read the latest materialization of a partition; None if there is none."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition]), limit=1
    ).records
    if not records or records[0].asset_materialization is None:
        return None
    return MaterializationRecord(records[0].asset_materialization, records[0].run_id)


def succeeded(instance: dg.DagsterInstance, run_id: str) -> bool:
    """Return True if a run, or a retry that resumed it, succeeded."""
    return any(run.status == dg.DagsterRunStatus.SUCCESS for run in _attempts(instance, run_id))


def in_unfinished_run(instance: dg.DagsterInstance, key: dg.AssetKey, *, partition: str) -> bool:
    """Return True if the run of the latest materialization of a partition, or a retry, has not ended."""
    record = latest_materialization(instance, key, partition=partition)
    return record is not None and any(not run.is_finished for run in _attempts(instance, record.run_id))


def _partition(dataset: str, recipe: str) -> str:
    return grid_key(dataset, recipe) if recipe else dataset


def _on_grid(asset: dg.AssetsDefinition) -> bool:
    """Return True for an asset of a recipe on a data set, False for an asset of a data set."""
    return isinstance(asset.partitions_def, dg.MultiPartitionsDefinition)


def _attempts(instance: dg.DagsterInstance, run_id: str) -> Sequence[dg.DagsterRun]:
    """List a run and its retries, also those of retries; empty if the run is unknown.

    The runs before it do not count: what it has materialized again may have failed a check since.
    """
    runs = [run for run in [instance.get_run_by_id(run_id)] if run is not None]
    latest = runs
    while latest:
        parents = [run.run_id for run in latest]
        latest = instance.get_runs(dg.RunsFilter(tags={_PARENT: parents}))
        runs += latest
    return runs
