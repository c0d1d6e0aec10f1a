"""Trainings whose shards are packed in the meantime: real data, a real Dagster instance and MLflow store."""

import dagster as dg
import pytest

from assets.data import shards
from assets.freshness import DATA_VERSION_TAG, is_fresh, latest_materialization
from assets.networks import teacher
from assets.partitions import grid_key
from definitions import definitions
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Trainer
from tests.assets.chain import SETTINGS


def record_shards(version: str) -> None:
    """Record a materialization of the shards, as a run of the job `data` does."""
    tags = {DATA_VERSION_TAG: version}
    event = dg.AssetMaterialization(shards.key, partition="synthetic", tags=tags)
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(event)


class PackedAtTheEnd(Trainer):
    """Trainer during whose training the shards are packed again."""

    def teacher(self, dataset, recipe, paths, log):
        result = super().teacher(dataset, recipe, paths, log)
        record_shards("new")
        return result


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "lgad.yaml").write_text(SETTINGS.replace("STEPS", "10"))
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LGAD_SETTINGS", str(folder / "lgad.yaml"))
        patch.setenv("DAGSTER_HOME", str(folder))
        patch.delenv("LGAD_STATE", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with dg.DagsterInstance.get() as instance:
            job = definitions(ProgressLog()).resolve_job_def("data")
            assert job.execute_in_process(instance=instance, partition_key="synthetic").success
        yield Project(file=str(folder / "lgad.yaml"))


def trained_is_fresh(project: Project, trainer: Trainer) -> bool:
    resources = {**(definitions(ProgressLog()).resources or {}), "trainer": trainer}
    key = grid_key("synthetic", "enet")
    with dg.DagsterInstance.get() as instance:
        assert dg.materialize([teacher], instance=instance, partition_key=key, resources=resources).success
        return is_fresh(instance, project, asset=teacher, dataset="synthetic", recipe="enet")


def test_network_is_stale_if_its_shards_are_not_the_recorded_ones(project):
    with dg.DagsterInstance.get() as instance:
        packed = latest_materialization(instance, shards.key, partition="synthetic")
    assert packed is not None
    assert trained_is_fresh(project, Trainer())
    assert not trained_is_fresh(project, PackedAtTheEnd())  # recorded after this training has started
    assert not trained_is_fresh(project, Trainer())  # the files are still the earlier ones
    record_shards(packed.data_version)
    assert trained_is_fresh(project, Trainer())
