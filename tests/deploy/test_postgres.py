"""Dagster's and MLflow's stores in a real PostgreSQL, by configuration alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SETTINGS = """
datasets:
  synthetic:
    kind: synthetic
    image_size: [48, 128]
    crop_top: 240
    lane_width: 32
    world: {seed: 0, train: 6, val: 3, test: 3}
recipes:
  enet:
    teacher: {steps: 4, batch_size: 2, log_every: 1, validate_every: 4, optimizer: {warmup_steps: 2}}
    student: {steps: 4, batch_size: 2, log_every: 1, validate_every: 4, optimizer: {warmup_steps: 2}}
"""
# In a process of its own, as users do it: nothing of this test's process decides which store is used.
CHAIN = """
import dagster as dg
from definitions import defs
from assets.keys import asset_key
from assets.partitions import grid_key

if __name__ == "__main__":
    with dg.DagsterInstance.get() as instance:
        data = defs.resolve_job_def("data")
        assert data.execute_in_process(instance=instance, partition_key="synthetic").success
        teacher = defs.resolve_job_def("retrain").execute_in_process(
            instance=instance,
            partition_key=grid_key("synthetic", "enet"),
            asset_selection=[asset_key("teacher")],
            raise_on_error=False,
        )
        assert teacher.asset_materializations_for_node("lgad__teacher")
        print([pool.name for pool in instance.event_log_storage.get_pool_limits()])
"""


def test_the_two_instances_differ_in_their_storage_alone():
    files = [ROOT / "dagster.yaml", ROOT / "deploy" / "postgres" / "dagster.yaml"]
    sqlite, postgres = (yaml.safe_load(file.read_text()) for file in files)
    assert sqlite.pop("storage") != postgres.pop("storage") and sqlite == postgres


def test_a_training_is_kept_in_postgresql(postgres, tmp_path):
    psycopg2 = pytest.importorskip("psycopg2")
    pytest.importorskip("dagster_postgres")
    connection = psycopg2.connect(f"{postgres}/postgres")
    connection.autocommit = True
    for name in ("dagster", "mlflow"):
        connection.cursor().execute(f"CREATE DATABASE {name}")
    (tmp_path / "lgad.yaml").write_text(SETTINGS)
    (tmp_path / "chain.py").write_text(CHAIN)
    address = postgres.replace("postgresql:", "postgresql+psycopg2:")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "DAGSTER_HOME": str(ROOT / "deploy" / "postgres"),
        "LGAD_POSTGRES_URL": f"{address}/dagster",
        "LGAD_SETTINGS": str(tmp_path / "lgad.yaml"),
        "MLFLOW_TRACKING_URI": f"{address}/mlflow",
    }
    environment.pop("LGAD_STATE", None)
    done = subprocess.run(
        [sys.executable, "chain.py"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "['device']" in done.stdout

    def count(database: str, query: str) -> int:
        with psycopg2.connect(f"{postgres}/{database}").cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchone()[0]

    made = "SELECT count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
    assert count("dagster", made) == 5
    assert count("dagster", "SELECT count(*) FROM concurrency_slots WHERE run_id IS NOT NULL") == 0
    assert count("mlflow", "SELECT count(*) FROM metrics WHERE key = 'train/loss'") == 4
    assert not list(tmp_path.rglob("*.db"))
