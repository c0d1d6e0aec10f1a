"""Asset checks with the partitions of their assets: each partition keeps its own result."""

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg


def partitioned_check(
    asset: dg.AssetsDefinition, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    """Decorate a function as an asset check with the partitions of its asset.

    Args:
        asset: the asset that is checked.
        options: other arguments of `dagster.asset_check`.
    """

    def decorate(function: Callable[..., Any]) -> dg.AssetChecksDefinition:
        with _without_preview_warning():
            return dg.asset_check(asset=asset, partitions_def=asset.partitions_def, **options)(function)

    return decorate


def partitioned_spec(
    name: str, asset: dg.AssetKey, *, partitions: dg.PartitionsDefinition, description: str
) -> Any:
    """Build a `dagster.AssetCheckSpec` with partitions, for a check that its asset evaluates itself."""
    with _without_preview_warning():
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=partitions)


def _without_preview_warning() -> warnings.catch_warnings:
    """Hide the warning that partitions of checks are a preview feature (Dagster 1.13)."""
    return warnings.catch_warnings(action="ignore", category=dg.PreviewWarning)
