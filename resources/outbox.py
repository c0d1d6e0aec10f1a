"""What a training tells MLflow: kept on disk first, then sent; a server that is away costs nothing."""

import json
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict

from lgad_pipeline import files
from resources.processes import exclusive

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    from resources.tracking import MlflowTracking

OUTBOX = "mlflow"
KEY_TAG = "lgad.run_key"
LARGEST_BATCH = 900  # the tracking server takes 1000 metrics at once
Status = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]


class RunNote(BaseModel):
    """What a run is, and how it goes; written by the training.

    Attributes:
        fingerprint: of the training; another one is another run.
        key: names the run on the server before the server has given it an id.
        experiment: MLflow experiment, by name.
        name: of the run.
        parameters: settings, one level.
        tags: of the run.
        dataset: name and fingerprint of the data set.
        status: of the training.
        started, ended: milliseconds since 1970.
    """

    model_config = ConfigDict(frozen=True)

    fingerprint: str
    key: str
    experiment: str
    name: str
    parameters: dict[str, str]
    tags: dict[str, str]
    dataset: tuple[str, str]
    status: Status = "RUNNING"
    started: int
    ended: int | None = None


class SentNote(BaseModel):
    """How much of a run a server has confirmed; written by whoever sends.

    Attributes:
        address: of the server.
        run_id: that it gave the run.
        experiment_id: that it gave the experiment.
        described: it has parameters and data set.
        bytes: of the metrics that it has.
        status: that it was told.
    """

    model_config = ConfigDict(frozen=True)

    address: str
    run_id: str | None = None
    experiment_id: str | None = None
    described: bool = False
    bytes: int = 0
    status: str = ""


