"""Pixel scores of a network in training on validation frames; they are much faster than lane scores."""

from collections.abc import Iterable

import torch
from lightning_fabric import Fabric

from lgad_pipeline.data.loader import Batch
from lgad_pipeline.networks.float32 import full_float32
from lgad_pipeline.networks.layers import check_lane_output
from lgad_pipeline.training.checkpoint import Metrics, TrainingState
from lgad_pipeline.training.processes import broadcast, gather
from lgad_pipeline.training.segmentation_losses import known_types
from lgad_pipeline.training.tasks import Task


@torch.no_grad()
def validate(fabric: Fabric, task: Task, state: TrainingState, batches: Iterable[Batch]) -> Metrics:
    """Evaluate the weights that would be saved now.

    Args:
        fabric: training device.
        task: inputs of the network.
        state: state of the training.
        batches: validation batches of this process.

    Returns:
        `val/miou`: mean over the slots of the intersection over union of label and most probable class, with
        pixels counted over all frames, without slots that neither contains. For a network with an existence
        head also `val/existence_accuracy`, the share of correct flags; for one that predicts types of lanes
        also `val/type_accuracy`, the share of correct types of the lanes of known type, if there are any.
    """
    network = state.network.eval()
    weights = state.final_weights()
    broadcast({name: weights[name] for name, _ in network.named_buffers() if name in weights})
    confusion, correct, flags = torch.zeros(0), torch.zeros(()), 0
    right_types = known = torch.zeros(())
    for batch in batches:
        batch = batch.to(fabric.device)
        # In float32, as the predictor: in bfloat16 many pixels have two equal largest logits.
        with full_float32(fabric.device):
            output = torch.func.functional_call(network, weights, (task.inputs(batch),), tie_weights=False)
        labels = task.labels(batch)
        check_lane_output(output, labels.shape, batch.existence.shape[1])
        classes = output.logits.shape[1]
        pairs = labels.long() * classes + output.logits.argmax(dim=1)
        counts = torch.bincount(pairs.flatten(), minlength=classes**2).view(classes, classes)
        confusion = counts if confusion.numel() == 0 else confusion + counts
        if output.existence is not None:
            correct = correct + ((output.existence > 0) == (batch.existence > 0.5)).sum()
            flags += batch.existence.numel()
        if output.types is not None and batch.types is not None:
            typed = known_types(batch.types, batch.existence)
            right_types = right_types + (typed & (output.types.argmax(dim=2) == batch.types)).sum()
            known = known + typed.sum()
    # Processes of which each evaluated a part; one that had no batch has no confusion.
    parts = gather((confusion.cpu(), float(correct), flags, float(right_types), float(known)))
    confusion = torch.stack([part[0] for part in parts if part[0].numel()]).sum(dim=0)
    metrics = {"val/miou": lane_miou(confusion)}
    for name, right, all_ in (("existence", 1, 2), ("type", 3, 4)):
        if count := sum(float(part[all_]) for part in parts):
            metrics[f"val/{name}_accuracy"] = sum(float(part[right]) for part in parts) / count
    return metrics


def lane_miou(confusion: torch.Tensor) -> float:
    """Return the mean intersection over union of the lane classes.

    Classes that neither label nor prediction contains are left out of the mean; 0 if none remains.

    Args:
        confusion: number of pixels by (label class, predicted class), integers (classes, classes).
    """
    confusion = confusion.double()
    overlap = confusion.diagonal()
    union = confusion.sum(dim=0) + confusion.sum(dim=1) - overlap
    present = union[1:] > 0
    return float((overlap[1:][present] / union[1:][present]).mean()) if present.any() else 0.0
