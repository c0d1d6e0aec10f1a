"""Passwords in addresses: neither shown nor stored by Dagster, also not compressed."""

import contextlib
import os
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from resources.mlflow.addresses import holds_secret, tracking_address, without_secret
from resources.mlflow.errors import diagnose
from resources.mlflow.resource import MlflowTracking, default_tracking

ROOT = Path(__file__).parents[2]
SECRET = "s3cretWord"
ADDRESS = f"postgresql+psycopg2://lgad:{SECRET}@127.0.0.1:1/mlflow"
RECORD = """
import dagster as dg
from definitions import defs
from dagster._core.workspace.context import WorkspaceProcessContext
with dg.DagsterInstance.get() as instance:
    repository = defs.get_repository_def()
    from dagster._core.remote_representation.external_data import RepositorySnap
    shown = dg.serialize_value(RepositorySnap.from_def(repository))
    open("pages.txt", "w").write(shown)
    instance.create_run_for_job(defs.resolve_job_def("retrain"))
"""


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (ADDRESS, "postgresql+psycopg2://lgad:***@127.0.0.1:1/mlflow"),
        (f"postgresql://host/db?user=me&password={SECRET}", "postgresql://host/db?***"),
        (f"mysql://host/db?sslkey=/k&PWD={SECRET}", "mysql://host/db?***"),
        (f"postgresql://me:p%40{SECRET}@host/db", "postgresql://me:***@host/db"),
        (f"postgresql://me:a/b#c?{SECRET}@host:5432/db", "postgresql://me:***@host:5432/db"),
        (f"postgresql://me:a@{SECRET}@host/db", "postgresql://me:***@host/db"),
        (f"https://me:{SECRET}#@host/mlflow", "https://me:***@host/mlflow"),
    ],
)
def test_passwords_are_found_and_hidden(address, shown):
    assert holds_secret(address) and without_secret(address) == shown


@pytest.mark.parametrize(
    "address",
    [
        "http://host:5000",
        "http://host:5000/a@b",
        "sqlite:////my drives/mlflow.db",
        "sqlite:////drives #2/a:b@c/mlflow.db",
        "postgresql://me@host/db",
    ],
)
def test_addresses_without_password_are_shown_as_they_are(address):
    assert not holds_secret(address) and without_secret(address) == address


@pytest.mark.parametrize(
    "address", [f"postgres://me:{SECRET}@host/db", f"htp://host/db?user=me&password={SECRET}"]
)
def test_the_reason_of_an_unusable_address_hides_its_password(address):
    raised = RuntimeError(f"got unsupported URI '{address}' for model registry data storage")
    sentence = diagnose(raised).sentence(without_secret(address))
    assert SECRET not in sentence and "got unsupported URI" in sentence


@pytest.mark.parametrize(
    "address", ["127.0.0.1:5000", "localhost", "mlflow.example.org:80/x", '"http://h:1"']
)
def test_an_address_without_http_is_refused_which_would_be_a_folder(address, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    with pytest.raises(LgadError, match="write it as http://HOST:PORT, without quotes around it") as error:
        tracking_address()
    assert SECRET not in str(error.value)


def test_password_of_the_database_is_in_no_setting(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    tracking = default_tracking(tmp_path)
    assert SECRET not in repr(tracking) and SECRET not in tracking.model_dump_json()
    assert tracking.target == ADDRESS and SECRET not in tracking.address
    for variable in ("LGAD_MLFLOW_UI", "LGAD_DAGSTER_UI"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, f"https://me:{SECRET}@pages.example.com")
            with pytest.raises(LgadError, match=f"{variable} holds a password") as caught:
                default_tracking(tmp_path)
            assert SECRET not in str(caught.value)
    with pytest.raises(ValueError, match="environment variable MLFLOW_TRACKING_URI") as refused:
        MlflowTracking(uri=ADDRESS)
    assert "an address with a password" in str(refused.value)


def test_server_with_a_password_is_refused_however_it_is_written(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f" HTTPS://me:{SECRET}@mlflow.example.com/ ")
    with pytest.raises(LgadError, match="MLFLOW_TRACKING_PASSWORD"):
        tracking_address()


def test_relative_sqlite_address_does_not_depend_on_the_folder_of_later_commands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mlflow.db")
    assert default_tracking(tmp_path).uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert default_tracking(tmp_path).own_database == tmp_path / "mlflow.db"


def test_dagster_stores_no_password(tmp_path):
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    environment = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": ADDRESS,
        "PYTHONPATH": str(ROOT),
        "LGAD_SETTINGS": str(ROOT / "lgad.yaml"),
        "LGAD_STATE": str(tmp_path / "state"),
    }
    command = [sys.executable, "-c", RECORD]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "$MLFLOW_TRACKING_URI" in (tmp_path / "pages.txt").read_text()
    stored = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "runs.db" for path in tmp_path.rglob("*"))
    everything = b"".join(stored) + b"".join(part for content in stored for part in unpacked(content))
    assert b"lane_scores" in everything and SECRET.encode() not in everything


def unpacked(content: bytes) -> list[bytes]:
    """Return the decompressed content of all zlib streams in a file, wherever they begin."""
    found = []
    for header in (b"\x78\x9c", b"\x78\x01", b"\x78\xda"):
        start = content.find(header)
        while start >= 0:
            stream = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                found.append(stream.decompress(content[start:]))
            start = content.find(header, start + 1)
    return found


def test_a_folder_whose_name_an_address_cannot_have_is_refused(tmp_path):
    for name in ("what?", "50%2Fx"):
        with pytest.raises(LgadError, match="rename the folder"):
            default_tracking(tmp_path / name)
    assert default_tracking(tmp_path / "50% #2").own_database == tmp_path / "50% #2" / "mlflow.db"
