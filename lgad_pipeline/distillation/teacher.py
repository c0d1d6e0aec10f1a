"""The teacher: a lane network that reads label maps, and how it is held still."""

from typing import Self

import torch
from torch import nn

from lgad_pipeline.models.layers import LaneOutput


def label_planes(label: torch.Tensor, slots: int) -> torch.Tensor:
    """Turn label maps into the teacher's input: one plane a class, plane 0 the background.

    Planes and not grey levels: as grey levels the slots are ordered, and the middle ones get lost between.

    Args:
        label: (B, H, W), integers 0..slots.
        slots: lane slots.

    Returns:
        (B, slots + 1, H, W), float32 of 0 and 1.
    """
    classes = torch.arange(slots + 1, device=label.device).view(1, -1, 1, 1)
    return (label[:, None] == classes).float()


class FrozenTeacher(nn.Module):
    """A trained network that no longer learns: evaluation mode, no gradients; `train()` does not wake it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network.eval().requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the parent does."""
        return self

    @torch.no_grad()
    def forward(self, planes: torch.Tensor) -> LaneOutput:
        """Run the network on `label_planes`, without gradients."""
        return self.network(planes)
