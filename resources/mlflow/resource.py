"""The MLflow store of a project: runs with curves and pictures, and registered models."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from lgad_pipeline.errors import LgadError
from resources.mlflow.addresses import BY_VARIABLE, holds_secret, page_address, tracking_address
from resources.mlflow.errors import diagnose, is_store_error
from resources.mlflow.journal import Outbox, new_key, outboxes
from resources.mlflow.journal_lines import InputNote, RunNote, Status
from resources.mlflow.run import TrackedRun, flatten, run_name, system_tags
from resources.mlflow.store import MlflowStore
from resources.provenance import git_commit


class MlflowTracking(MlflowStore):
    """The MLflow store as the assets use it: runs of trainings by the folder of their network."""

    def knows(self, folder: Path) -> bool:
        """True if this store has the run of the network in `folder`, or if that cannot be seen now.

        Raises:
            LgadError: the store cannot be used, for a reason that does not pass by itself.
        """
        outbox = Outbox(folder)
        sent = outbox.sent(self.store)
        if sent.run_id is None:
            return outbox.note() is not None and bool(outbox.unsent())
        try:
            return self.client.get_run(sent.run_id).info.lifecycle_stage == "active"
        except Exception as error:
            if getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST":
                return False
            if not is_store_error(error):
                raise
            fault = diagnose(error, self.address)
            if fault.may_pass:
                return True
            raise LgadError(fault.sentence(self.address)) from error

    def add_metrics(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Add metrics to the run of the network in `folder`, at step 0; see `send`."""
        _outbox(folder).add(metrics, 0, replace=True)
        self.send(folder)

    def add_input(self, folder: Path, note: InputNote) -> None:
        """Add a data set to the inputs of the run of the network in `folder`; see `send`."""
        _outbox(folder).add_input(note)
        self.send(folder)

    def run_of(self, folder: Path) -> str:
        """The id of the run of the network in `folder`, sent first if need be.

        Raises:
            MlflowException, OSError: the server is away.
        """
        outbox = _outbox(folder)
        outbox.deliver(self)
        return outbox.run_id

    def add_picture(self, folder: Path, image: np.ndarray, name: str) -> None:
        """Add a picture, uint8 (H, W, 3) RGB, to the run of the network in `folder`; see `send`."""
        _outbox(folder).picture(image, name)
        self.send(folder)

    def add_file(self, folder: Path, data: bytes, name: str) -> None:
        """Add a file to the run of the network in `folder`; see `send`."""
        _outbox(folder).file(data, name)
        self.send(folder)

    def send(self, folder: Path) -> None:
        """Send the journal of the network in `folder`; a fault becomes a warning in the Dagster run's log."""
        if sentence := self.deliver(folder):
            dg.get_dagster_logger("mlflow").warning(sentence)

    def send_all(self, root: Path) -> None:
        """Send every journal below a folder; faults become warnings in the Dagster run's log."""
        for sentence in self.deliver_all(root):
            dg.get_dagster_logger("mlflow").warning(sentence)

    def deliver(self, folder: Path) -> str:
        """Send the journal of the network in `folder`.

        Returns:
            Nothing, or a sentence: why the server does not have all of it, what is missing, how to send it.
        """
        outbox = Outbox(folder)
        try:
            outbox.deliver(self)
        except LgadError as error:  # the journal or the disk
            return f"{error} Kept in {outbox.folder}: {outbox.unsent() or 'nothing'}."
        except Exception as error:  # MLflow's, requests', SQLAlchemy's: no training is given up for its log
            fault, missing = diagnose(error, self.address), outbox.unsent()
            remedy = f"{fault.remedy}; " if fault.remedy else ""
            return (
                f"MLflow at {self.address} {fault.clause}; kept in {outbox.folder}: {missing}. "
                f"{remedy[:1].upper()}{remedy[1:]}`lgad sync` sends it, and so does the next run."
            )
        return ""

    def deliver_all(self, root: Path) -> list[str]:
        """Send every journal below a folder; returns a sentence for each network that failed."""
        kept = [outbox.network for outbox in outboxes(root) if outbox.unsent()]
        return [sentence for folder in kept if (sentence := self.deliver(folder))]

    @contextmanager
    def training_run(
        self,
        context: dg.AssetExecutionContext,
        folder: Path,
        *,
        fingerprint: str,
        experiment: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
        inputs: Sequence[InputNote] = (),
    ) -> Iterator["TrackedRun"]:
        """The MLflow run of the training that writes to `folder`.

        Its journal is in that folder with the checkpoint, so that a training that was killed continues in the
        same run, and one whose server is away loses nothing. Another `fingerprint` (of data, settings and
        code) is another training: a new run.

        Raises:
            LgadError: the server refuses the user, in the first seconds.
        """
        asset = context.asset_key.to_user_string()
        name = run_name(asset, tags["recipe"], fingerprint)
        outbox = Outbox(folder)
        outbox.begin(
            RunNote(
                fingerprint=fingerprint,
                key=new_key(),
                experiment=experiment,
                name=name,
                parameters={name: str(value) for name, value in flatten(parameters).items()},
                tags={**system_tags(asset, name), **tags, **self._origin(context)},
                inputs=tuple(inputs),
                started=int(time.time() * 1000),
            )
        )
        run = TrackedRun(self, outbox, context.log)
        status: Status = "KILLED"
        try:
            yield run
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            run.close(status)

    def _origin(self, context: dg.AssetExecutionContext) -> dict[str, str]:
        """Tags that lead from an MLflow run back to the Dagster run and the commit."""
        run_id = context.run.run_id
        link = f"{self.dagster_ui}/runs/{run_id}"
        asset = context.asset_key.to_user_string()
        return {
            "dagster.run_id": run_id,
            "dagster.run": link,
            "git_commit": git_commit(),
            "mlflow.note.content": f"Made by the Dagster run [{run_id[:8]}]({link}), asset `{asset}`.",
        }


def default_tracking(folder: Path) -> MlflowTracking:
    """MLflow at MLFLOW_TRACKING_URI, else a sqlite store in `folder`."""
    dagster_ui = page_address("LGAD_DAGSTER_UI", "http://localhost:3000")
    address = tracking_address()
    if address.startswith("http"):
        return MlflowTracking(uri=address, ui=page_address("LGAD_MLFLOW_UI", address), dagster_ui=dagster_ui)
    return MlflowTracking(
        uri=BY_VARIABLE if holds_secret(address) else address or f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "mlruns"),
        ui=page_address("LGAD_MLFLOW_UI", "http://localhost:5000"),
        dagster_ui=dagster_ui,
    )


def noted_run(folder: Path) -> str:
    """The id of the MLflow run of the network in `folder`; empty while no server has it."""
    return Outbox(folder).run_id


def _outbox(folder: Path) -> Outbox:
    outbox = Outbox(folder)
    if outbox.note() is None:
        raise LgadError(
            f"{folder} has no MLflow run; materialize its asset again, which trains nothing twice."
        )
    return outbox
