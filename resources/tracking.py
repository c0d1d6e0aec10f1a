"""The MLflow store of a project: runs with curves and pictures, and registered models."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import numpy as np
from pydantic import Field, field_validator

from lgad_pipeline.errors import LgadError
from resources.addresses import BY_VARIABLE, VARIABLE, holds_secret, page_address, tracking_address
from resources.addresses import without_secret as shown_address
from resources.journal import InputNote, RunNote, Status
from resources.mlflow_errors import diagnose, is_store_error
from resources.mlflow_pages import MlflowPages
from resources.outbox import OWN_STORE, Outbox, new_key, outboxes
from resources.provenance import git_commit
from resources.relocation import KIND_TAG, TRAINING_KIND, relocate
from resources.tracked_run import TrackedRun, flatten, run_name, system_tags

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient

_RETRIES, _RETRY_SECONDS = 3, 30
# What MLflow's client does about a server that does not answer; its own choice is four minutes a request.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowTracking(MlflowPages):
    """An MLflow tracking server, or the sqlite database that takes its place on one machine."""

    uri: str = Field(
        description="Tracking address: http(s)://..., or sqlite:////absolute/path/mlflow.db. "
        f"{BY_VARIABLE} stands for the address in that environment variable, which may hold a password."
    )
    artifacts: str = Field(
        default="", description="Folder for pictures and models of a sqlite store; a server has its own."
    )
    dagster_ui: str = Field(default="http://localhost:3000", description="Where people open Dagster's pages.")

    @field_validator("uri", "ui", "dagster_ui")
    @classmethod
    def _holds_no_password(cls, address: str) -> str:
        if holds_secret(address):  # Dagster shows and stores the settings of resources
            raise ValueError(f"addresses with a password belong into the environment variable {VARIABLE}")
        return address

    @cached_property
    def client(self) -> "MlflowClient":
        """The client of this store, made on first use."""
        self.relocate()
        self.point_mlflow_here()
        from mlflow import MlflowClient

        return MlflowClient(self.target, self.target)

    @property
    def target(self) -> str:
        """The tracking address itself, perhaps with a password: never to be shown or stored."""
        return tracking_address() if self.uri == BY_VARIABLE else self.uri

    @property
    def is_server(self) -> bool:
        """It is reached over HTTP, perhaps by other machines too."""
        return self.uri.startswith("http")

    @property
    def address(self) -> str:
        """The tracking address without a password, for messages and pages."""
        return shown_address(self.target)

    @property
    def own_database(self) -> Path | None:
        """The sqlite file in the project's folder; None where the store is elsewhere."""
        if not self.artifacts or not self.uri.startswith("sqlite:///"):
            return None
        database = Path(self.uri.removeprefix("sqlite:///").partition("?")[0])
        return database if database.parent == Path(self.artifacts).parent else None

    @property
    def store(self) -> str:
        """The store's name in the journals of networks; it stays the same when the project is moved."""
        return OWN_STORE if self.own_database else self.address

    def relocate(self) -> int:
        """Repair the artifact paths in the project's own database; returns how many were changed."""
        return relocate(self.own_database, Path(self.artifacts)) if self.own_database else 0

    def point_mlflow_here(self) -> None:
        """Have MLflow's own functions use this store; they know one at a time, and report no usage."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        before = dict(os.environ)
        import mlflow

        for name in ("alembic", "mlflow"):  # they report each step
            logging.getLogger(name).setLevel(logging.WARNING)
        # It logs a traceback for each error that it raises as well.
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        mlflow.set_tracking_uri(self.target)
        mlflow.set_registry_uri(self.target)
        # MLflow hands the address to the environment, from where another project would take it for its own.
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)

    def experiment(self, name: str) -> str:
        """The id of the experiment called `name`, made when it is missing."""
        found = self.client.get_experiment_by_name(name)
        if found:
            return found.experiment_id
        location = (Path(self.artifacts) / name).as_uri() if self.artifacts else None
        kind = {KIND_TAG: TRAINING_KIND}  # MLflow's pages for training, not for chats
        return self.client.create_experiment(name, artifact_location=location, tags=kind)

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
    def needed(self) -> Iterator[None]:
        """Guard of what cannot be done without the store: its faults end the step with one sentence.

        A step whose store is away or locked waits and is tried again a few times.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, LgadError) or not is_store_error(error):
                raise
            fault = diagnose(error, self.address)
            if fault.kind == "other":
                raise
            kept = "What was trained is kept: start this step again then, and nothing is trained twice."
            sentence = LgadError(f"{fault.sentence(self.address)} {kept}")
            if fault.may_pass:
                raise dg.RetryRequested(_RETRIES, _RETRY_SECONDS) from sentence
            raise dg.Failure(str(sentence), allow_retries=False) from sentence

    def check(self) -> None:
        """See that the store can be used; one that is away or locked now may be usable later.

        Raises:
            LgadError: it cannot be used, for a reason that does not pass by itself.
        """
        try:
            self.client.search_experiments(max_results=1)
        except Exception as error:
            if not is_store_error(error):
                raise
            fault = diagnose(error, self.address)
            if not fault.may_pass:
                raise LgadError(fault.sentence(self.address)) from error

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn faults of the store into one sentence, outside of Dagster's steps."""
        try:
            yield
        except Exception as error:
            if isinstance(error, LgadError) or not is_store_error(error):
                raise
            raise LgadError(diagnose(error, self.address).sentence(self.address)) from error

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

        It is kept in that folder beside the checkpoint, so that a training that was killed goes on in the
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
