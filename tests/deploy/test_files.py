"""What the deployment's files say: no password on a command line, nothing more than needed allowed."""

import re
from pathlib import Path

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_unit_is_confined_and_its_command_holds_no_address_of_a_database(unit):
    text = unit.read_text()
    for line in ("NoNewPrivileges=yes", "ProtectSystem=strict", "PrivateTmp=yes", "CapabilityBoundingSet="):
        assert f"\n{line}\n" in text
    command = text.replace("\\\n", " ").partition("ExecStart=")[2].partition("\n")[0]
    assert "://" not in command and "STORE" not in command


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_container_is_confined_and_its_command_holds_no_password(name):
    service = COMPOSE["services"][name]
    assert service["read_only"] is True and service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "PASSWORD" not in str(service.get("command", ""))
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_images_have_exact_versions():
    assert re.search(r"^ARG BASE=python:3\.11\.\d+-slim-\w+$", (DEPLOY / "Dockerfile").read_text(), re.M)
    assert re.search(r":-postgres:\d+\.\d+-\w+}$", COMPOSE["services"]["postgres"]["image"])


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
