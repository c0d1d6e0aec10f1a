"""Trained networks as logged models of MLflow: weights, metrics on a data set, and the models before them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from lgad_pipeline.config.model_files import NETWORK, WEIGHTS
from resources.mlflow.journal_file import InputRecord
from resources.mlflow.logged_model import copy_files
from resources.mlflow.resource import MlflowTracking

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

TRAINING_TAG = "training_fingerprint"
_KIND = "lgad network"


def log_network(
    tracking: MlflowTracking,
    folder: Path,
    *,
    name: str,
    fingerprint: str,
    metrics: Mapping[str, float],
    dataset: InputRecord,
) -> str:
    """Log a trained network as a model of its MLflow run; a training is logged once.

    Args:
        tracking: The MLflow store.
        folder: Directory of weights.safetensors and network.json, with the journal of the run.
        name: Name of the model, such as teacher.
        fingerprint: Fingerprint of the training.
        metrics: Metrics of the trained network by name.
        dataset: Data set on which the metrics were measured.

    Returns:
        Id of the logged model.
    """
    from mlflow.entities import LoggedModelOutput

    run_id = tracking.run_of(folder)
    known = model_of(tracking, run_id, fingerprint=fingerprint)
    if known is not None:
        return str(known.model_id)
    client = tracking.client
    experiment = client.get_run(run_id).info.experiment_id
    tags = {TRAINING_TAG: fingerprint}
    model = client.create_logged_model(experiment, name, run_id, tags, model_type=_KIND)
    with TemporaryDirectory() as scratch:
        copy_files((folder / file for file in (NETWORK, WEIGHTS)), Path(scratch))
        client.log_model_artifacts(model.model_id, scratch)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, 0)])
    link_metrics(tracking, run_id, model_id=model.model_id, metrics=metrics, dataset=dataset)
    client.finalize_logged_model(model.model_id, "READY")  # the last request: what failed before is repeated
    return str(model.model_id)


def link_metrics(
    tracking: MlflowTracking,
    run_id: str,
    *,
    model_id: str,
    metrics: Mapping[str, float],
    dataset: InputRecord,
) -> None:
    """Link metrics to a logged model and to a data set; their names begin with `final/`.

    Args:
        tracking: The MLflow store.
        run_id: Run of the training.
        model_id: Logged model that was measured.
        metrics: Values by name.
        dataset: Data set on which they were measured.
    """
    for name, value in metrics.items():
        tracking.client.log_metric(
            run_id,
            f"final/{name}",
            value,
            model_id=model_id,
            dataset_name=dataset.name,
            dataset_digest=dataset.digest[:36],
        )


def model_of(tracking: MlflowTracking, run_id: str, *, fingerprint: str) -> "LoggedModel | None":
    """Return the complete model of a training in its run; None if there is none."""
    client = tracking.client
    experiment = client.get_run(run_id).info.experiment_id
    models = client.search_logged_models([experiment], filter_string=f"source_run_id = '{run_id}'")
    ready = [model for model in models if model.tags.get(TRAINING_TAG) == fingerprint]
    return next((model for model in ready if str(model.status) == "READY"), None)


def add_parents(tracking: MlflowTracking, folder: Path, *, models: Sequence[str]) -> None:
    """Record the logged models that a training read, as inputs of its run.

    Args:
        tracking: The MLflow store.
        folder: Directory of the network, with the journal of the run.
        models: Ids of logged models, such as that of the teacher.
    """
    from mlflow.entities import LoggedModelInput

    run_id = tracking.run_of(folder)
    inputs = tracking.client.get_run(run_id).inputs
    known = {model.model_id for model in inputs.model_inputs} if inputs else set()
    new = [LoggedModelInput(model) for model in models if model not in known]
    if new:
        tracking.client.log_inputs(run_id, models=new)
