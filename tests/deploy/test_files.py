"""What the deployment's files say: no password on a command line, nothing more than needed allowed."""

import re
import shutil
from pathlib import Path

import dagster as dg
import pytest
import yaml

from lgad_pipeline.settings import Settings

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = {name: yaml.safe_load((DEPLOY / name).read_text()) for name in ("compose.yaml", "ray/compose.yaml")}
SERVICES = [service for compose in COMPOSE.values() for service in compose["services"].items()]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_is_confined_and_its_command_holds_no_address_of_a_database(unit):
    text = unit.read_text()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "CapabilityBoundingSet="):
        assert f"\n{line}\n" in text
    command = text.replace("\\\n", " ").partition("ExecStart=")[2].partition("\n")[0]
    assert "://" not in command and "STORE" not in command


def test_services_write_to_the_results_and_mlflow_to_its_own_folder_alone():
    for unit in UNITS:
        text = unit.read_text()
        written = re.findall(r"^(?:ReadWritePaths|StateDirectory)=(.*)$", text, re.M)
        if unit.stem != "lgad-mlflow":
            assert written == ["/srv/lgad/.lgad"]
            continue
        assert written == ["lgad-mlflow"]  # below /var/lib
        files = re.findall(r"(?:sqlite:///|--artifacts-destination |WorkingDirectory=)(/\S+)", text)
        assert len(files) == 3 and {path.split("/")[3] for path in files} == {"lgad-mlflow"}
        assert all(path.startswith("/var/lib/") for path in files)


