"""Segmentation and existence losses: scalar means over the batch, computed in float32."""

import torch
from torch.nn import functional


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
    return functional.nll_loss(log_probability, label, weight)


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
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    pixels = truth.sum(dim=(0, 2, 3))
    union = probability.sum(dim=(0, 2, 3)) + pixels - overlap
    present = (pixels > 0).to(overlap.dtype)
    return ((1 - overlap / union.clamp(min=1e-6)) * present).sum() / present.sum().clamp(min=1)


def existence(logits: torch.Tensor, flags: torch.Tensor) -> torch.Tensor:
    """Return the binary cross entropy of logits (B, slots) against existence flags of 0 and 1 (B, slots)."""
    return functional.binary_cross_entropy_with_logits(logits.float(), flags.float())
