"""MLflow: where runs, their curves and pictures, and the models are kept."""

import contextlib
import getpass
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import dagster as dg
import numpy as np
from pydantic import Field

from lgad_pipeline import files
from resources.provenance import git_commit

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    import pandas as pd
    from mlflow import MlflowClient

RUN_NOTE = "mlflow.json"
FLUSH_SECONDS = 5.0
LARGEST_BATCH = 900  # the tracking server takes 1000 metrics at once


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

    def point_mlflow_here(self) -> None:
        """Have MLflow's own functions use this store; they know one at a time, and report no usage."""
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

    def run_url(self, run_id: str) -> str:
        """The page of a run."""
        experiment = self.client.get_run(run_id).info.experiment_id
        return f"{self.ui}/#/experiments/{experiment}/runs/{run_id}"

    def compare_url(self, folders: Sequence[Path]) -> str:
        """The page that compares the runs of the networks in `folders`, which are of one experiment."""
        runs = [noted_run(folder) for folder in folders]
        experiment = self.client.get_run(runs[0]).info.experiment_id
        return f"{self.ui}/#/compare-runs?runs={_in_url(runs)}&experiments={_in_url([experiment])}"

    def version_url(self, name: str, version: str) -> str:
        """The page of a registered model's version."""
        return f"{self.ui}/#/models/{name}/versions/{version}"

    def knows(self, folder: Path) -> bool:
        """Whether this store has the run of the network in `folder`."""
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_run(noted_run(folder)).info.lifecycle_stage == "active"
        except (FileNotFoundError, MlflowException):
            return False

    def add_metrics(self, folder: Path, metrics: Mapping[str, float]) -> None:
        """Add metrics to the run of the network in `folder`, at step 0."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        entries = [Metric(name, value, now, 0) for name, value in metrics.items()]
        self.client.log_batch(noted_run(folder), metrics=entries)

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

        Its id is noted in that folder beside the checkpoint, so that a training that was killed goes on in
        the same run. Another `fingerprint` (of data, settings and code) is another training: a new run. The
        run is opened with the first metrics, so that a training that turns out to be there already leaves
        no empty one.
        """
        name = f"{context.asset_key.to_user_string()} · {tags['recipe']}"
        run = TrackedRun(
            self, folder, fingerprint, experiment, name, parameters, {**tags, **self._origin(context)}
        )
        try:
            yield run
        except BaseException as error:
            with contextlib.suppress(Exception):  # the training's own error is the one to see
                run.close("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
        run.close("FINISHED")

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
        return MlflowTracking(uri=address, ui=address.rstrip("/"), dagster_ui=dagster_ui)
    return MlflowTracking(
        uri=address or f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "mlruns"),
        ui=os.environ.get("LGAD_MLFLOW_UI", "http://localhost:5000"),
        dagster_ui=dagster_ui,
    )


