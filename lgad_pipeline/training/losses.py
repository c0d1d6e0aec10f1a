"""The segmentation losses; each is the mean over the batch, one number, computed in float32."""

import torch
from torch.nn import functional


def log_probabilities(logits: torch.Tensor) -> torch.Tensor:
    """Log softmax over the classes of (B, classes, H, W) logits, float32."""
    # Plane by plane: the kernel for interleaved channels is several times slower on a CPU.
    return functional.log_softmax(logits.float().contiguous(), dim=1)


def cross_entropy(
    log_probability: torch.Tensor, label: torch.Tensor, background_weight: float
) -> torch.Tensor:
    """Cross entropy with the background weighed down (SCNN, Pan et al., AAAI 2018: 0.4).

    Args:
        log_probability: (B, slots + 1, H, W).
        label: (B, H, W), int64.
        background_weight: of class 0; the lanes have weight 1.
    """
    weight = log_probability.new_ones(log_probability.shape[1])
    weight[0] = background_weight
    return functional.nll_loss(log_probability, label, weight)


def soft_iou(log_probability: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """1 - IoU of the lane classes with probabilities for pixels (ENet-SAD), mean over the classes.

    IoU = sum p g / (sum p + sum g - sum p g) over all pixels of the batch; a class without a pixel in
    the batch's labels does not count.

    Args:
        log_probability: (B, slots + 1, H, W).
        label: (B, H, W), int64.
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
    """Binary cross entropy of (B, slots) logits against flags of 0 and 1; no sigmoid before."""
    return functional.binary_cross_entropy_with_logits(logits.float(), flags.float())
