"""Networks of tests whose answers are known."""

import torch

from lgad_pipeline.networks.layers import LaneOutput


class RedIsTheLeftLane(torch.nn.Module):
    """Redness of a pixel, after normalization, speaks for slot 2."""

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__()
        weight = torch.zeros(slots + 1, in_channels, 1, 1)
        weight[2, :2, 0, 0] = torch.tensor([10.0, -10.0])
        self.planes = torch.nn.Conv2d(in_channels, slots + 1, 1)
        self.planes.weight.data = weight
        self.planes.bias = torch.nn.Parameter(torch.tensor([0.0, -50.0, -5.0, -50.0, -50.0]))

    def forward(self, image: torch.Tensor) -> LaneOutput:
        return LaneOutput(self.planes(image))