class Outbox:
    """The MLflow run of the network in a folder, on disk beside its weights.

    `run.json` says what the run is, `metrics.jsonl` holds its metrics, `files/` the files not sent yet,
    `sent.json` how much the server has confirmed. A metric is safe when `add` returns. It is sent with the
    time at which it was measured, and MLflow's database keeps a metric of equal name, step, time and value
    once: sending again what was confirmed too late doubles nothing.

    Args:
        folder: of the network.
    """

    def __init__(self, folder: Path) -> None:
        self.network = folder
        self.folder = folder / OUTBOX
        self._metrics = self.folder / "metrics.jsonl"
        self._known: dict[tuple[str, int], float] | None = None

    def note(self) -> RunNote | None:
        """What the run is; None if there is none, or its note is damaged."""
        return _read(self.folder / "run.json", RunNote)

    def sent(self, address: str) -> SentNote:
        """How much the server at `address` has."""
        found = _read(self.folder / "sent.json", SentNote)
        return found if found is not None and found.address == address else SentNote(address=address)

    @property
    def run_id(self) -> str:
        """The id that the server gave the run; empty while no server has it."""
        sent = _read(self.folder / "sent.json", SentNote)
        return (sent and sent.run_id) or ""

    def begin(self, note: RunNote) -> None:
        """Go on with the run if it is of the same fingerprint, else begin another.

        What an earlier run has not sent yet is moved aside, where `sync` finds it.
        """
        before = self.note()
        if before is not None and before.fingerprint == note.fingerprint:
            return
        with exclusive(self.folder):
            if before is not None and self.unsent():
                aside = self.network.parent / ".unsent" / f"{self.network.name}-{before.key}"
                aside.mkdir(parents=True, exist_ok=True)
                self.folder.rename(aside / OUTBOX)
            shutil.rmtree(self.folder, ignore_errors=True)
            self._known = None
            self._write(note)

    def add(self, metrics: Mapping[str, float], step: int, *, replace: bool = False) -> None:
        """Keep metrics.

        A training that goes on from a checkpoint repeats some steps: what is there of a step stays.

        Args:
            metrics: finite values by name.
            step: of the training.
            replace: keep a value that differs from the one that is there.
        """
        known = self._read_known()
        new = {
            name: value
            for name, value in metrics.items()
            if (name, step) not in known or (replace and known[name, step] != value)
        }
        if not new:
            return
        with self._metrics.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps({"step": step, "time": _now(), "metrics": new}) + "\n")
        known.update({(name, step): value for name, value in new.items()})

    def file(self, data: bytes, name: str) -> None:
        """Keep a file, such as a picture, until it is sent."""
        with files.atomic_path(self.folder / "files" / name) as beside:
            beside.write_bytes(data)

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
        if note is None:
            return ""
        sent = _read(self.folder / "sent.json", SentNote) or SentNote(address="")
        metrics = sum(len(entry["metrics"]) for entry, _ in self._entries(sent.bytes))
        kept = len(self._files())
        parts = [f"{metrics} metrics"] * bool(metrics) + [f"{kept} files"] * bool(kept)
        if not sent.described:
            parts.append("parameters")
        if sent.status != note.status:
            parts.append(f"status {note.status}")
        return ", ".join(parts)

    def deliver(self, server: "MlflowTracking") -> None:
        """Send what the server has not confirmed.

        Raises:
            MlflowException, OSError: the server is away or refuses; what it has not confirmed stays kept.
        """
        with exclusive(self.folder):
            note = self.note()
            if note is None:
                return
            client = server.client
            sent = self._open(server, note, self.sent(server.address))
            run_id = str(sent.run_id)
            if not sent.described:
                _describe(client, run_id, note)
                sent = self._confirm(sent, described=True)
            for metrics, position in self._batches(sent.bytes):
                client.log_batch(run_id, metrics=metrics)
                sent = self._confirm(sent, bytes=position)
            for path in self._files():
                client.log_artifact(run_id, str(path))
                path.unlink()
            if sent.status != note.status:
                if note.status == "RUNNING":
                    client.update_run(run_id, status=note.status)
                else:
                    client.set_terminated(run_id, note.status, note.ended)
                self._confirm(sent, status=note.status)

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
            sent = SentNote(address=sent.address)  # deleted there: all of it is sent again
        experiment = server.experiment(note.experiment)
        # It may be there already: the answer to the request that made it can have been lost.
        made = client.search_runs([experiment], f"tags.`{KEY_TAG}` = '{note.key}'", max_results=1)
        tags = {**note.tags, KEY_TAG: note.key}
        run = made[0] if made else client.create_run(experiment, note.started, tags, note.name)
        return self._confirm(sent, run_id=run.info.run_id, experiment_id=experiment)

    def _entries(self, start: int) -> Iterator[tuple[dict[str, Any], int]]:
        """The metrics kept from a position on, each with the position behind it; a torn last line is none."""
        if not self._metrics.is_file():
            return
        with self._metrics.open("rb") as journal:
            journal.seek(start)
            for line in journal:
                start += len(line)
                if not line.endswith(b"\n"):
                    return
                try:
                    entry = json.loads(line)
                except ValueError:  # torn by a kill, and written behind since
                    continue
                yield entry, start

    def _batches(self, start: int) -> "Iterator[tuple[list[Metric], int]]":
        from mlflow.entities import Metric

        batch, position = [], start
        for entry, behind in self._entries(start):
            metrics = [
                Metric(name, value, entry["time"], entry["step"]) for name, value in entry["metrics"].items()
            ]
            if batch and len(batch) + len(metrics) > LARGEST_BATCH:
                yield batch, position
                batch = []
            batch, position = batch + metrics, behind
        if batch:
            yield batch, position

    def _read_known(self) -> dict[tuple[str, int], float]:
        if self._known is None:
            if self._metrics.is_file() and not self._metrics.read_bytes().endswith(b"\n"):
                with self._metrics.open("ab") as journal:
                    journal.write(b"\n")  # so that what comes does not end up in a torn line
            self._known = {
                (name, entry["step"]): value
                for entry, _ in self._entries(0)
                for name, value in entry["metrics"].items()
            }
        return self._known

    def has(self, name: str) -> bool:
        """Whether a file is kept that no server has confirmed."""
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
    """A name for a run that nobody else gives."""
    return uuid.uuid4().hex


def outboxes(root: Path) -> list[Outbox]:
    """Every outbox below a folder."""
    return [Outbox(path.parent.parent) for path in sorted(root.rglob(f"{OUTBOX}/run.json"))]


def _describe(client: "MlflowClient", run_id: str, note: RunNote) -> None:
    """Parameters, and the data set in the column that MLflow has for it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag, Param

    parameters = [Param(key, value[:6000]) for key, value in sorted(note.parameters.items())]
    client.log_batch(run_id, params=parameters[:100])
    name, digest = note.dataset
    dataset = Dataset(name, digest, "local", json.dumps({"run": note.name}))
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _read(path: Path, kind: type[Any]) -> Any:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None


def _now() -> int:
    return int(time.time() * 1000)
