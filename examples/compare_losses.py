"""Attention maps and the three distillation losses, one by one, on two small networks.

Run it: `python examples/compare_losses.py`
"""

import torch
from torch import nn

from lgad_pipeline import (
    DistillationConfig,
    FeatureTaps,
    FrozenTeacher,
    LgadLoss,
    LogitsConfig,
    LogitsLoss,
    MimickingPath,
    SadConfig,
    SadLoss,
    attention_divergence,
    attention_map,
)


def network(in_channels: int) -> nn.Sequential:
    """Return a network (B, in_channels, H, W) -> class logits (B, 5, H, W)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3, padding=1),
        nn.Sigmoid(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.Sigmoid(),
        nn.Conv2d(8, 5, 1),
    )


def main() -> None:
    """Print an attention divergence and the three losses."""
    torch.manual_seed(0)
    student, teacher, larger = network(3), network(5), network(3)
    image, label_map = torch.rand(2, 3, 16, 32), torch.randint(0, 5, (2, 16, 32))
    planes = nn.functional.one_hot(label_map, 5).permute(0, 3, 1, 2).float()

    with FeatureTaps(student, ["3"]) as student_taps, FeatureTaps(teacher, ["3"]) as teacher_taps:
        student(image)
        FrozenTeacher(teacher)(planes)  # evaluation mode, no gradients
        maps = [attention_map(taps.pop()["3"]) for taps in (student_taps, teacher_taps)]
    print("attention map:", tuple(maps[0].shape))
    print(f"divergence: {attention_divergence(*maps):.5f}")

    lgad = LgadLoss(student, teacher, [MimickingPath(student="3", teacher="3")], DistillationConfig())
    sad = SadLoss(student, ["1", "3"], SadConfig())
    logits_loss = LogitsLoss(larger, LogitsConfig(temperature=2))
    logits = student(image)
    losses = {"LGAD": lgad(label_map), "SAD": sad(), "logits": logits_loss(logits, image)}
    for name, loss in losses.items():
        print(f"{name}: {loss:.5f}")
    torch.stack(list(losses.values())).sum().backward()


if __name__ == "__main__":
    main()
