"""MLflow resource of the assets: runs of trainings, found by the directory of their network."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np

from lgad_pipeline.errors import LgadError
from resources.mlflow.addresses import BY_VARIABLE, database_in, holds_secret, page_address, tracking_address
from resources.mlflow.errors import diagnose, is_store_error
from resources.mlflow.journal import RunJournal, new_key, run_journals
from resources.mlflow.journal_file import InputRecord, RunRecord, Status
from resources.mlflow.run import SyncError, TrackedRun, flatten, run_name, sync_journal, system_tags
from resources.mlflow.store import MlflowStore
from resources.provenance import git_commit


class MlflowTracking(MlflowStore):
    """MLflow store as the assets use it: each run belongs to the directory of a network."""

    def has_run(self, folder: Path) -> bool:
        """Return True if this store has the run of the network in `folder`, or does not answer now.

        Raises:
            LgadError: the store cannot be used until somebody corrects the fault.
        """
        journal = RunJournal(folder)
        sent = journal.sent(self.store)
        if sent.run_id is None:
            return journal.read_record() is not None and bool(journal.unsent())
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
        """Add metrics to the run of the network in `folder`, at step 0, and send its journal."""
        _journal_of(folder).add(metrics, 0, replace=True)
        self.sync_or_warn(folder)

    def add_input(self, folder: Path, record: InputRecord) -> None:
        """Add a data set to the inputs of the run of the network in `folder`, and send its journal."""
        _journal_of(folder).add_input(record)
        self.sync_or_warn(folder)

    def run_of(self, folder: Path) -> str:
        """Return the id of the run of the network in `folder`; its journal is sent first.

        Raises:
            MlflowException, OSError: the server does not answer.
        """
        journal = _journal_of(folder)
        journal.sync(self)
        return journal.run_id

    def add_picture(self, folder: Path, image: np.ndarray, name: str) -> None:
        """Add a picture, uint8 (H, W, 3) RGB, to the run of the network in `folder`, and send its journal."""
        _journal_of(folder).add_picture(image, name)
        self.sync_or_warn(folder)

    def add_file(self, folder: Path, data: bytes, name: str) -> None:
        """Add a file to the run of the network in `folder`, and send its journal."""
        _journal_of(folder).add_file(data, name)
        self.sync_or_warn(folder)

    def sync(self, folder: Path) -> None:
        """Send the journal of the network in `folder`.

        Raises:
            SyncError: the server does not have all of it.
        """
        sync_journal(RunJournal(folder), self)

    def sync_all(self, root: Path) -> None:
        """Send every journal below a directory.

        Raises:
            SyncError: the server does not have all of them; one sentence per journal.
        """
        errors = self._sync_all(root)
        if errors:
            raise SyncError("\n".join(map(str, errors)))

    def sync_or_warn(self, folder: Path) -> None:
        """Send the journal of the network in `folder`; an error is a warning in the Dagster run's log."""
        try:
            self.sync(folder)
        except SyncError as error:
            dg.get_dagster_logger("mlflow").warning(str(error))

    def sync_all_or_warn(self, root: Path) -> None:
        """Send every journal below a directory; errors become warnings in the Dagster run's log."""
        for error in self._sync_all(root):
            dg.get_dagster_logger("mlflow").warning(str(error))

    def _sync_all(self, root: Path) -> list[SyncError]:
        """Send every journal below a directory, and return the errors."""
        errors: list[SyncError] = []
        for journal in run_journals(root):
            if journal.unsent():
                try:
                    sync_journal(journal, self)
                except SyncError as error:
                    errors.append(error)
        return errors

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
        inputs: Sequence[InputRecord] = (),
    ) -> Iterator["TrackedRun"]:
        """Open the MLflow run of the training that writes to `folder`.

        The journal of the run is in that directory with the checkpoint. A training that was killed therefore
        continues in the same run, and an outage of the server loses nothing.

        Args:
            context: Context of the asset.
            folder: Directory of the network.
            fingerprint: Fingerprint of data, settings and code; another one begins another run.
            experiment: Name of the MLflow experiment.
            parameters: Settings of the training, nested.
            tags: Tags of the run, with `recipe` among them.
            inputs: Data sets that the training reads.

        Raises:
            LgadError: the server refuses the user; raised in the first seconds of the training.
        """
        asset = context.asset_key.path[-1]
        name = run_name(asset, tags["recipe"], fingerprint=fingerprint)
        journal = RunJournal(folder)
        journal.begin(
            RunRecord(
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
        run = TrackedRun(self, journal, log=context.log)
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
        """Return tags with the Dagster run and the commit that an MLflow run was made from."""
        run_id = context.run.run_id
        link = f"{self.dagster_ui}/runs/{run_id}"
        asset = context.asset_key.path[-1]
        return {
            "dagster.run_id": run_id,
            "dagster.run": link,
            "git_commit": git_commit(),
            "mlflow.note.content": f"Made by the Dagster run [{run_id[:8]}]({link}), asset `{asset}`.",
        }


def default_tracking(folder: Path) -> MlflowTracking:
    """Return the MLflow store at MLFLOW_TRACKING_URI, or without it a sqlite store in `folder`."""
    dagster_ui = page_address("LGAD_DAGSTER_UI", "http://localhost:3000")
    address = tracking_address()
    if address.startswith("http"):
        return MlflowTracking(uri=address, ui=page_address("LGAD_MLFLOW_UI", address), dagster_ui=dagster_ui)
    return MlflowTracking(
        uri=BY_VARIABLE if holds_secret(address) else address or database_in(folder),
        artifacts=str(folder / "mlruns"),
        ui=page_address("LGAD_MLFLOW_UI", "http://localhost:5000"),
        dagster_ui=dagster_ui,
    )


def run_id_of(folder: Path) -> str:
    """Return the id of the MLflow run of the network in `folder`; empty while no server has it."""
    return RunJournal(folder).run_id


def run_tags_of(folder: Path) -> Mapping[str, str]:
    """Return the tags of the MLflow run of the network in `folder`; LgadError if no training wrote one."""
    record = _journal_of(folder).read_record()
    return record.tags if record else {}


def _journal_of(folder: Path) -> RunJournal:
    """Return the journal of the network in `folder`; LgadError if no training wrote one."""
    journal = RunJournal(folder)
    if journal.read_record() is None:
        raise LgadError(
            f"{folder} has no MLflow run; materialize its asset again, which repeats no training."
        )
    return journal
