"""Run journal: reports of a training, written to disk first and then sent, so that an outage loses none."""

import shutil
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from lgad_pipeline import atomic_files as files
from lgad_pipeline.errors import LgadError
from resources.mlflow.journal_file import DESCRIPTION, InputRecord, JournalFile, RunRecord, Status, SyncState
from resources.mlflow.sync_requests import (
    TrackingServer,
    batches,
    dataset_input,
    missing_sample,
    send_parameters,
)

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient

JOURNAL_FOLDER = "mlflow"
_LOCK_FOLDER = ".mlflow"  # next to the journal, so that the lock remains where it is when the journal moves
KEY_TAG = "lgad.run_key"
OWN_STORE = "sqlite:///mlflow.db"
"""Name of the store in the project's folder, the same wherever the project is."""


class RunJournal:
    """Journal of the MLflow run of a network, on disk next to its weights.

    `run.json` describes the run, `metrics.jsonl` has a copy of the description and the metrics, `files/` has
    the files that are not sent yet, `sent.json` the part that the server has confirmed. A metric is on disk
    when `add` returns. Metrics keep their original timestamps. If the server stores a batch but its answer is
    lost, the batch is sent again, and the server recognizes and ignores it.

    Args:
        folder: Directory of the network.
    """

    def __init__(self, folder: Path) -> None:
        self.network = folder
        self.folder = folder / JOURNAL_FOLDER
        self._journal = JournalFile(self.folder / "metrics.jsonl")
        self._written: dict[tuple[str, int], float] | None = None

    def read_record(self) -> RunRecord | None:
        """Return the description of the run, from metrics.jsonl if run.json is damaged, or None."""
        return _read(self.folder / "run.json", RunRecord) or self._journal.description()

    def sent(self, address: str) -> SyncState:
        """Return the part of the run that the server at `address` has confirmed."""
        state = _read(self.folder / "sent.json", SyncState)
        if state is None or not _same_store(state.address, address):
            return SyncState(address=address)
        return state.model_copy(update={"address": address})

    @property
    def run_id(self) -> str:
        """Id that the server gave the run; empty while no server has it."""
        sent = _read(self.folder / "sent.json", SyncState)
        return (sent and sent.run_id) or ""

    def begin(self, record: RunRecord) -> None:
        """Continue the run if it has the same fingerprint, else begin another run.

        The part that an earlier run has not sent yet is moved to `.unsent`, where `lgad sync` finds it.
        """
        before = self.read_record()
        if before is not None and before.fingerprint == record.fingerprint:
            return
        with files.locked(self.network / _LOCK_FOLDER):
            if self.unsent():
                key = before.key if before is not None else new_key()
                unsent = self.network.parent / ".unsent" / f"{self.network.name}-{key}"
                unsent.mkdir(parents=True, exist_ok=True)
                self.folder.rename(unsent / JOURNAL_FOLDER)
            # On a network disk the folder remains while a file in it is read; the file itself is gone.
            shutil.rmtree(self.folder, ignore_errors=True)
            self._written = None
            self._write(record)
            self._journal.append({DESCRIPTION: record.model_dump(mode="json")})

    def add(self, metrics: Mapping[str, float], step: int, *, replace: bool = False) -> bool:
        """Add metrics of one step.

        A training that resumes from a checkpoint repeats some steps; the first value of a step is kept.

        Args:
            metrics: Finite values by name.
            step: Step of the training.
            replace: True to add a value that differs from the first one as well.

        Returns:
            True if a metric was added; False if the journal had all of them.

        Raises:
            LgadError: the disk is full or the folder cannot be written; none of `metrics` was added.
        """
        written = self._read_written()
        new = {
            name: value
            for name, value in metrics.items()
            if (name, step) not in written or (replace and written[name, step] != value)
        }
        if new:
            self._journal.append({"step": step, "time": _now(), "metrics": new})
            written.update({(name, step): value for name, value in new.items()})
        return bool(new)

    def add_input(self, record: InputRecord) -> None:
        """Add a data set that the run read, unless the journal has it."""
        run = self.read_record()
        if run is not None and record not in run.inputs:
            self._write(run.model_copy(update={"inputs": (*run.inputs, record)}))

    def add_file(self, data: bytes, name: str) -> None:
        """Add a file, such as a picture; it is kept until it is sent."""
        with files.atomic_path(self.folder / "files" / name) as part:
            part.write_bytes(data)

    def add_picture(self, image: np.ndarray, name: str) -> None:
        """Add a picture, uint8 (H, W, 3) RGB; it is kept until it is sent."""
        self.add_file(cv2.imencode(".png", image[..., ::-1])[1].tobytes(), name)

    def set_status(self, status: Status) -> None:
        """Set the state of the training."""
        record = self.read_record()
        if record is not None and record.status != status:
            self._write(
                record.model_copy(update={"status": status, "ended": None if status == "RUNNING" else _now()})
            )

    def unsent(self) -> str:
        """Return a summary of what no server has confirmed; empty if all of it is confirmed."""
        record = self.read_record()
        sent = _read(self.folder / "sent.json", SyncState) or SyncState(address="")
        metrics = sum(len(entry.metrics) for entry, _ in self._journal.entries(sent.bytes))
        kept = len(self._files())
        parts = [f"{metrics} metrics"] * bool(metrics) + [f"{kept} files"] * bool(kept)
        if record is None:
            return ", ".join(parts)
        if not sent.described:
            parts.append("parameters")
        if sent.status != record.status:
            parts.append(f"status {record.status}")
        if sent.described and sent.inputs < len(record.inputs):
            parts.append(f"{len(record.inputs) - sent.inputs} data sets")
        return ", ".join(parts)

    def sync(self, server: TrackingServer) -> None:
        """Send what the server has not confirmed.

        Raises:
            MlflowException, OSError: the server does not answer or refuses; the journal keeps the rest.
            LgadError: the journal is damaged, or the server does not have what it confirmed.
        """
        with files.locked(self.network / _LOCK_FOLDER):
            record = self.read_record()
            if record is None:
                if self.unsent():
                    raise LgadError(
                        f"{self.folder / 'run.json'} and the description in metrics.jsonl are damaged; put a "
                        "copy of one of them back to send the metrics."
                    )
                return
            client = server.client
            sent = self._open(server, record, self.sent(server.store))
            run_id, before = str(sent.run_id), sent
            if not sent.described:
                send_parameters(client, run_id, record=record)
                sent = self._confirm(sent, described=True)
            if sent.inputs < len(record.inputs):
                client.log_inputs(run_id, [dataset_input(read) for read in record.inputs[sent.inputs :]])
                sent = self._confirm(sent, inputs=len(record.inputs))
            for metrics, position in batches(self._journal, sent.bytes):
                client.log_batch(run_id, metrics=metrics)
                sent = self._confirm(sent, bytes=position)
            if record.status != "RUNNING" and (sent.bytes, sent.status) != (before.bytes, record.status):
                self._read_back(client, sent)
            for path in self._files():
                client.log_artifact(run_id, str(path))
                path.unlink()
            if sent.status != record.status:
                if record.status == "RUNNING":
                    client.update_run(run_id, status=record.status)
                else:
                    client.set_terminated(run_id, record.status, record.ended)
                self._confirm(sent, status=record.status)

    def _read_back(self, client: "MlflowClient", sent: SyncState) -> None:
        """Compare a sample of what the server has confirmed with what it returns.

        Raises:
            LgadError: the server does not have it; the next call sends all metrics again.
        """
        missing = missing_sample(client, str(sent.run_id), journal=self._journal)
        if missing:
            self._confirm(sent, described=False, inputs=0, bytes=0)
            raise LgadError(
                f"The MLflow server at {sent.address} confirmed metrics that it does not return ({missing}); "
                "correct the server, all of them are sent again."
            )

    def _open(self, server: TrackingServer, record: RunRecord, sent: SyncState) -> SyncState:
        """Find the run on the server, or create it there."""
        from mlflow.exceptions import MlflowException

        client = server.client
        if sent.run_id is not None:
            try:
                if client.get_run(sent.run_id).info.lifecycle_stage == "active":
                    return sent
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            sent = SyncState(address=sent.address)  # the run was deleted there: all of it is sent again
        experiment = server.experiment(record.experiment)
        # The run may exist: the answer to the request that created it may have been lost.
        existing = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{record.key}'", max_results=1)
        tags = {**record.tags, KEY_TAG: record.key}
        run = existing[0] if existing else client.create_run(experiment, record.started, tags, record.name)
        return self._confirm(sent, run_id=run.info.run_id, experiment_id=experiment)

    def _read_written(self) -> dict[tuple[str, int], float]:
        if self._written is None:
            self._journal.close_torn_line()
            self._written = {
                (name, entry.step): value
                for entry, _ in self._journal.entries()
                for name, value in entry.metrics.items()
            }
        return self._written

    def damaged(self) -> int:
        """Return the number of lines of the journal that cannot be read."""
        return self._journal.damaged()

    def has(self, name: str) -> bool:
        """Return True if the journal has a file of this name that is not sent yet."""
        return (self.folder / "files" / name).exists()

    def _files(self) -> list[Path]:
        return sorted((self.folder / "files").glob("[!.]*"))

    def _write(self, record: RunRecord) -> None:
        files.write_text(self.folder / "run.json", record.model_dump_json(indent=2) + "\n")

    def _confirm(self, sent: SyncState, **changes: Any) -> SyncState:
        sent = sent.model_copy(update=changes)
        files.write_text(self.folder / "sent.json", sent.model_dump_json(indent=2) + "\n")
        return sent


def new_key() -> str:
    """Return a random name for a run."""
    return uuid.uuid4().hex


def run_journals(root: Path) -> list[RunJournal]:
    """Return every journal below a directory, also those without run.json."""
    folders = {
        path.parent
        for name in ("run.json", "metrics.jsonl")
        for path in root.rglob(f"{JOURNAL_FOLDER}/{name}")
    }
    return [RunJournal(folder.parent) for folder in sorted(folders)]


def _same_store(kept: str, address: str) -> bool:
    """Return True if a recorded address is that of the store; a moved project keeps its own store."""
    if address == OWN_STORE and kept.startswith("sqlite:///"):
        return kept.endswith(f"/{OWN_STORE.rpartition('/')[2]}")
    return kept == address


def _read(path: Path, kind: type[Any]) -> Any:
    """Return the validated record in a file; None if it is missing or damaged."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _now() -> int:
    return int(time.time() * 1000)
