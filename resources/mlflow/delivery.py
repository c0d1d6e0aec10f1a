"""Requests that bring a run journal to an MLflow server, and the check that they arrived."""

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resources.mlflow.journal_lines import Entry, InputNote, Journal, RunNote

if TYPE_CHECKING:  # importing MLflow takes over a second, which loading the definitions should not
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Metric

LARGEST_BATCH = 900  # the tracking server accepts 1000 metrics in a request
LARGEST_DESCRIPTION = 100  # and 100 parameters
LARGEST_PARAMETER = 6000


def describe(client: "MlflowClient", run_id: str, note: RunNote) -> None:
    """Send all parameters, in as many requests as it takes."""
    from mlflow.entities import Param

    parameters = [Param(key, value[:LARGEST_PARAMETER]) for key, value in sorted(note.parameters.items())]
    for start in range(0, len(parameters), LARGEST_DESCRIPTION):
        client.log_batch(run_id, params=parameters[start : start + LARGEST_DESCRIPTION])


def dataset_input(note: InputNote) -> "DatasetInput":
    """A data set as MLflow's pages show it: with the shards' address, their columns and size."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"name": name, "required": True, **_column_type(kind)} for name, kind in note.fields]
    dataset = Dataset(
        note.name,
        note.digest[:36],
        source_type="lgad_shards",
        source=json.dumps({"uri": note.source}),
        schema=json.dumps({"mlflow_colspec": columns}) if columns else None,
        profile=None if note.rows is None else json.dumps({"num_rows": note.rows}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", note.context)])


def _column_type(kind: str) -> dict[str, Any]:
    """A type of Arrow in MLflow's words; `fixed_size_list<item: bool>[4]` is an array of booleans."""
    if "list<" in kind:
        return {"type": "array", "items": {"type": "boolean" if ": bool" in kind else "double"}}
    return {"type": {"bool": "boolean", "int64": "long", "float": "float"}.get(kind, kind)}


def batches(journal: Journal, start: int) -> "Iterator[tuple[list[Metric], int]]":
    """Metrics from a position of a journal on, in batches; each with the position behind it."""
    from mlflow.entities import Metric

    batch, position = [], start
    for entry, behind in journal.entries(start):
        metrics = [Metric(name, value, entry.time, entry.step) for name, value in entry.metrics.items()]
        if batch and len(batch) + len(metrics) > LARGEST_BATCH:
            yield batch, position
            batch = []
        batch, position = batch + metrics, behind
    if batch:
        yield batch, position


def missing_sample(client: "MlflowClient", run_id: str, journal: Journal) -> str:
    """The last metric of a journal, in words, if the server does not return it; else an empty text."""
    last: Entry | None = None
    for entry, _ in journal.entries():
        last = entry
    if last is None or not last.metrics:
        return ""
    name, value = next(iter(last.metrics.items()))
    kept = client.get_metric_history(run_id, name)
    if any(one.step == last.step and math.isclose(one.value, value, rel_tol=1e-6) for one in kept):
        return ""
    return f"{name} of step {last.step}"
