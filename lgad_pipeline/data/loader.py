"""Batches from shards: a pure function of (seed, step), decoded ahead of time in threads."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from lgad_pipeline.data.shards import ShardSplit
from lgad_pipeline.errors import LgadError
from lgad_pipeline.thread_pool import ordered_map

# Mean and standard deviation of ImageNet's red, green and blue, on the scale 0..1.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Batch:
    """Some frames at training size.

    Attributes:
        frames: paths below the data set's root, B of them.
        image: uint8 (B, 3, H, W), RGB; in memory the channels come last, as they are decoded.
        label: uint8 (B, H, W), 0 background, 1..4 slots.
        existence: float32 (B, 4), 1 where the slot holds a lane.
        flipped: bool (B,), which frames augmentation has mirrored; None before it.
    """

    frames: list[str]
    image: torch.Tensor
    label: torch.Tensor
    existence: torch.Tensor
    flipped: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""
        moved = (tensor.to(device, non_blocking=True) for tensor in (self.image, self.label, self.existence))
        return replace(self, **dict(zip(("image", "label", "existence"), moved, strict=True)))

    def pinned(self) -> "Batch":
        """The same batch in page-locked memory, from which `to` copies to a GPU while the GPU computes."""
        image, label, existence = (part.pin_memory() for part in (self.image, self.label, self.existence))
        return replace(self, image=image, label=label, existence=existence)


def batch_indices(count: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Which of `count` frames make up the batch of a step, int64 (batch_size,).

    Every epoch is one permutation of all frames, seeded by (seed, epoch). Batches are always full: one that
    reaches the end of an epoch goes on with the next, so a split smaller than a batch works, too.
    """
    epochs, places = np.divmod(np.arange(batch_size, dtype=np.int64) + step * batch_size, count)
    return np.array(
        [_permutation(count, seed, int(epoch))[place] for epoch, place in zip(epochs, places, strict=True)]
    )


@lru_cache(maxsize=8)
def _permutation(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch]).permutation(count)


def collate(split: ShardSplit, indices: np.ndarray) -> Batch:
    """Decode the samples at `indices` into one batch."""
    samples = [split[int(index)] for index in indices]
    image = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    label = torch.from_numpy(np.stack([sample.label for sample in samples]))
    existence = torch.from_numpy(np.stack([sample.existence for sample in samples])).float()
    return Batch([sample.frame for sample in samples], image, label, existence)


class Loader:
    """Shuffled batches of a split, for training."""

    def __init__(
        self,
        split: ShardSplit,
        batch_size: int,
        seed: int,
        workers: int = 2,
        finish: Callable[[Batch, int], Batch] | None = None,
        ranks: tuple[int, int] = (0, 1),
    ):
        """Set up; nothing is read yet.

        Args:
            split: the frames.
            batch_size: frames in a batch of one process.
            seed: of the order of the frames.
            workers: threads that decode ahead in `batches`.
            finish: what the threads do to a batch besides, such as augmentation on a CPU or pinning for a
                GPU; gets its `number`, too.
            ranks: which process this is, from 0, and how many train together. At a step they take the
                batches that one process alone would take one after the other: the same frames in the same
                order, none twice.

        Raises:
            LgadError: the split is empty.
        """
        if len(split) == 0:
            raise LgadError(
                "The split holds no frames to train on; add frames to its list and pack the shards again."
            )
        self.split, self.batch_size, self.seed, self.workers = split, batch_size, seed, workers
        self.finish, self.ranks = finish, ranks

    def number(self, step: int) -> int:
        """Place of this process's batch of a step among the batches of all processes, counted from 0."""
        rank, processes = self.ranks
        return step * processes + rank

    def batch(self, step: int) -> Batch:
        """The batch of a step, counted from 0: always the same for the same split, batch size and seed."""
        number = self.number(step)
        batch = collate(self.split, batch_indices(len(self.split), self.batch_size, self.seed, number))
        return batch if self.finish is None else self.finish(batch, number)

    def batches(self, start: int, stop: int) -> Generator[Batch]:
        """The batches of steps start..stop-1, decoded ahead; closing the iterator stops the threads."""
        return ordered_map(self.batch, range(start, stop), self.workers, ahead=2 * self.workers)


def in_order(split: ShardSplit, batch_size: int, workers: int = 2) -> Generator[Batch]:
    """Every frame of a split once, in its order, for evaluation; the last batch may be smaller."""
    chunks = [
        np.arange(first, min(first + batch_size, len(split))) for first in range(0, len(split), batch_size)
    ]
    return ordered_map(lambda indices: collate(split, indices), chunks, workers, ahead=2 * workers)


def normalize(image: torch.Tensor) -> torch.Tensor:
    """uint8 (B, 3, H, W), RGB, to float32 with ImageNet's mean 0 and standard deviation 1."""
    mean = torch.tensor(IMAGENET_MEAN, device=image.device).view(1, 3, 1, 1) * 255
    std = torch.tensor(IMAGENET_STD, device=image.device).view(1, 3, 1, 1) * 255
    return image.to(torch.float32, copy=True).sub_(mean).div_(std)
