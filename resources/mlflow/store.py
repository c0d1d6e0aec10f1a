"""Connection to the MLflow store of a project, and what its faults mean for a step or a command."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field, field_validator

from lgad_pipeline.errors import LgadError
from resources.mlflow.addresses import BY_VARIABLE, VARIABLE, holds_secret, tracking_address
from resources.mlflow.addresses import without_secret as shown_address
from resources.mlflow.errors import diagnose, is_store_error
from resources.mlflow.journal import OWN_STORE
from resources.mlflow.pages import MlflowPages
from resources.mlflow.relocation import KIND_TAG, TRAINING_KIND, relocate

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient

_RETRIES, _RETRY_SECONDS = 3, 30
# What MLflow's client does about a server that does not answer; its own choice is four minutes a request.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowStore(MlflowPages):
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

    @property
    def client(self) -> "MlflowClient":
        """Client of this store, created on first use."""
        return self.connection

    @cached_property
    def connection(self) -> "MlflowClient":
        """Client of this store, after repair of its paths; `client` is this one."""
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
        """Return the id of the experiment called `name`, made when it is missing."""
        found = self.client.get_experiment_by_name(name)
        if found:
            return found.experiment_id
        location = (Path(self.artifacts) / name).as_uri() if self.artifacts else None
        kind = {KIND_TAG: TRAINING_KIND}  # MLflow's pages for training, not for chats
        return self.client.create_experiment(name, artifact_location=location, tags=kind)

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
