"""A real Dagster web server behind the guard; its instance knows a materialization of the asset `table`."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import quote

import dagster as dg

ROOT = Path(__file__).resolve().parent.parent
TABLE = dg.AssetKey("table")
WIPE = 'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["table"]}}]) { __typename } }'
WIPE_ADDRESS = f"/graphql?query={quote(WIPE)}"
WIPE_JSON = json.dumps({"query": WIPE})


@contextmanager
def guarded_dagster(folder: Path, port: int, **environment: str) -> Iterator[dg.DagsterInstance]:
    """Start the server on 127.0.0.1, yield its instance, and stop it."""
    folder.mkdir(exist_ok=True)
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (folder / "workspace.yaml").write_text("load_from: []\n")
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization(TABLE))
        command = [sys.executable, "-m", "resources.dagster_web", "--port", str(port)]
        variables = {**os.environ, "DAGSTER_HOME": str(folder), "PYTHONPATH": str(ROOT), **environment}
        server = subprocess.Popen(
            [*command, "--workspace", str(folder / "workspace.yaml")], cwd=ROOT, env=variables
        )
        try:
            wait_for(server, port)
            yield instance
        finally:
            server.terminate()
            server.wait(30)


def wait_for(server: subprocess.Popen, port: int) -> None:
    for _ in range(600):
        assert server.poll() is None, "the server has ended"
        try:
            assert request(port, "GET", "/server_info")[0] == 200
            return
        except ConnectionRefusedError:
            time.sleep(0.2)
    raise AssertionError("the server does not answer")


def request(
    port: int, method: str, path: str, headers: dict[str, str] | None = None, body: str = ""
) -> tuple[int, str]:
    """Status and text of an answer; `Host` is localhost unless given."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True)
        for name, value in ({"Host": f"localhost:{port}"} | (headers or {})).items():
            connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body.encode() or None)
        answer = connection.getresponse()
        return answer.status, "" if answer.status == 101 else answer.read().decode()
    finally:
        connection.close()


def is_known(instance: dg.DagsterInstance) -> bool:
    """Tell if the instance still has the materialization."""
    return instance.get_latest_materialization_event(TABLE) is not None
