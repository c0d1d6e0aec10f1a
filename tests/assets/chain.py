"""Project of the chain test: settings, assets, and what schedules and sensors request."""

import datetime
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import mlflow
import pytest

import demo
from assets.jobs import schedule_of
from assets.keys import asset_key, asset_name
from assets.partitions import grid_key
from definitions import definitions
from lgad_pipeline.config.schedule import RetrainConfig
from resources.mlflow.resource import default_tracking
from resources.paths import ProjectPaths
from resources.progress import ProgressLog
from resources.project import Project

ASSETS = {
    "data": ["recordings", "frames", "lane_labels", "shards"],
    "retrain": [
        "teacher",
        "student_alone",
        "student_lgad",
        "predictions",
        "lane_scores",
        "onnx_graph",
        "registered_model",
        "report",
    ],
}
# The names are those of the project's own lgad.yaml: the code location knows its partitions from there.
SETTINGS = """
datasets:
  synthetic:
    kind: synthetic
    image_size: [48, 128]
    crop_top: 240
    lane_width: 32
    world: {seed: 0, train: 18, val: 9, test: 9}
    retrain: {quiet_seconds: 0}
recipes:
  enet:
    teacher_network: {name: enet, width: 0.5}
    teacher:
      {steps: STEPS, threads: 1, batch_size: 4, log_every: 2, validate_every: 4, optimizer: {warmup_steps: 2}}
    student:
      {steps: STEPS, threads: 1, batch_size: 4, log_every: 2, validate_every: 4, optimizer: {warmup_steps: 2}}
"""


@dataclass(frozen=True)
class Chain:
    folder: Path
    paths: ProjectPaths
    instance: dg.DagsterInstance

    def latest(self, name: str) -> dg.AssetMaterialization:
        partition = "synthetic" if name in ASSETS["data"] else grid_key("synthetic", "enet")
        found = self.instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset_key(name), asset_partitions=[partition]), limit=1
        )
        materialization = found.records[0].asset_materialization
        assert materialization is not None
        return materialization

    def client(self) -> mlflow.MlflowClient:
        return default_tracking(self.folder).client


def nightly() -> dg.ScheduleDefinition:
    return schedule_of("synthetic", RetrainConfig())


def aliased(client: mlflow.MlflowClient, alias: str) -> str:
    return str(client.get_model_version_by_alias("synthetic-enet", alias).version)


def requested(chain: Chain, automation: dg.ScheduleDefinition | dg.SensorDefinition) -> list[dg.RunRequest]:
    """What one tick of a schedule or sensor of the code location asks for."""
    defs = definitions(ProgressLog())
    given = {"instance": chain.instance, "repository_def": defs.get_repository_def()}
    if isinstance(automation, dg.ScheduleDefinition):
        night = datetime.datetime(2026, 1, 2, 2, tzinfo=datetime.UTC)
        context = dg.build_schedule_context(**given, scheduled_execution_time=night)
    else:
        context = dg.build_sensor_context(**given)
    with dg.build_resources(defs.resources or {}, instance=chain.instance) as resources:
        found = list(automation(context, project=resources.project))  # pyright: ignore
    return [request for request in found if isinstance(request, dg.RunRequest)]


def asked(requests: list[dg.RunRequest]) -> list[tuple[str | None, list[str]]]:
    return [
        (request.partition_key, [asset_name(key) for key in request.asset_selection or []])
        for request in requests
    ]


@contextmanager
def materialized(folder: Path) -> Iterator[Chain]:
    """Run the demo in a directory, with an instance and a store of its own, and return its results."""
    (folder / "lgad.yaml").write_text(SETTINGS.replace("STEPS", "10"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LGAD_SETTINGS", str(folder / "lgad.yaml"))
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.delenv("LGAD_STATE", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        demo.main(dataset="synthetic", recipe="enet", root="")
        with dg.DagsterInstance.get() as instance:
            project = Project(file=os.environ["LGAD_SETTINGS"])
            yield Chain(folder, project.paths("synthetic", "enet"), instance)
