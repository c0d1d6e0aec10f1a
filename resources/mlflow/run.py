"""MLflow run of one training: metrics are written to its journal at once, and a thread sends them."""

import getpass
import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lgad_pipeline.errors import LgadError
from resources.mlflow.errors import diagnose
from resources.mlflow.journal import RunJournal
from resources.mlflow.journal_file import Status
from resources.mlflow.sync_requests import TrackingServer
from resources.mlflow.system_metrics import SystemMetrics
from resources.provenance import git_commit

if TYPE_CHECKING:
    import pandas as pd

SEND_SECONDS = 5.0
# Without this tag MLflow's pages choose a run's colour at random, often the same one for several runs.
_COLOURS = {"teacher": "#8b6cd9", "student_alone": "#d98a2b", "student_lgad": "#1f8fa8"}


class Logger(Protocol):
    """Log of a Dagster run, or any logger of the standard library."""

    def warning(self, message: str, /) -> Any:
        """Log a warning."""


class SyncError(LgadError):
    """Journal that a server does not have completely: the reason, what is missing, and how to send it."""


def sync_journal(journal: RunJournal, server: TrackingServer) -> None:
    """Send what a server has not confirmed of a journal.

    Raises:
        SyncError: the server does not have all of it; the sentence names the reason, what is kept, and the
            remedy.
    """
    try:
        journal.sync(server)
    except LgadError as error:  # about the journal or the disk
        raise SyncError(f"{error} Kept in {journal.folder}: {journal.unsent() or 'nothing'}.") from error
    except Exception as error:  # of MLflow, requests or SQLAlchemy, which have no common class
        fault, missing = diagnose(error, server.address), journal.unsent()
        remedy = f"{fault.remedy}; " if fault.remedy else ""
        raise SyncError(
            f"MLflow at {server.address} {fault.clause}; kept in {journal.folder}: {missing}. "
            f"{remedy[:1].upper()}{remedy[1:]}`lgad sync` sends it, and so does the next run."
        ) from error


class TrackedRun:
    """MLflow run of one training.

    Args:
        server: Server that the journal is sent to.
        journal: Journal of the run.
        log: Log of the Dagster run.
    """

    def __init__(self, server: TrackingServer, journal: RunJournal, *, log: Logger) -> None:
        self._server = server
        self._journal = journal
        self._log = log
        self._fault: Exception | None = None  # reason why the last attempt to send failed
        self._warned = False  # True once the log has that reason
        self._waiting: list[tuple[dict[str, float], int]] = []  # metrics that did not fit on the full disk
        self._writing = threading.Lock()  # the training and the sender write to the journal
        self._stop = threading.Event()
        self._sender = threading.Thread(target=self._send, name="mlflow", daemon=True)
        self._sender.start()

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Write metrics of one step; this is the `log` function that the library's training calls.

        If the disk is full, they stay in memory and are written as soon as there is space.

        Raises:
            LgadError: the server refuses the user.
        """
        self._waiting.append(({name: float(v) for name, v in metrics.items() if math.isfinite(v)}, step))
        try:
            self._write()
        except LgadError as error:
            if len(self._waiting) == 1:
                self._log.warning(f"{error} The training continues; its metrics are in memory until then.")
        if self._fault is not None and not self._warned:
            self._warned = True
            if isinstance(self._fault, LgadError):
                self._log.warning(str(self._fault))
                return
            fault = diagnose(self._fault, self._server.address)
            sentence = fault.sentence(self._server.address)
            if fault.kind == "refused" and not self._journal.run_id:  # later, it may be an outage
                raise LgadError(sentence)
            self._log.warning(f"{sentence} The training continues and keeps its metrics.")

    def _write(self) -> None:
        """Move the metrics in memory to the journal; the run is running if it gets a metric that it lacks.

        Raises:
            LgadError: the disk is full; what was not written stays in memory.
        """
        while self._waiting:
            with self._writing:
                added = self._journal.add(*self._waiting[0])
            if added:
                self._journal.set_status("RUNNING")
            del self._waiting[0]

    def complete(self, history: "pd.DataFrame") -> None:
        """Add the metrics of a training's history that the journal lacks.

        Usually it lacks none. It lacks all of them if the network was trained before the journal existed.

        Args:
            history: One row per logged step: `step`, then a column for each metric.
        """
        for row in history.to_dict("records"):
            step = int(row.pop("step"))
            self.log({str(name): value for name, value in row.items()}, step)

    def add_picture(self, image: np.ndarray, name: str) -> None:
        """Add a picture, uint8 (H, W, 3) RGB, to the run's artifacts."""
        self._journal.add_picture(image, name)

    def add_file(self, data: bytes, name: str) -> None:
        """Add a file to the run's artifacts."""
        self._journal.add_file(data, name)

    def close(self, status: Status) -> None:
        """End the run, and send the rest of its journal.

        Raises:
            LgadError: the disk is full; metrics of the training could not be written.
        """
        self._stop.set()
        self._sender.join()
        self._write()
        self._journal.set_status(status)
        if damaged := self._journal.damaged():
            self._log.warning(f"{damaged} damaged lines of {self._journal.folder} were skipped.")
        try:
            sync_journal(self._journal, self._server)
        except SyncError as error:
            self._log.warning(str(error))

    def _send(self) -> None:
        system = SystemMetrics()
        while not self._stop.wait(SEND_SECONDS):
            self._add_system_metrics(system)
            try:
                self._journal.sync(self._server)
                self._fault, self._warned = None, False
            except Exception as error:  # `log` warns of it, and the training continues
                self._fault = error

    def _add_system_metrics(self, system: SystemMetrics) -> None:
        """Write the use of CPU and GPUs to the journal; the step is the time since the start, seconds."""
        metrics, record = system.sample(), self._journal.read_record()
        # The run of a finished training that is reused gets no further metrics.
        if metrics and record is not None and record.status == "RUNNING":
            with self._writing, suppress(LgadError):  # a full disk; `log` warns of it
                self._journal.add(metrics, max(0, round(time.time() - record.started / 1000)))


def run_name(asset: str, recipe: str, *, fingerprint: str) -> str:
    """Return the name of a run; trainings of one recipe differ in the start of their fingerprint."""
    return f"{asset} · {recipe} · {fingerprint[:6]}"


def system_tags(asset: str, name: str) -> dict[str, str]:
    """Return the tags that MLflow's own pages show: source, user and colour of a run."""
    commit = git_commit()
    return {
        **({"mlflow.runColor": _COLOURS[asset]} if asset in _COLOURS else {}),
        "mlflow.source.name": f"dagster: {name}",
        "mlflow.source.type": "JOB",
        "mlflow.user": getpass.getuser(),
        **({} if commit == "unknown" else {"mlflow.source.git.commit": commit.removesuffix("-dirty")}),
    }


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested settings without nesting: {"teacher": {"steps": 3}} as {"teacher.steps": 3}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
