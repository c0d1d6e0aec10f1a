"""The MLflow run of one training: metrics go to its journal at once, a thread sends them."""

import getpass
import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lgad_pipeline.errors import LgadError
from resources.mlflow.errors import diagnose
from resources.mlflow.journal import Outbox
from resources.mlflow.journal_lines import Status
from resources.provenance import git_commit

if TYPE_CHECKING:
    import pandas as pd

    from resources.mlflow.resource import MlflowTracking

SEND_SECONDS = 5.0
# MLflow's pages otherwise choose a run's colour by chance, often the same for several.
_COLOURS = {"teacher": "#8b6cd9", "student_alone": "#d98a2b", "student_lgad": "#1f8fa8"}


class TrackedRun:
    """The MLflow run of one training."""

    def __init__(self, tracking: "MlflowTracking", outbox: Outbox, log: Any) -> None:
        self._tracking = tracking
        self._outbox = outbox
        self._log = log
        self._fault: Exception | None = None  # why the last attempt to send failed
        self._told = False
        self._waiting: list[tuple[dict[str, float], int]] = []  # metrics that the full disk did not hold
        self._stop = threading.Event()
        self._sender = threading.Thread(target=self._send, name="mlflow", daemon=True)
        self._sender.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep metrics; this is the library's `log(metrics, step)`.

        Where the disk is full, they are held in memory and written as soon as there is space.

        Raises:
            LgadError: the server refuses the user.
        """
        self._waiting.append(({name: float(v) for name, v in metrics.items() if math.isfinite(v)}, step))
        try:
            self._outbox.set_status("RUNNING")
            self._write()
        except LgadError as error:
            if len(self._waiting) == 1:
                self._log.warning(f"{error} The training continues; its metrics are in memory until then.")
        if self._fault is not None and not self._told:
            self._told = True
            if isinstance(self._fault, LgadError):
                self._log.warning(str(self._fault))
                return
            fault = diagnose(self._fault, self._tracking.address)
            sentence = fault.sentence(self._tracking.address)
            if fault.kind == "refused":
                raise LgadError(sentence)
            self._log.warning(f"{sentence} The training continues and keeps its metrics.")

    def _write(self) -> None:
        """Move the metrics in memory to the journal.

        Raises:
            LgadError: the disk is full; what was not written stays in memory.
        """
        while self._waiting:
            self._outbox.add(*self._waiting[0])
            del self._waiting[0]

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
        """End the run, and send what is left.

        Raises:
            LgadError: the disk is full, so that metrics of the training could not be kept.
        """
        self._stop.set()
        self._sender.join()
        self._write()
        self._outbox.set_status(status)
        if damaged := self._outbox.damaged():
            self._log.warning(f"{damaged} damaged lines of {self._outbox.folder} were skipped.")
        kept = self._tracking.deliver(self._outbox.network)
        if kept:
            self._log.warning(kept)

    def _send(self) -> None:
        while not self._stop.wait(SEND_SECONDS):
            try:
                self._outbox.deliver(self._tracking)
                self._fault, self._told = None, False
            except Exception as error:  # it is logged, and the training continues
                self._fault = error


def run_name(asset: str, recipe: str, fingerprint: str) -> str:
    """A run's name; trainings of one recipe differ in the start of their fingerprint."""
    return f"{asset} · {recipe} · {fingerprint[:6]}"


def system_tags(asset: str, name: str) -> dict[str, str]:
    """Tags that MLflow's own pages show: source, user and colour of a run."""
    commit = git_commit()
    return {
        **({"mlflow.runColor": _COLOURS[asset]} if asset in _COLOURS else {}),
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
