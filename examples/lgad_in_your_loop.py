"""LGAD in a training loop, with networks and a loader that are not part of this package.

Only the lines marked with LGAD are needed in a loop of your own; `lgad_pipeline.distillation` needs torch and
pydantic alone.

Run it: `python examples/lgad_in_your_loop.py`
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lgad_pipeline import DistillationConfig, LgadLoss, MimickingPath

CLASSES = 5  # background and four lane slots


def your_network(in_channels: int) -> nn.Module:
    """Return a segmentation network: (B, in_channels, H, W) to class logits (B, CLASSES, H, W)."""
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(in_channels, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.Conv2d(16, 16, 3, padding=2, dilation=2), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Conv2d(16, CLASSES, 1),
    )


def your_loader() -> DataLoader:
    """Return batches of images (B, 3, H, W) and label maps (B, H, W): one vertical lane in each."""
    generator = torch.Generator().manual_seed(0)
    images, label_maps = torch.rand(32, 3, 32, 64, generator=generator) / 2, torch.zeros(32, 32, 64)
    for number in range(32):
        column = 4 + 14 * (number % 4)
        images[number, :, :, column : column + 3] += 0.5
        label_maps[number, :, column : column + 3] = 1 + number % 4
    return DataLoader(TensorDataset(images, label_maps.long()), batch_size=8)


def train_teacher(teacher: nn.Module, loader: DataLoader, epochs: int) -> None:
    """Train a network to reproduce label maps from their one-hot planes."""
    optimizer = torch.optim.AdamW(teacher.parameters(), lr=1e-2)
    for _ in range(epochs):
        for _, label_map in loader:
            planes = nn.functional.one_hot(label_map, CLASSES).permute(0, 3, 1, 2).float()
            loss = nn.functional.cross_entropy(teacher(planes), label_map)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def train_student(student: nn.Module, teacher: nn.Module, loader: DataLoader, epochs: int) -> None:
    """Train a student on the labels and on the attention maps of the teacher."""
    paths = [MimickingPath(student="1", teacher="1")]  # LGAD: names as in network.named_modules()
    lgad = LgadLoss(student, teacher, paths, DistillationConfig(weight=0.2))  # LGAD
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2)
    for epoch in range(epochs):
        for image, label_map in loader:
            segmentation = nn.functional.cross_entropy(student(image), label_map)
            attention = lgad(label_map)  # LGAD: after the forward of the student
            loss = segmentation + attention
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: segmentation {segmentation:.3f}, attention {attention:.5f}")


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    loader = your_loader()
    teacher, student = your_network(CLASSES), your_network(3)
    train_teacher(teacher, loader, epochs=5)
    train_student(student, teacher, loader, epochs=5)
