"""Asset checks with the partitions of their assets, so that no result hides another's."""

import warnings
from collections.abc import Callable
from typing import Any

import dagster as dg


def partitioned_check(
    asset: dg.AssetsDefinition, **options: Any
) -> Callable[[Callable[..., Any]], dg.AssetChecksDefinition]:
    """`dagster.asset_check` with the partitions of the asset; `options` are its other arguments."""

    def decorate(function: Callable[..., Any]) -> dg.AssetChecksDefinition:
        with _quiet():
            return dg.asset_check(asset=asset, partitions_def=asset.partitions_def, **options)(function)

    return decorate


def partitioned_spec(name: str, asset: str, partitions: dg.PartitionsDefinition, description: str) -> Any:
    """`dagster.AssetCheckSpec` with partitions, for a check that its asset evaluates itself."""
    with _quiet():
        return dg.AssetCheckSpec(name, asset=asset, description=description, partitions_def=partitions)


def _quiet() -> warnings.catch_warnings:
    """Leave out the warning that partitions of checks are in preview (Dagster 1.13)."""
    return warnings.catch_warnings(action="ignore", category=dg.PreviewWarning)
