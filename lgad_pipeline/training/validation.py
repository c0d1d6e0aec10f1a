"""Scores of a network in training, on validation frames: pixels, not lanes, because they cost little."""

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric

from lgad_pipeline.data.loader import Batch
from lgad_pipeline.training.checkpoint import Metrics, TrainingState
from lgad_pipeline.training.tasks import Task


@torch.no_grad()
def validate(fabric: Fabric, task: Task, state: TrainingState, batches: Iterable[Batch]) -> Metrics:
    """Score the weights that would be kept.

    Returns:
        `val/miou`, the mean over the slots of intersection over union of label and most probable class,
        pixels counted over all frames, slots without a pixel in either left out; and with an existence head
        `val/existence_accuracy`.
    """
    network = state.network.eval()
    confusion, right, flags = torch.zeros(0), 0.0, 0
    for batch in batches:
        batch = batch.to(fabric.device)
        with fabric.autocast():
            output = torch.func.functional_call(network, state.final_weights(), (task.inputs(batch),))
        classes = output.logits.shape[1]
        pairs = batch.label.long() * classes + output.logits.argmax(dim=1)
        counts = torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes)
        confusion = counts if confusion.numel() == 0 else confusion + counts
        if output.existence is not None:
            right += float(((output.existence > 0) == (batch.existence > 0.5)).sum())
            flags += batch.existence.numel()
    metrics = {"val/miou": lane_miou(confusion)}
    if flags:
        metrics["val/existence_accuracy"] = right / flags
    return metrics


def lane_miou(confusion: torch.Tensor) -> float:
    """Mean intersection over union of the lane classes, from counts (label class, predicted class).

    Classes that neither label nor prediction holds are left out; 0 if that leaves none.
    """
    confusion = confusion.double()
    overlap = confusion.diagonal()
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - overlap
    present = union[1:] > 0
    return float((overlap[1:][present] / union[1:][present]).mean()) if present.any() else 0.0
