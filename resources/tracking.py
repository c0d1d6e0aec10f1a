"""MLflow: where runs, their curves and pictures, and the models are kept."""

import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import dagster as dg
import numpy as np
from pydantic import Field

from lgad_pipeline.errors import LgadError
from resources.mlflow_errors import fault, is_away
from resources.outbox import Outbox, RunNote, Status, new_key, outboxes
from resources.provenance import git_commit
from resources.tracked_run import TrackedRun, flatten, system_tags

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient

_RETRIES, _RETRY_SECONDS = 3, 30
# What MLflow's client does about a server that does not answer; its own choice is four minutes a request.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowTracking(dg.ConfigurableResource):
    """An MLflow tracking server, or the sqlite database that takes its place on one machine."""

    uri: str = Field(description="Tracking address: http(s)://..., or sqlite:////absolute/path/mlflow.db.")
    artifacts: str = Field(
        default="", description="Folder for pictures and models of a sqlite store; a server has its own."
    )
    ui: str = Field(default="http://localhost:5000", description="Where people open MLflow's pages.")
    dagster_ui: str = Field(default="http://localhost:3000", description="Where people open Dagster's pages.")

    @cached_property
    def client(self) -> "MlflowClient":
        """The client of this store, made on first use."""
        self.point_mlflow_here()
        from mlflow import MlflowClient

        return MlflowClient(self.uri, self.uri)

    @property
    def is_server(self) -> bool:
        """It is reached over HTTP, perhaps by other machines too."""
        return self.uri.startswith("http")

    @property
    def address(self) -> str:
        """The tracking address without a password, for notes and pages."""
        parts = urlsplit(self.uri)
        return self.uri.replace(f":{parts.password}@", "@") if parts.password else self.uri

    def point_mlflow_here(self) -> None:
        """Have MLflow's own functions use this store; they know one at a time, and report no usage."""
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        before = dict(os.environ)
        import mlflow

        for name in ("alembic", "mlflow"):  # they narrate what they do
            logging.getLogger(name).setLevel(logging.WARNING)
        mlflow.set_tracking_uri(self.uri)
        mlflow.set_registry_uri(self.uri)
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
        kind = {
            "mlflow.experimentKind": "custom_model_development"
        }  # MLflow's pages for training, not for chats
        return self.client.create_experiment(name, artifact_location=location, tags=kind)

    def run_url(self, folder: Path) -> str | None:
        """The page of the run of the network in `folder`; None while it was not sent."""
        sent = Outbox(folder).sent(self.address)
        page = f"{self.ui}/#/experiments/{sent.experiment_id}/runs/{sent.run_id}"
        return page if sent.run_id else None

    def compare_url(self, folders: Sequence[Path]) -> str | None:
        """The page that compares the runs of the networks in `folders`, which are of one experiment."""
        sent = [Outbox(folder).sent(self.address) for folder in folders]
        if not all(one.run_id for one in sent):
            return None
        runs, experiment = (
            _in_url([one.run_id or "" for one in sent]),
            _in_url([sent[0].experiment_id or ""]),
        )
        return f"{self.ui}/#/compare-runs?runs={runs}&experiments={experiment}"

    def file_url(self, folder: Path, name: str) -> str | None:
        """Where browsers find a file of the run of the network in `folder`; None while it was not sent."""
        outbox = Outbox(folder)
        run_id = outbox.sent(self.address).run_id
        if run_id is None or outbox.has(name):
            return None
        return f"{self.ui}/get-artifact?path={quote(name)}&run_uuid={run_id}"

    def file_page(self, folder: Path, name: str) -> str | None:
        """MLflow's page of a file of the run of the network in `folder`; None while it was not sent."""
        if self.file_url(folder, name) is None:
            return None
        return f"{self.run_url(folder)}/artifacts/{quote(name)}"

    def version_url(self, name: str, version: str) -> str:
        """The page of a registered model's version."""
        return f"{self.ui}/#/models/{name}/versions/{version}"

    def knows(self, folder: Path) -> bool:
        """Whether this store has the run of the network in `folder`, as far as can be seen."""
        from mlflow.exceptions import MlflowException

        outbox = Outbox(folder)
        sent = outbox.sent(self.address)
        if sent.run_id is None:
            return outbox.note() is not None and bool(outbox.unsent())
        try:
            return self.client.get_run(sent.run_id).info.lifecycle_stage == "active"
        except MlflowException as error:
            return is_away(error)

    def add_metrics(self, folder: Path, metrics: Mapping[str, float]) -> str:
        """Add metrics to the run of the network in `folder`, at step 0; see `deliver`."""
        _outbox(folder).add(metrics, 0, replace=True)
        return self.deliver(folder)

    def run_of(self, folder: Path) -> str:
        """The id of the run of the network in `folder`, sent first if need be.

        Raises:
            MlflowException, OSError: the server is away.
        """
        outbox = _outbox(folder)
        outbox.deliver(self)
        return outbox.run_id

    def add_picture(self, folder: Path, image: np.ndarray, name: str) -> str:
        """Add a picture, uint8 (H, W, 3) RGB, to the run of the network in `folder`; see `deliver`."""
        _outbox(folder).picture(image, name)
        return self.deliver(folder)

    def add_file(self, folder: Path, data: bytes, name: str) -> str:
        """Add a file to the run of the network in `folder`; see `deliver`."""
        _outbox(folder).file(data, name)
        return self.deliver(folder)

    def deliver(self, folder: Path) -> str:
        """Send what is kept of the network in `folder`.

        Returns:
            Nothing, or a sentence: why the server does not have all of it, what is missing, how to send it.
        """
        outbox = Outbox(folder)
        try:
            outbox.deliver(self)
        except Exception as error:  # MLflow's, requests', SQLAlchemy's: no training is given up for its log
            missing = outbox.unsent()
            return (
                f"MLflow at {self.address} {fault(error)}; kept in {outbox.folder}: {missing}. "
                "`lgad sync` sends it, and so does the next run."
            )
        return ""

    def deliver_all(self, root: Path) -> list[str]:
        """Send everything that is kept below a folder; returns a sentence for each network that failed."""
        kept = [outbox.network for outbox in outboxes(root) if outbox.unsent()]
        return [fault for folder in kept if (fault := self.deliver(folder))]

    @contextmanager
    def needed(self) -> Iterator[None]:
        """What cannot be done without the server: where it is away, the step waits and is tried again."""
        try:
            yield
        except Exception as error:
            if not is_away(error):
                raise
            sentence = LgadError(
                f"MLflow at {self.address} does not answer. What was trained is kept: start this step again "
                "when the server is back, and nothing is trained twice."
            )
            raise dg.RetryRequested(_RETRIES, _RETRY_SECONDS) from sentence

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
    ) -> Iterator["TrackedRun"]:
        """The MLflow run of the training that writes to `folder`.

        It is kept in that folder beside the checkpoint, so that a training that was killed goes on in the
        same run, and one whose server is away loses nothing. Another `fingerprint` (of data, settings and
        code) is another training: a new run.

        Raises:
            LgadError: the server refuses the user, in the first seconds.
        """
        name = f"{context.asset_key.to_user_string()} · {tags['recipe']}"
        outbox = Outbox(folder)
        outbox.begin(
            RunNote(
                fingerprint=fingerprint,
                key=new_key(),
                experiment=experiment,
                name=name,
                parameters={name: str(value) for name, value in flatten(parameters).items()},
                tags={**system_tags(name), **tags, **self._origin(context)},
                dataset=(tags["dataset"], tags["data_fingerprint"]),
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
    dagster_ui = os.environ.get("LGAD_DAGSTER_UI", "http://localhost:3000")
    address = os.environ.get("MLFLOW_TRACKING_URI", "")
    if address.startswith("http"):
        if urlsplit(address).password:
            raise LgadError(
                "MLFLOW_TRACKING_URI holds a password; give it in MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, which are not shown."
            )
        ui = os.environ.get("LGAD_MLFLOW_UI", address.rstrip("/"))
        return MlflowTracking(uri=address, ui=ui, dagster_ui=dagster_ui)
    return MlflowTracking(
        uri=address or f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "mlruns"),
        ui=os.environ.get("LGAD_MLFLOW_UI", "http://localhost:5000"),
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


def _in_url(values: Sequence[str]) -> str:
    """A list as MLflow's pages read it from an address."""
    return quote(json.dumps(values, separators=(",", ":")))