@pytest.mark.parametrize(("name", "service"), SERVICES)
def test_container_is_confined_and_its_command_holds_no_password(name, service):
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "PASSWORD" not in str(service.get("command", ""))
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_images_have_exact_versions():
    assert re.search(r"^ARG BASE=python:3\.11\.\d+-slim-\w+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    for compose in COMPOSE.values():
        assert re.search(r":-postgres:\d+\.\d+-\w+}$", compose["services"]["postgres"]["image"])
    store = COMPOSE["ray/compose.yaml"]["services"]["store"]["image"]
    assert re.search(r":-quay.io/minio/minio:RELEASE\.\d{4}-\d\d-\d\dT[\d-]+Z}$", store)


def test_secrets_of_the_cluster_are_variables_without_a_default():
    text = (DEPLOY / "ray" / "compose.yaml").read_text()
    example = (DEPLOY / "ray" / "cluster.env.example").read_text()
    for secret in ("POSTGRES_PASSWORD", "STORE_PASSWORD", "RAY_TOKEN"):
        assert f"${{{secret}:?" in text and f"\n{secret}=\n" in example
        assert not re.search(rf"\${{{secret}:-", text)
    variables = COMPOSE["ray/compose.yaml"]["x-environment"]
    assert variables["RAY_AUTH_MODE"] == "token" and "6379" not in str(
        [service.get("ports") for _, service in SERVICES]
    )


def test_secrets_and_settings_of_one_machine_are_in_no_image_and_no_commit():
    """`COPY . .` of the image takes every file of the checkout that .dockerignore does not name."""
    root = DEPLOY.parent
    guide = (root / "docs" / "cluster.md").read_text()
    assert "--from-env-file cluster.env" in guide and "=password.txt" in guide
    secrets = {"cluster.env", "password.txt", ".env", "deploy/.env", "lgad.local.yaml"}
    assert secrets <= set((root / ".dockerignore").read_text().split())
    ignored = {line.lstrip("/") for line in (root / ".gitignore").read_text().split()}
    assert secrets - {"deploy/.env"} <= ignored  # .env without / ignores deploy/.env, too


def test_a_partition_has_one_run_at_a_time_on_one_machine_and_on_a_cluster(tmp_path, monkeypatch):
    """The instances of the project and of postgres differ in the storage alone; see test_postgres.py."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(DEPLOY.parent / "dagster.yaml", tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert type(instance.run_coordinator).__name__ == "QueuedRunCoordinator"
        queue = instance.get_concurrency_config().run_queue_config
    limits = [{"key": "dagster/partition", "value": {"applyLimitPerUniqueValue": True}, "limit": 1}]
    assert queue is not None and queue.tag_concurrency_limits == limits
    homes = [compose["x-environment"]["DAGSTER_HOME"] for compose in COMPOSE.values()]
    assert homes == ["/srv/lgad/deploy/postgres"] * 2


def test_limits_in_kubernetes_are_those_of_a_cluster_and_dagster_accepts_them(tmp_path):
    """The chart writes `concurrency` with other spellings of the keys; see its template _concurrency.tpl."""
    values = yaml.safe_load((DEPLOY / "kubernetes" / "dagster.yaml").read_text())
    cluster = yaml.safe_load((DEPLOY / "postgres" / "dagster.yaml").read_text())
    coordinator, limits = values["dagsterDaemon"]["runCoordinator"], values["concurrency"]
    assert limits["enabled"] and coordinator == {"enabled": True, "type": "QueuedRunCoordinator"}
    written = {
        "run_coordinator": {"module": "dagster.core.run_coordinator", "class": "QueuedRunCoordinator"},
        "concurrency": {
            "pools": {
                "default_limit": limits["pools"]["defaultLimit"],
                "granularity": limits["pools"]["granularity"],
            },
            "runs": {
                "max_concurrent_runs": limits["runs"]["maxConcurrentRuns"],
                "tag_concurrency_limits": limits["runs"]["tagConcurrencyLimits"],
            },
        },
    }
    (tmp_path / "dagster.yaml").write_text(yaml.safe_dump(written))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        accepted = instance.get_concurrency_config()
    one_a_partition = cluster["concurrency"]["runs"]["tag_concurrency_limits"]
    queue = accepted.run_queue_config
    assert queue is not None and queue.tag_concurrency_limits == one_a_partition
    assert accepted.pool_config.default_pool_limit == cluster["concurrency"]["pools"]["default_limit"] == 1
    free = values["dagsterDaemon"]["runMonitoring"]["freeSlotsAfterRunEndSeconds"]
    assert free == cluster["run_monitoring"]["free_slots_after_run_end_seconds"]


def test_settings_of_the_cluster_are_valid_and_ray_has_one_version(tmp_path):
    (tmp_path / "lgad.yaml").write_text((DEPLOY.parent / "lgad.yaml").read_text())
    (tmp_path / "lgad.local.yaml").write_text((DEPLOY / "ray" / "lgad.local.yaml").read_text())
    settings = Settings.load(tmp_path / "lgad.yaml")
    assert settings.store == "s3://lgad/project" and settings.trainer.launcher == "ray"
    version = re.search(r"^ray==([\d.]+) ", (DEPLOY / "ray" / "requirements.lock").read_text(), re.M)
    cluster = yaml.safe_load((DEPLOY / "kubernetes" / "raycluster.yaml").read_text())["spec"]
    assert version is not None and cluster["rayVersion"] == version[1]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in (group["template"]["spec"] for group in groups):
        assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
        assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
        mounts = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_lock_file_pins_every_package_with_hashes_and_agrees_with_the_constraints():
    lock = (DEPLOY / "requirements.lock").read_text()
    packages = re.split(r"\n(?=[a-z0-9])", lock[lock.index("\n", lock.rindex("# ")) :].strip())
    assert len(packages) > 100
    for package in packages:
        assert re.match(r"[a-z0-9][a-z0-9._-]*==[^ ]+ ", package) and "--hash=sha256:" in package
    names = {package.split(" ")[0] for package in packages}
    constraints = (DEPLOY.parent / "constraints.txt").read_text().split("# The docs site")[0].splitlines()
    assert {line for line in constraints if line and not line.startswith("#")} <= names
    assert "://" not in lock  # hosts of registries
