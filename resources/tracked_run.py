"""The MLflow run of one training, as the training sees it."""

import getpass
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lgad_pipeline.errors import LgadError
from resources.mlflow_errors import fault, is_refused
from resources.outbox import Outbox, Status
from resources.provenance import git_commit

if TYPE_CHECKING:
    import pandas as pd

    from resources.tracking import MlflowTracking

SEND_SECONDS = 5.0


class TrackedRun:
    """The MLflow run of one training: what it is given is kept at once, and sent by a thread."""

    def __init__(self, tracking: "MlflowTracking", outbox: Outbox, log: Any) -> None:
        self._tracking = tracking
        self._outbox = outbox
        self._log = log
        self._fault: Exception | None = None  # why the last attempt to send failed
        self._told = False
        self._stop = threading.Event()
        self._sender = threading.Thread(target=self._send, name="mlflow", daemon=True)
        self._sender.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics. This is the library's `log(metrics, step)`.

        Raises:
            LgadError: the server refuses the user.
        """
        self._outbox.set_status("RUNNING")
        self._outbox.add({name: float(v) for name, v in metrics.items() if math.isfinite(v)}, step)
        if self._fault is not None and not self._told:
            self._told = True
            sentence = f"MLflow at {self._tracking.address} {fault(self._fault)}"
            if is_refused(self._fault):
                raise LgadError(f"{sentence}.")
            self._log.warning(f"{sentence}; the training goes on and keeps its metrics.")

    def complete(self, history: "pd.DataFrame") -> None:
        """Keep those metrics of a training's history (`step`, metrics) that are not there.

        That is nothing as a rule, and all of it when the network was trained before.
        """
        for row in history.to_dict("records"):
            step = int(row.pop("step"))
            self.log({str(name): value for name, value in row.items()}, step)

    def picture(self, image: np.ndarray, name: str) -> None:
        """Keep a picture, uint8 (H, W, 3) RGB, for the run's artifacts."""
        self._outbox.picture(image, name)

    def file(self, data: bytes, name: str) -> None:
        """Keep a file for the run's artifacts."""
        self._outbox.file(data, name)

    def close(self, status: Status) -> None:
        """End the run, and send what is left."""
        self._stop.set()
        self._sender.join()
        self._outbox.set_status(status)
        kept = self._tracking.deliver(self._outbox.network)
        if kept:
            self._log.warning(kept)

    def _send(self) -> None:
        while not self._stop.wait(SEND_SECONDS):
            try:
                self._outbox.deliver(self._tracking)
                self._fault, self._told = None, False
            except Exception as error:  # whatever it is, it is told, and the training goes on
                self._fault = error


def system_tags(name: str) -> dict[str, str]:
    """What MLflow's own pages show as a run's source and user."""
    commit = git_commit()
    return {
        "mlflow.source.name": f"dagster: {name}",
        "mlflow.source.type": "JOB",
        "mlflow.user": getpass.getuser(),
        **({} if commit == "unknown" else {"mlflow.source.git.commit": commit.removesuffix("-dirty")}),
    }


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: {"teacher": {"steps": 3}} as {"teacher.steps": 3}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
