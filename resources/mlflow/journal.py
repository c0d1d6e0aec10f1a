"""Run journal: reports of a training to MLflow, kept on disk first and then sent; an outage loses nothing."""

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
from resources.mlflow.delivery import batches, dataset_input, describe, missing_sample
from resources.mlflow.journal_lines import DESCRIPTION, InputNote, Journal, RunNote, SentNote, Status
from resources.processes import exclusive

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient

    from resources.mlflow.resource import MlflowTracking

OUTBOX = "mlflow"
KEY_TAG = "lgad.run_key"
OWN_STORE = "sqlite:///mlflow.db"
"""Name of the store in the project's folder, the same wherever the project is."""


class Outbox:
    """Journal of the MLflow run of a network, on disk next to its weights.

    `run.json` describes the run, `metrics.jsonl` holds a copy of the description and the metrics, `files/`
    the files not sent yet, `sent.json` how much the server has confirmed. A metric is safe when `add`
    returns. Metrics keep their original timestamps. If the server stored a batch but its reply got lost, the
    batch is recognized and not stored twice.

    Args:
        folder: Directory of the network.
    """

    def __init__(self, folder: Path) -> None:
        self.network = folder
        self.folder = folder / OUTBOX
        self._journal = Journal(self.folder / "metrics.jsonl")
        self._known: dict[tuple[str, int], float] | None = None

    def note(self) -> RunNote | None:
        """Description of the run; that of the journal where run.json is damaged, None if neither is there."""
        return _read(self.folder / "run.json", RunNote) or self._journal.description()

    def sent(self, address: str) -> SentNote:
        """How much the server at `address` has."""
        found = _read(self.folder / "sent.json", SentNote)
        if found is None or not _same_store(found.address, address):
            return SentNote(address=address)
        return found.model_copy(update={"address": address})

    @property
    def run_id(self) -> str:
        """The id that the server gave the run; empty while no server has it."""
        sent = _read(self.folder / "sent.json", SentNote)
        return (sent and sent.run_id) or ""

    def begin(self, note: RunNote) -> None:
        """Continue the run if it is of the same fingerprint, else begin another.

        What an earlier run has not sent yet is moved to `.unsent`, where `lgad sync` finds it.
        """
        before = self.note()
        if before is not None and before.fingerprint == note.fingerprint:
            return
        with exclusive(self.folder):
            if self.unsent():
                key = before.key if before is not None else new_key()
                unsent = self.network.parent / ".unsent" / f"{self.network.name}-{key}"
                unsent.mkdir(parents=True, exist_ok=True)
                self.folder.rename(unsent / OUTBOX)
            shutil.rmtree(self.folder, ignore_errors=True)
            self._known = None
            self._write(note)
            self._journal.append({DESCRIPTION: note.model_dump(mode="json")})

    def add(self, metrics: Mapping[str, float], step: int, *, replace: bool = False) -> None:
        """Keep metrics.

        A training that resumes from a checkpoint repeats some steps: the first value of a step is kept.

        Args:
            metrics: Finite values by name.
            step: Step of the training.
            replace: True to keep a value that differs from the first one as well.

        Raises:
            LgadError: the disk is full or the folder cannot be written; nothing of `metrics` was kept.
        """
        known = self._read_known()
        new = {
            name: value
            for name, value in metrics.items()
            if (name, step) not in known or (replace and known[name, step] != value)
        }
        if not new:
            return
        self._journal.append({"step": step, "time": _now(), "metrics": new})
        known.update({(name, step): value for name, value in new.items()})

    def add_input(self, note: InputNote) -> None:
        """Keep a data set that the run read; one that is there is not kept twice."""
        run = self.note()
        if run is not None and note not in run.inputs:
            self._write(run.model_copy(update={"inputs": (*run.inputs, note)}))

    def file(self, data: bytes, name: str) -> None:
        """Keep a file, such as a picture, until it is sent."""
        with files.atomic_path(self.folder / "files" / name) as part:
            part.write_bytes(data)

    def picture(self, image: np.ndarray, name: str) -> None:
        """Keep a picture, uint8 (H, W, 3) RGB, until it is sent."""
        self.file(cv2.imencode(".png", image[..., ::-1])[1].tobytes(), name)

    def set_status(self, status: Status) -> None:
        """Note how the training goes."""
        note = self.note()
        if note is not None and note.status != status:
            self._write(
                note.model_copy(update={"status": status, "ended": None if status == "RUNNING" else _now()})
            )

    def unsent(self) -> str:
        """What no server has confirmed, in words; empty if nothing."""
        note = self.note()
        sent = _read(self.folder / "sent.json", SentNote) or SentNote(address="")
        metrics = sum(len(entry.metrics) for entry, _ in self._journal.entries(sent.bytes))
        kept = len(self._files())
        parts = [f"{metrics} metrics"] * bool(metrics) + [f"{kept} files"] * bool(kept)
        if note is None:
            return ", ".join(parts)
        if not sent.described:
            parts.append("parameters")
        if sent.status != note.status:
            parts.append(f"status {note.status}")
        if sent.described and sent.inputs < len(note.inputs):
            parts.append(f"{len(note.inputs) - sent.inputs} data sets")
        return ", ".join(parts)

    def deliver(self, server: "MlflowTracking") -> None:
        """Send what the server has not confirmed.

        Raises:
            MlflowException, OSError: the server is away or refuses; what it has not confirmed stays kept.
            LgadError: the journal is damaged, or the server does not have what it confirmed.
        """
        with exclusive(self.folder):
            note = self.note()
            if note is None:
                if self.unsent():
                    raise LgadError(
                        f"{self.folder / 'run.json'} and the description in metrics.jsonl are damaged; put a "
                        "copy of one of them back to send the metrics."
                    )
                return
            client = server.client
            sent = self._open(server, note, self.sent(server.store))
            run_id, before = str(sent.run_id), sent
            if not sent.described:
                describe(client, run_id, note)
                sent = self._confirm(sent, described=True)
            if sent.inputs < len(note.inputs):
                client.log_inputs(run_id, [dataset_input(one) for one in note.inputs[sent.inputs :]])
                sent = self._confirm(sent, inputs=len(note.inputs))
            for metrics, position in batches(self._journal, sent.bytes):
                client.log_batch(run_id, metrics=metrics)
                sent = self._confirm(sent, bytes=position)
            if note.status != "RUNNING" and (sent.bytes, sent.status) != (before.bytes, note.status):
                self._read_back(client, sent)
            for path in self._files():
                client.log_artifact(run_id, str(path))
                path.unlink()
            if sent.status != note.status:
                if note.status == "RUNNING":
                    client.update_run(run_id, status=note.status)
                else:
                    client.set_terminated(run_id, note.status, note.ended)
                self._confirm(sent, status=note.status)

    def _read_back(self, client: "MlflowClient", sent: SentNote) -> None:
        """Compare a sample of what the server has confirmed with what it returns.

        Raises:
            LgadError: the server does not have it; all metrics are sent again next time.
        """
        missing = missing_sample(client, str(sent.run_id), self._journal)
        if missing:
            self._confirm(sent, described=False, inputs=0, bytes=0)
            raise LgadError(
                f"The MLflow server at {sent.address} confirmed metrics that it does not return ({missing}); "
                "correct the server, all of them are sent again."
            )

    def _open(self, server: "MlflowTracking", note: RunNote, sent: SentNote) -> SentNote:
        """Find the run on the server, or make it there."""
        from mlflow.exceptions import MlflowException

        client = server.client
        if sent.run_id is not None:
            try:
                if client.get_run(sent.run_id).info.lifecycle_stage == "active":
                    return sent
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
            sent = SentNote(address=sent.address)  # it was deleted there: all of it is sent again
        experiment = server.experiment(note.experiment)
        # It may be there already: the answer to the request that made it can have been lost.
        made = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{note.key}'", max_results=1)
        tags = {**note.tags, KEY_TAG: note.key}
        run = made[0] if made else client.create_run(experiment, note.started, tags, note.name)
        return self._confirm(sent, run_id=run.info.run_id, experiment_id=experiment)

    def _read_known(self) -> dict[tuple[str, int], float]:
        if self._known is None:
            self._journal.close_torn_line()
            self._known = {
                (name, entry.step): value
                for entry, _ in self._journal.entries()
                for name, value in entry.metrics.items()
            }
        return self._known

    def damaged(self) -> int:
        """Number of lines of the journal that cannot be read."""
        return self._journal.damaged()

    def has(self, name: str) -> bool:
        """True if a file is kept that no server has confirmed."""
        return (self.folder / "files" / name).exists()

    def _files(self) -> list[Path]:
        return sorted((self.folder / "files").glob("[!.]*"))

    def _write(self, note: RunNote) -> None:
        files.write_text(self.folder / "run.json", note.model_dump_json(indent=2) + "\n")

    def _confirm(self, sent: SentNote, **changes: Any) -> SentNote:
        sent = sent.model_copy(update=changes)
        files.write_text(self.folder / "sent.json", sent.model_dump_json(indent=2) + "\n")
        return sent


def new_key() -> str:
    """A random name for a run."""
    return uuid.uuid4().hex


def outboxes(root: Path) -> list[Outbox]:
    """Every journal below a folder, also one whose run.json is gone."""
    found = {path.parent for name in ("run.json", "metrics.jsonl") for path in root.rglob(f"{OUTBOX}/{name}")}
    return [Outbox(folder.parent) for folder in sorted(found)]


def _same_store(kept: str, address: str) -> bool:
    """True if a kept address is that of the store; a moved project keeps its own store."""
    if address == OWN_STORE and kept.startswith("sqlite:///"):
        return kept.endswith(f"/{OWN_STORE.rpartition('/')[2]}")
    return kept == address


def _read(path: Path, kind: type[Any]) -> Any:
    """A note, validated; None if it is missing or damaged."""
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _now() -> int:
    return int(time.time() * 1000)
