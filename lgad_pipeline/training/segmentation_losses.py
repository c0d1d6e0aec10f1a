"""Losses of label map, existence flags and types of lanes: scalar means over the batch, in float32.

In a training of several processes, the mean of a loss over the processes is the loss of the whole batch.
"""

import torch
from torch.nn import functional

from lgad_pipeline.training.processes import process_count, sum_over_processes


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Return the log softmax over the classes of logits (B, classes, H, W), float32, same shape."""
    # Contiguous planes: the kernel for channels-last memory is several times slower on a CPU.
    return functional.log_softmax(logits.float().contiguous(), dim=1)


def cross_entropy(
    log_probability: torch.Tensor, label: torch.Tensor, background_weight: float
) -> torch.Tensor:
    """Return the cross entropy with a weight of the background (SCNN, Pan et al., AAAI 2018: 0.4).

    Args:
        log_probability: log probabilities of the classes (B, slots + 1, H, W).
        label: label map (B, H, W), int64.
        background_weight: weight of class 0; the lanes have weight 1.
    """
    weight = log_probability.new_ones(log_probability.shape[1])
    weight[:1].fill_(background_weight)  # an assignment would copy the number from the CPU
    loss = functional.nll_loss(log_probability, label, weight)
    if process_count() == 1:
        return loss
    total = weight[label].sum()  # the mean above is over this weight, which differs by process
    return loss * total * process_count() / sum_over_processes(total)


def soft_iou(log_probability: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return 1 - IoU of the lane classes with soft predictions (ENet-SAD), mean over the classes.

    IoU = sum p g / (sum p + sum g - sum p g) over all pixels of the batch; classes that the batch's
    labels do not contain are left out of the mean.

    Args:
        log_probability: log probabilities of the classes (B, slots + 1, H, W).
        label: label map (B, H, W), int64.
    """
    slots = torch.arange(1, log_probability.shape[1], device=label.device).view(1, -1, 1, 1)
    truth = (label[:, None] == slots).to(log_probability.dtype)
    probability = log_probability[:, 1:].exp()  # (B, slots, H, W)
    sums = [values.sum(dim=(0, 2, 3)) for values in (probability * truth, truth, probability)]
    overlap, pixels, predicted = sum_over_processes(torch.stack(sums))
    union = predicted + pixels - overlap
    present = (pixels > 0).to(overlap.dtype)
    return ((1 - overlap / union.clamp(min=1e-6)) * present).sum() / present.sum().clamp(min=1)


def existence(logits: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """Return the binary cross entropy of logits (B, slots) against existence flags of 0 and 1 (B, slots)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), flags.float())


def lane_types(logits: torch.Tensor, types: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of the types of lanes, mean over the slots that hold a lane of known type.

    It is 0 if there is no such slot.

    Args:
        logits: logits of the types (B, slots, types).
        types: type of the lane in each slot, int64 (B, slots), -1 unknown.
        flags: existence flags of 0 and 1 (B, slots).
    """
    known = known_types(types, flags)
    target = torch.where(known, types, -1)
    loss = functional.cross_entropy(
        logits.float().flatten(0, 1), target.flatten(), ignore_index=-1, reduction="sum"
    )
    count = known.sum().to(loss.dtype)
    return loss * process_count() / sum_over_processes(count).clamp(min=1)


def known_types(types: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """Return which slots hold a lane of known type, bool (B, slots); see `lane_types` for the arguments."""
    return (types >= 0) & (flags > 0.5)
