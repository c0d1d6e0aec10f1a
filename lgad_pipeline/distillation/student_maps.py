"""Variants of the maps that are compared: adapters, one map for each slot, and weights of frames."""

import torch
from torch import nn

from lgad_pipeline.distillation.processes import mean_over_processes
from lgad_pipeline.errors import LgadError


def channel_adapter(channels: int, groups: int) -> nn.Conv2d:
    """Return a 1 x 1 convolution to at least as many channels, a multiple of `groups`; it starts as identity.

    Outputs beyond the number of inputs start as copies of the first inputs.
    """
    outputs = -(-channels // groups) * groups
    adapter = nn.Conv2d(channels, outputs, 1)
    rows = torch.arange(outputs)
    with torch.no_grad():
        adapter.weight.zero_()[rows, rows % channels] = 1
        adapter.bias.zero_()  # type: ignore[union-attr]
    return adapter


def split_channels(features: torch.Tensor, groups: int, layer: str) -> torch.Tensor:
    """Divide the channels of features (B, C, h, w) into groups of neighbors: (B x groups, C / groups, h, w).

    Raises:
        LgadError: the number of channels is not a multiple of `groups`.
    """
    channels = features.shape[1]
    if channels % groups:
        raise LgadError(
            f"The {channels} channels of layer {layer} cannot be divided into {groups} groups, one for each "
            "slot; set adapter to true, or choose another layer."
        )
    return features.unflatten(1, (groups, channels // groups)).flatten(0, 1)


def split_slots(label_map: torch.Tensor, slots: int) -> torch.Tensor:
    """Return a label map for each slot, with the other slots as background: (B x slots, H, W).

    Args:
        label_map: label map (B, H, W), integers 0..slots; pixels of other values keep their value.
        slots: number of slots.
    """
    numbers = torch.arange(1, slots + 1, device=label_map.device).view(1, -1, 1, 1)
    label = label_map[:, None]
    kept = (label == numbers) | (label < 0) | (label > slots)
    return torch.where(kept, label, torch.zeros_like(label)).flatten(0, 1)


def item_weights(label_map: torch.Tensor, logits: torch.Tensor | None, slots: int = 1) -> torch.Tensor:
    """Return the weights of the maps of a batch in a loss, whose sum replaces the mean over the batch.

    - A map of one slot counts if the frame has a lane in that slot: the teacher's attention to an empty label
      map shows nothing. The loss is the mean over the maps that count.
    - With logits, the weight of a frame is also multiplied by 1 - p, p the mean over its lane pixels of the
      probability that the student gives their label, without gradient: the focal loss's factor (Lin et al.,
      ICCV 2017, arXiv:1708.02002, with its exponent gamma = 1), for a frame in place of a pixel. A frame
      without lane pixels has the weight 0.

    Args:
        label_map: label map (B, H, W), integers; 0 is the background.
        logits: class logits (B, classes, H, W) of the student, or None for equal weights of the frames.
        slots: number of maps of each frame, 1 for one map of all slots.

    Returns:
        Weights, float32 (B x slots,).
    """
    counts = torch.ones(len(label_map), slots, device=label_map.device)
    if slots > 1:
        single = split_slots(label_map, slots)
        numbers = torch.arange(1, slots + 1, device=label_map.device).repeat(len(label_map)).view(-1, 1, 1)
        counts = (single == numbers).any(dim=2).any(dim=1).float().view(-1, slots)
    # The mean of the loss over several processes is that of the whole batch.
    weights = counts / mean_over_processes(counts.sum()).clamp(min=1e-6)
    if logits is not None:
        weights = weights * label_error(logits, label_map)[:, None]
    return weights.flatten()


@torch.no_grad()
def label_error(logits: torch.Tensor, label_map: torch.Tensor) -> torch.Tensor:
    """Return 1 - mean probability of the label over the lane pixels of each frame, float32 (B,).

    It is 0 for a frame without lane pixels.

    Args:
        logits: class logits (B, classes, H, W).
        label_map: label map (B, H, W), integers; values outside 1..classes - 1 are not lane pixels.

    Raises:
        LgadError: the two have different sizes.
    """
    if logits.shape[-2:] != label_map.shape[-2:]:
        raise LgadError(
            f"The setting frame_weight: error compares logits of {tuple(logits.shape[-2:])} with label maps "
            f"of {tuple(label_map.shape[-2:])}; enlarge the logits to the size of the label maps."
        )
    label = label_map.long()[:, None]
    lane = (label > 0) & (label < logits.shape[1])
    chosen = logits.float().gather(1, label * lane)
    probability = (chosen - logits.float().logsumexp(dim=1, keepdim=True)).exp()
    number = lane.flatten(1).sum(dim=1)
    return ((1 - probability) * lane).flatten(1).sum(dim=1) / number.clamp(min=1)
