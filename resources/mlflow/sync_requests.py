"""Requests that send a run journal to an MLflow server, and the check that the server stored it."""

import json
import math
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

from resources.mlflow.journal_file import Entry, InputRecord, JournalFile, RunRecord

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric


LARGEST_BATCH = 900
"""Number of metrics in a request; the tracking server accepts 1000."""
LARGEST_DESCRIPTION = 100
"""Number of parameters in a request; the tracking server accepts 100."""
LARGEST_PARAMETER = 6000
"""Length of a parameter's value, characters."""


class TrackingServer(Protocol):
    """MLflow server or database that a run journal is sent to."""

    @cached_property
    def client(self) -> "MlflowClient":
        """Client of the server."""
        ...

    @property
    def store(self) -> str:
        """Name of the server in `sent.json`; it does not change if the project's folder is moved."""
        ...

    @property
    def address(self) -> str:
        """Address of the server without a password, for messages."""
        ...

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, created if it is missing."""
        ...


def send_parameters(client: "MlflowClient", run_id: str, *, record: RunRecord) -> None:
    """Send all parameters of a run, in several requests if there are many."""
    from mlflow.entities import Param

    parameters = [Param(key, value[:LARGEST_PARAMETER]) for key, value in sorted(record.parameters.items())]
    for start in range(0, len(parameters), LARGEST_DESCRIPTION):
        client.log_batch(run_id, params=parameters[start : start + LARGEST_DESCRIPTION])


def dataset_input(record: InputRecord) -> "DatasetInput":
    """Return a data set as MLflow's pages show it: address of the shards, columns, number of frames."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"name": name, "required": True, **_column_type(kind)} for name, kind in record.fields]
    dataset = Dataset(
        record.name,
        record.digest[:36],
        source_type="lgad_shards",
        source=json.dumps({"uri": record.source}),
        schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
        profile=None if record.rows is None else json.dumps({"num_rows": record.rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", record.context)])


def _column_type(kind: str) -> dict[str, Any]:
    """Return an Arrow type in MLflow's terms; `fixed_size_list<item: bool>[4]` is an array of booleans."""
    if "list<" in kind:
        return {"type": "array", "items": {"type": "boolean" if ": bool" in kind else "double"}}
    return {"type": {"bool": "boolean", "int64": "long", "float": "float"}.get(kind, kind)}


def batches(journal: JournalFile, start: int) -> "Iterator[tuple[list[Metric], int]]":
    """Iterate over the metrics of a journal in batches.

    Args:
        journal: File of the metrics.
        start: Position of the first line, bytes.

    Yields:
        Metrics, and the position after their last line, bytes.
    """
    from mlflow.entities import Metric

    batch, position = [], start
    for entry, end in journal.entries(start):
        metrics = [Metric(name, value, entry.time, entry.step) for name, value in entry.metrics.items()]
        if batch and len(batch) + len(metrics) > LARGEST_BATCH:
            yield batch, position
            batch = []
        batch, position = batch + metrics, end
    if batch:
        yield batch, position


def missing_sample(client: "MlflowClient", run_id: str, *, journal: JournalFile) -> str | None:
    """Return the name and step of the journal's last metric if the server does not have it, else None."""
    last: Entry | None = None
    for entry, _ in journal.entries():
        last = entry
    if last is None or not last.metrics:
        return None
    name, value = next(iter(last.metrics.items()))
    kept = client.get_metric_history(run_id, name)
    if any(metric.step == last.step and math.isclose(metric.value, value, rel_tol=1e-6) for metric in kept):
        return None
    return f"{name} of step {last.step}"
