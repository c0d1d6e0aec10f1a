"""Both pages behind deploy/Caddyfile: a real Caddy, the guarded Dagster, MLflow as its unit starts it."""

import base64
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tests.deploy.conftest import free_port
from tests.guarded_dagster import ROOT, guarded_dagster, request

USER, PASSWORD = "team", "of-this-test-alone"
LOG_IN = {"Authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
JSON = LOG_IN | {"Content-Type": "application/json"}


def unit_command(unit: str, environment: dict[str, str]) -> list[str]:
    """The command of a systemd unit for this checkout, with its variables filled in."""
    text = (ROOT / "deploy" / "systemd" / unit).read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart="))
    for name, value in environment.items():
        words = [word.replace(f"${{{name}}}", value) for word in words]
    assert words[0].startswith("/srv/lgad/.venv/bin/") and not any("${" in word for word in words)
    return [sys.executable, "-m", words[0].rpartition("/")[2], *words[1:]]


def wait_for(port: int, path: str, status: int) -> None:
    for _ in range(600):
        try:
            if request(port, "GET", path)[0] == status:
                return
        except OSError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"nothing answers on port {port}")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of the proxy, which serves dagster.localhost and mlflow.localhost."""
    caddy = shutil.which("caddy")
    if caddy is None:
        pytest.skip("Caddy is not installed: apt-get install caddy")
    folder = tmp_path_factory.mktemp("proxy")
    port, dagster, mlflow = free_port(), free_port(), free_port()
    hashed = subprocess.run([caddy, "hash-password", "--plaintext", PASSWORD], capture_output=True, text=True)
    environment = {
        "LGAD_DAGSTER_UI": f"http://dagster.localhost:{port}",
        "LGAD_MLFLOW_UI": f"http://mlflow.localhost:{port}",
        "LGAD_ALLOWED_HOSTS": f"dagster.localhost:{port},mlflow.localhost:{port}",
        "LGAD_DAGSTER_PORT": str(dagster),
        "LGAD_MLFLOW_PORT": str(mlflow),
        "LGAD_PROXY_USER": USER,
        "LGAD_PROXY_HASH": hashed.stdout.strip(),
        "MLFLOW_BACKEND_STORE_URI": f"sqlite:///{folder / 'mlflow.db'}",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "HOME": str(folder),
    }
    command = unit_command("lgad-mlflow.service", environment)
    command = [word.replace("/var/lib/lgad-mlflow", str(folder)) for word in command]
    command[command.index("--port") + 1] = str(mlflow)
    variables = {**os.environ, **environment}
    caddyfile = str(ROOT / "deploy" / "Caddyfile")
    with guarded_dagster(folder / "dagster", dagster, **environment):
        started = [
            subprocess.Popen(command, env=variables, cwd=folder),
            subprocess.Popen([caddy, "run", "--config", caddyfile, "--adapter", "caddyfile"], env=variables),
        ]
        try:
            wait_for(mlflow, "/health", 200)
            wait_for(port, "/", 200)
            yield port
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(30)


def host(name: str, port: int) -> dict[str, str]:
    return {"Host": f"{name}.localhost:{port}"}


@pytest.mark.parametrize("name", ["dagster", "mlflow"])
def test_page_needs_a_log_in(site, name):
    assert request(site, "GET", "/", host(name, site))[0] == 401
    status, text = request(site, "GET", "/", host(name, site) | LOG_IN)
    assert status == 200 and "<html" in text.lower()


QUERIES = {
    "dagster": ("/graphql", {"query": "{ version }"}, "version"),
    "mlflow": ("/ajax-api/2.0/mlflow/experiments/search", {"max_results": 1}, "experiments"),
}


@pytest.mark.parametrize("name", QUERIES)
def test_page_may_ask_its_own_server_and_no_other_page_may(site, name):
    path, query, answered = QUERIES[name]
    own = host(name, site) | JSON | {"Origin": f"http://{name}.localhost:{site}"}
    status, text = request(site, "POST", path, own, json.dumps(query))
    assert status == 200 and answered in text
    foreign = own | {"Origin": "https://evil.example"}
    assert request(site, "POST", path, foreign, json.dumps(query))[0] == 403


def test_other_names_are_not_served(site):
    assert request(site, "GET", "/server_info", {"Host": f"evil.example:{site}"} | LOG_IN)[1] == ""
