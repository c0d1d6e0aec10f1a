"""A real MLflow server on this machine, which a test may kill."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import dagster as dg
import pytest

from resources.mlflow import system_metrics
from resources.mlflow.resource import MlflowTracking


class Server:
    """`mlflow server` over a sqlite store."""

    def __init__(self, folder: Path, *options: str, **environment: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.folder, self.options, self.environment = folder, options, environment
        self.process: subprocess.Popen | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        store = ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"]
        store += ["--artifacts-destination", str(self.folder / "artifacts")]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *place, *store, *self.options],
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        for _ in range(6000):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.1)
        raise TimeoutError((self.folder / "server.log").read_text())

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory) -> Iterator[Callable[..., Server]]:
    servers = []

    def make(*options: str, **environment: str) -> Server:
        servers.append(Server(tmp_path_factory.mktemp("server"), *options, **environment))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """A training run as an asset opens it, without system metrics; its context has what is read of one."""
    monkeypatch.setattr(system_metrics, "LOG_SECONDS", math.inf)
    context = SimpleNamespace(
        run=SimpleNamespace(run_id="d" * 36),
        asset_key=dg.AssetKey(["lgad", "teacher"]),
        log=dg.get_dagster_logger(),
    )

    def open_run(tracking: MlflowTracking, folder: Path, fingerprint: str = "one") -> Any:
        return tracking.training_run(
            cast(Any, context),
            folder,
            fingerprint=fingerprint,
            experiment="roads",
            parameters={"training": {"steps": 4}},
            tags={"dataset": "roads", "recipe": "enet", "data_fingerprint": "f" * 32},
        )

    return open_run


@pytest.fixture
def wait_for() -> Callable[[Callable[[], bool]], None]:
    """Wait until something holds."""

    def wait(holds: Callable[[], bool]) -> None:
        for _ in range(2400):
            if holds():
                return
            time.sleep(0.05)
        raise TimeoutError

    return wait
