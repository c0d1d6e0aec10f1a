"""A small project with the services that deploy/systemd starts, for what needs them for real."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DATASET = {"kind": "culane", "image_size": [48, 128], "crop_top": 240, "lane_width": 32}


def recipe(teacher_steps: int, student_steps: int) -> dict[str, Any]:
    """A recipe of seconds."""
    shared = {"batch_size": 8, "threads": 1, "log_every": 5, "validate_every": 1000}
    return {
        "teacher": {"steps": teacher_steps, "optimizer": {"warmup_steps": 2}, **shared},
        "student": {
            "steps": student_steps,
            "optimizer": {"learning_rate": 0.005, "warmup_steps": student_steps // 8},
            **shared,
        },
    }


def write_settings(folder: Path, datasets: dict[str, Any], recipes: dict[str, Any], **more: Any) -> None:
    """Write lgad.yaml into a folder."""
    content = {
        "datasets": {name: {**DATASET, "root": name, **entry} for name, entry in datasets.items()},
        "recipes": recipes,
        **more,
    }
    (folder / "lgad.yaml").write_text(yaml.safe_dump(content))


def write_frames(folder: Path, seed: int, train: int, val: int = 12, test: int = 9) -> None:
    """Render a road world into a folder; more of it later adds frames."""
    from lgad_pipeline.config.synthetic import SyntheticConfig
    from lgad_pipeline.synthetic.dataset_writer import write_dataset

    write_dataset(folder, SyntheticConfig(seed=seed, train=train, val=val, test=test))


class Services:
    """Code server, daemon and, if wanted, MLflow's server of a project in a folder.

    Args:
        folder: directory of lgad.yaml; all results are below it.
        mlflow: start a tracking server; else the trainings write to its database.
    """

    def __init__(self, folder: Path, *, mlflow: bool = False) -> None:
        self.folder = folder
        self._ports = {name: free_port() for name in ("code", "mlflow")}
        self._running: dict[str, subprocess.Popen] = {}
        instance = (
            (ROOT / "dagster.yaml")
            .read_text()
            .replace("poll_interval_seconds: 15", "poll_interval_seconds: 5")
        )
        (folder / "dagster.yaml").write_text(instance.replace("end_seconds: 15", "end_seconds: 2"))
        self.environment = {
            **os.environ,
            "DAGSTER_HOME": str(folder),
            "LGAD_SETTINGS": str(folder / "lgad.yaml"),
            "LGAD_CODE_HOST": "127.0.0.1",
            "LGAD_CODE_PORT": str(self._ports["code"]),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "OMP_NUM_THREADS": "1",
        }
        for name in ("LGAD_STATE", "MLFLOW_TRACKING_URI"):
            self.environment.pop(name, None)
        if mlflow:
            self.environment["MLFLOW_TRACKING_URI"] = f"http://127.0.0.1:{self._ports['mlflow']}"
        self.names = ["mlflow", "code", "daemon"] if mlflow else ["code", "daemon"]

    def __enter__(self) -> "Services":
        for name in self.names:
            self.start(name)
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(self.names):
            self.stop(name)

    def start(self, name: str) -> None:
        """Start a service, and wait until its port listens."""
        port = self._ports.get(name)
        place = ["--host", "127.0.0.1", "--port", str(port)]
        store = ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        artifacts = ["--artifacts-destination", str(self.folder / "mlruns")]
        code = ["-d", str(ROOT), "-f", str(ROOT / "definitions.py"), "-a", "defs", "--location-name", "lgad"]
        command = {
            "mlflow": ["mlflow", "server", *place, "--workers", "1", *store, *artifacts],
            "code": ["dagster", "code-server", "start", *code, *place],
            "daemon": ["dagster-daemon", "run", "-w", str(ROOT / "deploy" / "workspace.yaml")],
        }[name]
        with (self.folder / f"{name}.log").open("a") as log:
            self._running[name] = subprocess.Popen(
                [str(Path(sys.executable).with_name(command[0])), *command[1:]],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if port is not None:
            wait(lambda: listens(port), f"{name} does not listen; see {self.folder / name}.log")

    def kill(self, name: str) -> None:
        """SIGKILL to a service alone; what it started stays."""
        self._running[name].kill()
        self._running[name].wait()

    def stop(self, name: str) -> None:
        """End a service and all that it started."""
        if name not in self._running:
            return
        group = self._running.pop(name)
        for sign, patience in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            try:
                os.killpg(group.pid, sign)
                group.wait(patience)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue

    def dagster(self, *arguments: str) -> None:
        """Call `dagster` on the command line."""
        command = [str(Path(sys.executable).with_name("dagster")), *arguments]
        where = ["-w", str(ROOT / "deploy" / "workspace.yaml")]
        subprocess.run(
            [*command, *where], cwd=self.folder, env=self.environment, check=True, capture_output=True
        )

    def launch(self, job: str, dataset: str, name: str = "") -> None:
        """Put a run of a job into the queue, for a data set or a recipe on it."""
        tags = {"dagster/partition": dataset}
        if name:
            tags = {
                "dagster/partition": f"{dataset}|{name}",
                "dagster/partition/dataset": dataset,
                "dagster/partition/recipe": name,
            }
        self.dagster("job", "launch", "-j", job, "--tags", json.dumps(tags))


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def listens(port: int) -> bool:
    """Whether somebody does."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait(true: Callable[[], object], otherwise: str, patience: float = 900) -> None:
    """Wait until something is true, and say what it would have been.

    Raises:
        TimeoutError: it is not after `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(otherwise)
        time.sleep(0.5)
