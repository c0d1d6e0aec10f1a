"""The jobs of the chain on a tiny road world, with a store, for machines with caches of their own."""

import os
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.freshness import stale_assets
from assets.keys import asset_name
from assets.partitions import grid_key
from definitions import definitions
from resources.paths import ProjectPaths
from resources.progress import ProgressLog
from resources.project import Project
from tests.assets.chain import SETTINGS


def write_project(folder: Path, store: str = "", steps: int = 4, cache: int | None = None) -> None:
    """Write lgad.yaml and dagster.yaml of a project; `cache` is the limit of streamed shards, bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = f"store: {store}\nowner: tester\n" if store else ""
    keys += f"shard_cache_gb: {cache / 1e9:.9f}\n" if cache else ""
    # Without an average of the weights, a network of few steps finds something at all.
    (folder / "lgad.yaml").write_text(keys + SETTINGS.replace("STEPS", str(steps)))
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")


def use_project(patch: pytest.MonkeyPatch, folder: Path, state: Path) -> None:
    """Let this process work on a project, with the cache of one machine."""
    patch.setenv("LGAD_SETTINGS", str(folder / "lgad.yaml"))
    patch.setenv("DAGSTER_HOME", str(folder))
    patch.setenv("LGAD_STATE", str(state))
    patch.delenv("MLFLOW_TRACKING_URI", raising=False)


def run(job: str, trainer: dict[str, Any] | None = None, ops: dict[str, Any] | None = None) -> None:
    """Run a job of the chain in this process, with settings of its trainer and of its steps."""
    partition = "synthetic" if job == "data" else grid_key("synthetic", "enet")
    resources = {"resources": {"trainer": {"config": trainer}}} if trainer else {}
    with dg.DagsterInstance.get() as instance:
        result = (
            definitions(ProgressLog())
            .resolve_job_def(job)
            .execute_in_process(
                instance=instance,
                partition_key=partition,
                run_config={
                    "loggers": {"console": {"config": {"log_level": "ERROR"}}},
                    "ops": ops or {},
                    **resources,
                },
            )
        )
    assert result.success


def stale(job: str) -> list[str]:
    """Return the names of the stale assets of a job."""
    defs = definitions(ProgressLog())
    keys = defs.resolve_job_def(job).asset_layer.executable_asset_keys
    with dg.DagsterInstance.get() as instance:
        found = stale_assets(
            instance,
            Project(file=os.environ["LGAD_SETTINGS"]),
            graph=defs.resolve_asset_graph(),
            names={asset_name(key) for key in keys},
            dataset="synthetic",
            recipe="enet",
        )
    return sorted(asset_name(key) for key in found)


def paths_here() -> ProjectPaths:
    """Return the paths on the machine in use."""
    return Project(file=os.environ["LGAD_SETTINGS"]).paths("synthetic", "enet")