class TrackedRun:
    """The MLflow run of one training: metrics in batches, pictures."""

    def __init__(
        self,
        tracking: MlflowTracking,
        folder: Path,
        fingerprint: str,
        experiment: str,
        name: str,
        parameters: Mapping[str, Any],
        tags: Mapping[str, str],
    ) -> None:
        self.tracking = tracking
        self._note = folder / RUN_NOTE
        self._fingerprint = fingerprint
        self._experiment = experiment
        self._name = name
        self._parameters = parameters
        self._tags = tags
        self._open = False
        self._pending: list[Any] = []
        self._flushed = time.monotonic()

    @cached_property
    def run_id(self) -> str:
        """The run that this training writes to: the one noted beside its checkpoint, else a new one."""
        client = self.tracking.client
        run_id = self._noted()
        if run_id is None:
            experiment = self.tracking.experiment(self._experiment)
            run_id = client.create_run(
                experiment, tags=_system_tags(self._name), run_name=self._name
            ).info.run_id
            note = {"tracking_uri": self.tracking.uri, "run_id": run_id, "fingerprint": self._fingerprint}
            files.write_text(self._note, json.dumps(note, indent=2) + "\n")
            _log_parameters(client, run_id, self._parameters)
            _log_dataset(client, run_id, self._tags)
            for key, value in self._tags.items():
                client.set_tag(run_id, key, value)
        return run_id

    @property
    def url(self) -> str:
        """The page of this run."""
        return self.tracking.run_url(self.run_id)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Note metrics; they are sent every few seconds. This is the library's `log(metrics, step)`."""
        from mlflow.entities import Metric

        if not self._open:
            self.tracking.client.update_run(self.run_id, status="RUNNING")
            self._open = True
        now = int(time.time() * 1000)
        self._pending += [
            Metric(name, float(value), now, step) for name, value in metrics.items() if math.isfinite(value)
        ]
        if len(self._pending) >= LARGEST_BATCH or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def complete(self, history: "pd.DataFrame", mark: str) -> None:
        """Send those rows of a training's history (`step`, metrics) whose metric `mark` the run lacks.

        That is nothing as a rule; all of it when the network was trained before and this store knows
        nothing of it; and the last seconds before a kill when the training went on behind them.
        """
        self.flush()
        known = {metric.step for metric in self.tracking.client.get_metric_history(self.run_id, mark)}
        for row in history.to_dict("records"):
            step = int(row.pop("step"))
            if step not in known:
                self.log({str(name): value for name, value in row.items()}, step)

    def flush(self) -> None:
        """Send what is pending."""
        while self._pending:
            self.tracking.client.log_batch(self.run_id, metrics=self._pending[:LARGEST_BATCH])
            del self._pending[:LARGEST_BATCH]
        self._flushed = time.monotonic()

    def picture(self, image: np.ndarray, path: str) -> None:
        """Keep a picture, uint8 (H, W, 3) RGB, under `path` in the run's artifacts."""
        self.tracking.client.log_image(self.run_id, image, path)

    def close(self, status: str) -> None:
        """Send what is pending and end the run, if it was opened."""
        self.flush()
        if self._open:
            self.tracking.client.set_terminated(self.run_id, status=status)

    def _noted(self) -> str | None:
        """The run that was noted beside an output of this fingerprint, if this store still has it."""
        from mlflow.exceptions import MlflowException

        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
            if note["tracking_uri"] != self.tracking.uri or note["fingerprint"] != self._fingerprint:
                return None
            found = self.tracking.client.get_run(note["run_id"])
        except (FileNotFoundError, ValueError, KeyError, MlflowException):
            return None
        return found.info.run_id if found.info.lifecycle_stage == "active" else None


def noted_run(folder: Path) -> str:
    """The id of the MLflow run of the network in `folder`."""
    return json.loads((folder / RUN_NOTE).read_text(encoding="utf-8"))["run_id"]


def _system_tags(name: str) -> dict[str, str]:
    """What MLflow's own pages show as a run's source and user."""
    commit = git_commit()
    return {
        "mlflow.source.name": f"dagster: {name}",
        "mlflow.source.type": "JOB",
        "mlflow.user": getpass.getuser(),
        **({} if commit == "unknown" else {"mlflow.source.git.commit": commit.removesuffix("-dirty")}),
    }


def _log_parameters(client: "MlflowClient", run_id: str, parameters: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    flat = [Param(key, str(value)[:6000]) for key, value in sorted(_flatten(parameters).items())]
    client.log_batch(run_id, params=flat[:100])


def _log_dataset(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    """Name the data set in the column that MLflow has for it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        tags["dataset"], tags["data_fingerprint"], "local", json.dumps({"recipe": tags["recipe"]})
    )
    client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])


def _in_url(values: Sequence[str]) -> str:
    """A list as MLflow's pages read it from an address."""
    return quote(json.dumps(values, separators=(",", ":")))


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: {"teacher": {"steps": 3}} as {"teacher.steps": 3}."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
