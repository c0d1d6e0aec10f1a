"""Frames a second: shards and batch augmentation against original JPEGs, resized and augmented on the CPU.

The plain loader does what the public lane repositories do: a torch DataLoader that reads the frame with
cv2, draws no label but reads a label PNG of frame size, rotates and resizes both, and normalizes.

    python benchmarks/loader.py /data/CULane
"""

import argparse
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.config import AugmentationConfig
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.labels import lane_labels, slot_lanes_of
from lgad_pipeline.data.loader import IMAGENET_MEAN, IMAGENET_STD, Loader, normalize
from lgad_pipeline.data.shards import pack
from lgad_pipeline.lanes.raster import label_map
from lgad_pipeline.lanes.view import View

BATCH = 12
IMAGE_SIZE = (288, 800)
# What the plain loader does, and nothing else.
ROTATION = AugmentationConfig(
    flip=0,
    scale=0,
    shift_x=0,
    shift_y=0,
    brightness=0,
    contrast=0,
    tone=0,
    saturation=0,
    colour=0,
    noise=0,
    blur=0,
    erasing=0,
    shadow=0,
    glare=0,
)


class Plain(Dataset):
    """One frame of the original data set at a time."""

    def __init__(self, root: Path, frames: list[str], labels: Path) -> None:
        self.root, self.frames, self.labels = root, frames, labels

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = cv2.imread(str(self.root / self.frames[index]), cv2.IMREAD_COLOR)
        label = cv2.imread(str(self.labels / f"{index}.png"), cv2.IMREAD_UNCHANGED)
        assert image is not None and label is not None
        angle = float(np.random.uniform(-3, 3))
        turn = cv2.getRotationMatrix2D((image.shape[1] / 2, image.shape[0] / 2), angle, 1.0)
        size = image.shape[1::-1]
        image = cv2.warpAffine(image, turn, size)
        label = cv2.warpAffine(label, turn, size, flags=cv2.INTER_NEAREST)
        height, width = IMAGE_SIZE
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        label = cv2.resize(label, (width, height), interpolation=cv2.INTER_NEAREST)
        scaled = (image[..., ::-1] / np.float32(255) - np.array(IMAGENET_MEAN, np.float32)) / np.array(
            IMAGENET_STD, np.float32
        )
        return torch.from_numpy(scaled.transpose(2, 0, 1).copy()), torch.from_numpy(label)


def rate(batches: Iterable[object], count: int) -> float:
    """Frames a second over `count` batches after a first one, which starts the workers."""
    stream = iter(batches)
    next(stream)
    start = time.perf_counter()
    for _ in range(count):
        next(stream)
    return count * BATCH / (time.perf_counter() - start)


def augmented(loader: Loader, config: AugmentationConfig, count: int) -> Iterator[torch.Tensor]:
    """Batches as the network takes them, changed on the CPU."""
    generator = torch.Generator().manual_seed(0)
    for batch in loader.batches(0, count):
        yield normalize(augment(batch, config, generator).image)


def main() -> None:
    """Print both rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path, help="a data set in CULane's layout")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batches", type=int, default=16)
    choice = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(choice.workers)
    frames = ingest(choice.root).frames
    frames = frames[frames["split"] == "train"].head(200).reset_index(drop=True)
    labels = lane_labels(frames)
    with tempfile.TemporaryDirectory() as folder:
        shards = pack(frames, labels, choice.root, Path(folder) / "shards", View((590, 1640), IMAGE_SIZE), 16)
        for index, row in enumerate(labels.itertuples()):
            cv2.imwrite(f"{folder}/{index}.png", label_map(slot_lanes_of(row)))
        plain = DataLoader(
            Plain(choice.root, frames["frame"].tolist(), Path(folder)), BATCH, num_workers=choice.workers
        )
        loader = Loader(shards["train"], BATCH, seed=0, workers=choice.workers)
        count = min(choice.batches, len(frames) // BATCH - 1)
        reference = rate(plain, count)
        decoded = rate(loader.batches(0, count + 1), count)
        turned = rate(augmented(loader, ROTATION, count + 1), count)
        whole = rate(augmented(loader, AugmentationConfig(), count + 1), count)
    print(f"plain: {reference:.0f} frames/s, rotated, resized and normalized on {choice.workers} workers")
    print(f"shards: {decoded:.0f} frames/s as uint8 batches, {decoded / reference:.1f} x")
    print(
        f"shards, rotated and normalized on the CPU, too: {turned:.0f} frames/s, {turned / reference:.1f} x"
    )
    print(f"shards, fully augmented on the CPU, too: {whole:.0f} frames/s, {whole / reference:.1f} x")


if __name__ == "__main__":
    main()
