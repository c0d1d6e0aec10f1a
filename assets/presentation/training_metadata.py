"""Metadata of trained networks: final metrics, loss curve, overlays and attention maps."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.presentation import metadata
from assets.presentation.svg_charts import NETWORK_NAMES, curves

if TYPE_CHECKING:
    import pandas as pd

    from lgad_pipeline.training.training_folder import TrainingResult

CAPTIONS = {"overlays": "left: label map; right: prediction of the network", "attention": "attention maps"}


def training_metadata(
    result: "TrainingResult",
    folder: Path,
    *,
    pictures: Mapping[str, dg.MetadataValue],
    run_page: dg.MetadataValue,
    run_id: str,
    initial: str = "",
) -> dict[str, Any]:
    """Describe a training.

    Args:
        result: history, duration and fingerprint of the training.
        folder: directory of the trained network.
        pictures: loss chart, overlays and attention maps by name.
        run_page: link to the MLflow run.
        run_id: id of the MLflow run; empty if the server does not have it yet.
        initial: registered version or directory that the student started from; empty for random weights.
    """
    adaptation = result.init_adaptation
    final = result.history.set_index("step").ffill().iloc[-1]
    return {
        "MLflow run": run_page,
        **({"initial weights": f"{initial}. {adaptation}".strip()} if initial else {}),
        **pictures,
        "final metrics": metadata.table(
            [{"metric": str(name), "value": float(value)} for name, value in final.items()]
        ),
        "seconds": round(result.seconds, 1),
        "reused": result.reused,
        "folder": dg.MetadataValue.path(folder),
        "mlflow_run_id": run_id,
    }


def loss_title(role: str) -> str:
    """Return the title of the loss chart of a network."""
    return f"loss of the {NETWORK_NAMES[role]}"


def loss_chart(role: str, history: "pd.DataFrame") -> str:
    """Draw the training loss of a network over the steps, as SVG.

    Args:
        role: the network: teacher, student_alone or student_lgad.
        history: metrics of the training, with the column `step`.
    """
    return curves({role: metric_curve(history.set_index("step"))}, loss_title(role))


def metric_curve(history: "pd.DataFrame", metric: str = "train/loss") -> tuple[list[float], list[float]]:
    """Extract steps and values of one metric from a training history with the index `step`."""
    values = history[metric].dropna() if metric in history else history.iloc[:0, 0]
    return [float(step) for step in values.index], [float(value) for value in values]
