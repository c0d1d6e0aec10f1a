"""Servers of Dagster's and MLflow's pages on this machine, until Ctrl-C.

`make ui [PORT=3000] [MLFLOW_PORT=5000]` calls it.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from lgad_pipeline.console import plain
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.settings import Settings, settings_path
from resources.mlflow.resource import default_tracking

HOST = "127.0.0.1"
ROOT = Path(__file__).resolve().parent
console = Console(highlight=False)


def main(
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of Dagster's pages.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of MLflow's pages.")] = 5000,
) -> None:
    """Start both servers, print their addresses, and stop them together."""
    os.environ.setdefault("DAGSTER_HOME", str(Path.cwd()))
    os.environ["LGAD_DAGSTER_UI"] = f"http://localhost:{port}"
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith("http"):
        os.environ["LGAD_MLFLOW_UI"] = f"http://localhost:{mlflow_port}"
    # MLflow's evaluation jobs are for language models; here they would be ten idle processes.
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow's pages would report their use
    servers: dict[str, subprocess.Popen] = {}
    folder = tempfile.TemporaryDirectory(prefix="lgad-ui-")  # no other user can open it
    try:
        settings = Settings.from_environment()
        check_free(port, f"make ui PORT={port + 1}")
        tracking = default_tracking(settings_path().parent)
        tracking.relocate()
        own_mlflow = not tracking.uri.startswith("http")
        if own_mlflow:
            check_free(mlflow_port, f"make ui MLFLOW_PORT={mlflow_port + 1}")
        with console.status("Starting Dagster and MLflow"):
            set_device_pool(settings)
            if own_mlflow:
                servers["mlflow"] = start_mlflow(tracking.target, tracking.artifacts, mlflow_port)
            servers |= start_dagster(Path(folder.name), port)
            for name, listening in (("mlflow", mlflow_port), ("dagster", port)):
                if name in servers:
                    wait_for(name, servers[name], listening)
        console.print(f"Dagster  [bold]{os.environ['LGAD_DAGSTER_UI']}[/]")
        console.print(f"MLflow   [bold]{tracking.ui}[/]  [dim](once: choose Model training, top left)[/]")
        console.print("[dim]Ctrl-C stops both.[/]")
        while all(server.poll() is None for server in servers.values()):
            time.sleep(0.5)
        stopped = next(name for name, server in servers.items() if server.poll() is not None)
        raise LgadError(stop_reason(stopped))
    except LgadError as error:
        text = "\n".join(map(plain, str(error).splitlines()))
        console.print(text, style="bold red", markup=False)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("\nStopping.")
    finally:
        stop(list(servers.values()))
        folder.cleanup()


def set_device_pool(settings: Settings) -> None:
    """Let as many trainings run at the same time as this machine has devices or cores for."""
    import dagster as dg

    from resources.device_pool import widen_device_pool

    with dg.DagsterInstance.get() as instance:
        widen_device_pool(instance, settings)


def start_mlflow(store: str, artifacts: str, port: int) -> subprocess.Popen:
    """Start MLflow's server.

    Args:
        store: address of the store. It may hold a password, so it is not on the command line.
        artifacts: directory of the artifacts.
        port: port of MLflow's pages.
    """
    options = ["--host", HOST, "--port", str(port), "--workers", "1"]
    environment = {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_DEFAULT_ARTIFACT_ROOT": artifacts}
    return start("mlflow", ["mlflow", "server", *options], environment)


def start_dagster(folder: Path, port: int) -> dict[str, subprocess.Popen]:
    """Start Dagster's three services: the code server, the daemon, and the guarded web server.

    Args:
        folder: directory for the workspace file and the socket of the code server.
        port: port of Dagster's pages.
    """
    code, workspace = folder / "code", folder / "workspace.yaml"
    location = {"grpc_server": {"socket": str(code), "location_name": "lgad"}}
    workspace.write_text(json.dumps({"load_from": [location]}), encoding="utf-8")  # JSON is YAML, too
    source = ["-f", str(ROOT / "definitions.py"), "-d", str(ROOT), "-a", "defs", "--location-name", "lgad"]
    servers = {"code": start("code", ["dagster", "code-server", "start", *source, "--socket", str(code)])}
    wait_for("code", servers["code"], code)
    servers["daemon"] = start("daemon", ["dagster._daemon", "run", "--workspace", str(workspace)])
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    options = ["--host", HOST, "--port", str(port), "--workspace", str(workspace)]
    environment = {"PYTHONPATH": os.pathsep.join(paths)}
    servers["dagster"] = start("dagster", ["resources.dagster_web", *options], environment)
    return servers


def check_free(port: int, remedy: str) -> None:
    """Check that no process listens on a port of this machine.

    Args:
        port: number of the port.
        remedy: command that uses another port.

    Raises:
        LgadError: another process listens on the port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LgadError(
                f"Port {port} is in use, perhaps by another `make ui`; stop that, or use another: {remedy}."
            ) from error


def start(name: str, module: Sequence[str], environment: Mapping[str, str] | None = None) -> subprocess.Popen:
    """Start a server whose output is written to a log.

    The server is in its own process group: Ctrl-C in the terminal reaches this process alone.

    Args:
        name: name of the log.
        module: Python module and its arguments.
        environment: variables that are added to the environment of this process.
    """
    with log_of(name).open("w") as log:
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )


def wait_for(name: str, server: subprocess.Popen, listening: int | Path) -> None:
    """Wait until a server listens on a port of this machine, or on a socket.

    Args:
        name: name of the server's log.
        server: process of the server.
        listening: port, or path of a Unix socket.

    Raises:
        LgadError: the server ended, or does not listen after five minutes.
    """
    family, address = (
        (socket.AF_UNIX, str(listening))
        if isinstance(listening, Path)
        else (socket.AF_INET, (HOST, listening))
    )
    for _ in range(600):
        if server.poll() is not None:
            raise LgadError(stop_reason(name))
        with socket.socket(family) as probe:
            if probe.connect_ex(address) == 0:
                return
        time.sleep(0.5)
    raise LgadError(f"{name} does not answer at {listening}; read {log_of(name)} for the reason.")


def stop_reason(name: str) -> str:
    """Return the reason why a server ended: the last line of its log."""
    path = log_of(name)
    lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return f"{name} has stopped: {lines[-1] if lines else 'its log is empty'} (whole log: {path})"


def log_of(name: str) -> Path:
    """Return the path of the log of a server."""
    folder = settings_path().parent / ".lgad" / "logs"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_fault(error, folder, "written") from error
    return folder / f"{name}.log"


def stop(servers: Sequence[subprocess.Popen]) -> None:
    """End servers and the processes that they started; kill those that still run after ten seconds."""
    for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        for server in servers:
            with contextlib.suppress(ProcessLookupError):  # all processes of the group have ended
                os.killpg(server.pid, sign)
        deadline = time.monotonic() + patience
        for server in servers:
            try:
                server.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue


def _terminate(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    for sign in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sign, _terminate)
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    app()
