"""Connection to the MLflow store of a project, and the handling of its faults in steps and commands."""

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
from resources.mlflow.addresses import (
    BY_VARIABLE,
    VARIABLE,
    holds_secret,
    text_without_passwords,
    tracking_address,
)
from resources.mlflow.addresses import without_secret as shown_address
from resources.mlflow.errors import diagnose, is_store_error
from resources.mlflow.journal import OWN_STORE
from resources.mlflow.pages import MlflowPages
from resources.mlflow.relocation import KIND_TAG, TRAINING_KIND, relocate

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient

_RETRIES, _RETRY_SECONDS = 3, 30
# Timeout and retries of MLflow's client for a server that does not answer; its default is four minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "20", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}


class MlflowStore(MlflowPages):
    """MLflow tracking server, or a sqlite database that replaces it on one machine."""

    uri: str = Field(
        description="Tracking address: http(s)://..., or sqlite:////absolute/path/mlflow.db. "
        f"{BY_VARIABLE} means the address in that environment variable, which may hold a password."
    )
    artifacts: str = Field(
        default="", description="Folder for pictures and models of a sqlite store; a server has its own."
    )
    dagster_ui: str = Field(
        default="http://localhost:3000", description="Address at which people open Dagster's pages."
    )

    @field_validator("uri", "ui", "dagster_ui")
    @classmethod
    def _holds_no_password(cls, address: str) -> str:
        if holds_secret(address):  # Dagster shows and stores the settings of resources
            raise ValueError(f"an address with a password must be in the environment variable {VARIABLE}")
        return address

    @cached_property
    def client(self) -> "MlflowClient":
        """Client of this store, created on first use, after the repair of its paths."""
        self.relocate()
        self.point_mlflow_here()
        from mlflow import MlflowClient

        return MlflowClient(self.target, self.target)

    @property
    def target(self) -> str:
        """Tracking address, perhaps with a password; it must not be shown or stored."""
        return tracking_address() if self.uri == BY_VARIABLE else self.uri

    @property
    def address(self) -> str:
        """Tracking address without a password, for messages and pages."""
        return shown_address(self.target)

    @property
    def own_database(self) -> Path | None:
        """SQLite file in the project's folder; None if the store is elsewhere."""
        if not self.artifacts or not self.uri.startswith("sqlite:///"):
            return None
        database = Path(self.uri.removeprefix("sqlite:///").partition("?")[0])
        return database if database.parent == Path(self.artifacts).parent else None

    @property
    def store(self) -> str:
        """Name of the store in the journals of networks; it does not change if the project is moved."""
        return OWN_STORE if self.own_database else self.address

    def relocate(self) -> int:
        """Repair the artifact paths in the project's own database, and return the number of changed paths."""
        return relocate(self.own_database, Path(self.artifacts)) if self.own_database else 0

    def point_mlflow_here(self) -> None:
        """Make this store the one that MLflow's own functions use, and turn off MLflow's usage reports."""
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
        # MLflow writes the address into the environment, where another project would read it as its own.
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
            if name in before:
                os.environ[name] = before[name]
            else:
                os.environ.pop(name, None)

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, created if it is missing, restored if it was deleted."""
        existing = self.client.get_experiment_by_name(name)
        if existing:
            if existing.lifecycle_stage == "deleted":
                self.client.restore_experiment(existing.experiment_id)
            return existing.experiment_id
        location = (Path(self.artifacts) / name).as_uri() if self.artifacts else None
        kind = {KIND_TAG: TRAINING_KIND}  # MLflow's pages for training, not for chats
        return self.client.create_experiment(name, artifact_location=location, tags=kind)

    @contextmanager
    def needed(self) -> Iterator[None]:
        """Run work that needs the store: a fault of the store ends the step with one sentence.

        If the store does not answer or is locked, the step is tried again a few times.
        """
        try:
            yield
        except Exception as error:
            if isinstance(error, LgadError) or not is_store_error(error):
                raise
            fault = diagnose(error, self.address)
            if fault.kind == "other":
                if text_without_passwords(str(error)) == str(error):
                    raise
                raise LgadError(fault.sentence(self.address)) from None  # Dagster stores what is raised
            kept = "The trained networks are kept: run this step again; nothing is trained again."
            sentence = LgadError(f"{fault.sentence(self.address)} {kept}")
            if fault.may_pass:
                raise dg.RetryRequested(_RETRIES, _RETRY_SECONDS) from sentence
            raise dg.Failure(str(sentence), allow_retries=False) from sentence

    def check(self) -> None:
        """Check that the store can be used. A store that does not answer or is locked passes the check.

        Raises:
            LgadError: the store cannot be used until the user corrects the fault.
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
        """Raise a fault of the store as an `LgadError` with one sentence, outside of Dagster's steps."""
        try:
            yield
        except Exception as error:
            if isinstance(error, LgadError) or not is_store_error(error):
                raise
            raise LgadError(diagnose(error, self.address).sentence(self.address)) from error
