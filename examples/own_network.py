"""A network of your own, registered under a name, built like every other network, and trained with LGAD.

A recipe of lgad.yaml names the class by its import path instead: `network: {name: "own_network:PlainNet"}`.

Run it: `python examples/own_network.py`
"""

import torch
from torch import nn
from torch.nn import functional

from lgad_pipeline import (
    DistillationConfig,
    LaneOutput,
    LgadLoss,
    MimickingPath,
    NetworkSpec,
    build_network,
    register_network,
)


@register_network("plain")
class PlainNet(nn.Module):
    """Two strided convolutions and a classifier; no existence head.

    Args:
        in_channels: input planes: 3 for frames, the number of classes for label maps.
        slots: number of lane slots, without the background.
        image_size: (H, W) of the input, pixels.
        width: factor of the number of channels.
    """

    attention_layers = ("shallow", "deep")

    def __init__(self, in_channels: int, slots: int, image_size: tuple[int, int], width: float) -> None:
        super().__init__()
        channels = int(32 * width)
        self.shallow = nn.Sequential(
            nn.Conv2d(in_channels, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.deep = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels), nn.ReLU()
        )
        self.classifier = nn.Conv2d(channels, slots + 1, 1)

    def forward(self, image: torch.Tensor) -> LaneOutput:
        """Return class logits (B, slots + 1, H, W) for images (B, in_channels, H, W)."""
        logits = self.classifier(self.deep(self.shallow(image)))
        return LaneOutput(functional.interpolate(logits, size=image.shape[-2:], mode="bilinear"))


def main() -> None:
    """Build a student and a teacher of the class, and take three training steps with LGAD."""
    torch.manual_seed(0)
    spec = NetworkSpec(name="plain", image_size=(32, 64), width=0.5)
    student = build_network(spec)
    teacher = build_network(spec.model_copy(update={"in_channels": spec.slots + 1}))  # reads label maps
    paths = [MimickingPath(student=layer, teacher=layer) for layer in PlainNet.attention_layers]
    lgad = LgadLoss(student, teacher, paths, DistillationConfig())
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    image, label_map = torch.rand(4, 3, 32, 64), torch.randint(0, 5, (4, 32, 64))
    for step in range(3):
        loss = functional.cross_entropy(student(image).logits, label_map) + lgad(label_map)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step}: loss {loss:.3f}")


if __name__ == "__main__":
    main()
