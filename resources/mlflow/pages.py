"""Addresses of MLflow's pages: runs, their files, comparisons, registered versions."""

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import dagster as dg
from pydantic import Field

from resources.mlflow.journal import RunJournal


class MlflowPages(dg.ConfigurableResource):
    """Addresses of the pages of an MLflow store."""

    ui: str = Field(
        default="http://localhost:5000", description="Address at which people open MLflow's pages."
    )

    @property
    def store(self) -> str:
        """Name of the store in the journals of networks; it does not change if the project is moved."""
        raise NotImplementedError

    def run_url(self, folder: Path) -> str | None:
        """Return the page of the run of the network in `folder`; None if the run was not sent yet."""
        sent = RunJournal(folder).sent(self.store)
        page = f"{self.ui}/#/experiments/{sent.experiment_id}/runs/{sent.run_id}"
        return page if sent.run_id else None

    def compare_url(self, folders: Sequence[Path]) -> str | None:
        """Return the page that compares the runs of the networks in `folders`, all of one experiment.

        None if one of the runs was not sent yet.
        """
        sent = [RunJournal(folder).sent(self.store) for folder in folders]
        if not all(state.run_id for state in sent):
            return None
        runs = _in_url([state.run_id or "" for state in sent])
        experiment = _in_url([sent[0].experiment_id or ""])
        return f"{self.ui}/#/compare-runs?runs={runs}&experiments={experiment}"

    def file_url(self, folder: Path, name: str) -> str | None:
        """Return the address of a file of the run of the network in `folder`; None if it was not sent yet."""
        journal = RunJournal(folder)
        run_id = journal.sent(self.store).run_id
        if run_id is None or journal.has(name):
            return None
        return f"{self.ui}/get-artifact?path={quote(name)}&run_uuid={run_id}"

    def file_page(self, folder: Path, name: str) -> str | None:
        """Return MLflow's page of a file of the run of the network in `folder`; None if it was not sent."""
        if self.file_url(folder, name) is None:
            return None
        return f"{self.run_url(folder)}/artifacts/{quote(name)}"

    def version_url(self, name: str, version: str) -> str:
        """Return the page of a registered model's version."""
        return f"{self.ui}/#/models/{name}/versions/{version}"


def _in_url(values: Sequence[str]) -> str:
    """Return a list as MLflow's pages read it from an address."""
    return quote(json.dumps(values, separators=(",", ":")))
