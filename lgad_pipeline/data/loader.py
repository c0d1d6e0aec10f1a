"""Batches from shards: a pure function of (seed, step), decoded in advance by threads."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace

import numpy as np
import torch

from lgad_pipeline.data.batch_order import BatchOrder
from lgad_pipeline.data.random_amounts import Recording
from lgad_pipeline.data.shard_split import ShardSplit
from lgad_pipeline.data.share import WHOLE, Share
from lgad_pipeline.errors import LgadError
from lgad_pipeline.thread_pool import ordered_map


@dataclass(frozen=True)
class Batch:
    """Batch of frames at training size.

    Attributes:
        frames: B paths of the images below the data set's root.
        image: images, uint8 (B, 3, H, W), RGB; in channels-last memory format after decoding.
        label: label maps, uint8 (B, H, W), 0 background, slots from 1.
        existence: existence flags, float32 (B, slots), 1 if the slot contains a lane, else 0.
        flipped: flags, bool (B,), True for frames that are mirrored; None before augmentation.
        affine: maps from the output to the input of the warp after the mirroring, float32 (B, 2, 3), in the
            coordinates of `grid_sample`; None if nothing is warped.
        amounts: random amounts of the augmentation that is still to be done on the device, or None.
        types: type of the lane in each slot, int64 (B, slots), -1 unknown; None for shards without types.
    """

    frames: list[str]
    image: torch.Tensor
    label: torch.Tensor
    existence: torch.Tensor
    flipped: torch.Tensor | None = None
    affine: torch.Tensor | None = None
    amounts: Recording | None = None
    types: torch.Tensor | None = None

    def map(self, function: Callable[[torch.Tensor], torch.Tensor]) -> "Batch":
        """Return the batch with a function applied to each of its tensors."""
        return replace(
            self,
            image=function(self.image),
            label=function(self.label),
            existence=function(self.existence),
            flipped=None if self.flipped is None else function(self.flipped),
            affine=None if self.affine is None else function(self.affine),
            amounts=None if self.amounts is None else Recording(*map(function, self.amounts)),
            types=None if self.types is None else function(self.types),
        )

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors of the batch, in a fixed order."""
        optional = [tensor for tensor in (self.flipped, self.affine, self.types) if tensor is not None]
        return [self.image, self.label, self.existence, *optional, *(self.amounts or ())]

    def parts(self, count: int) -> list["Batch"]:
        """Return the augmented batch in `count` parts of equal size, in order."""
        size = len(self.frames) // count
        return [
            replace(
                self,
                frames=self.frames[first : first + size],
                image=self.image[first : first + size],
                label=self.label[first : first + size],
                existence=self.existence[first : first + size],
                flipped=None if self.flipped is None else self.flipped[first : first + size],
                affine=None if self.affine is None else self.affine[first : first + size],
                amounts=None,
                types=None if self.types is None else self.types[first : first + size],
            )
            for first in range(0, size * count, size)
        ]

    def to(self, device: torch.device | str) -> "Batch":
        """Return the batch on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """Return the batch in page-locked memory, from which `to` copies to a GPU while the GPU computes."""
        return self.map(torch.Tensor.pin_memory)


def collate(split: ShardSplit, indices: np.ndarray) -> Batch:
    """Decode the samples at `indices` into one batch."""
    samples = [split[int(index)] for index in indices]
    image = torch.from_numpy(np.stack([sample.image for sample in samples])).permute(0, 3, 1, 2)
    label = torch.from_numpy(np.stack([sample.label for sample in samples]))
    existence = torch.from_numpy(np.stack([sample.existence for sample in samples])).float()
    typed = [sample.types for sample in samples if sample.types is not None]
    types = torch.from_numpy(np.stack(typed)) if typed else None
    return Batch([sample.frame for sample in samples], image, label, existence, types=types)


class Loader:
    """Shuffled batches of a split, for training."""

    def __init__(
        self,
        split: ShardSplit,
        batch_size: int,
        *,
        seed: int,
        window: int | None = None,
        workers: int = 2,
        finish: Callable[[Batch, int], Batch] | None = None,
        share: Share = WHOLE,
    ):
        """Set up the loader without reading frames.

        Args:
            split: packed frames to draw batches from.
            batch_size: number of frames in the batch of all processes.
            seed: seed of the order of the frames.
            window: number of shard files whose frames are mixed at a time; None for all, see `BatchOrder`.
            workers: number of threads that decode batches in advance.
            finish: function of a decoded batch and its step, called in the threads, such as augmentation
                on a CPU or pinning for a GPU; None to return batches as decoded.
            share: part of each batch that this process computes.

        Raises:
            LgadError: The split is empty, or in a store and its window does not fit the cache.
        """
        if len(split) == 0:
            raise LgadError(
                "The split holds no frames to train on; add frames to its list and pack the shards again."
            )
        self.order = BatchOrder(split.rows, batch_size, seed=seed, window=window)
        split.require_order(self.order.window)
        self.split, self.workers, self.finish, self.share = split, workers, finish, share

    def batch(self, step: int) -> Batch:
        """Decode the batch of a step, from 0: always the same for the same split, batch size and seed."""
        batch = collate(self.split, self.share.of(self.order.indices(step)))
        return batch if self.finish is None else self.finish(batch, step)

    def batches(self, start: int, stop: int) -> Generator[Batch]:
        """Yield the batches of steps start..stop-1, decoded in advance; closing it stops the threads."""
        # Processes share a machine's cache, so the frames of all of them are announced.
        steps = self.split.announced(range(start, stop), self.order.indices, window=self.order.window)
        return ordered_map(self.batch, steps, workers=self.workers, ahead=2 * self.workers)


def in_order(
    split: ShardSplit, batch_size: int, *, workers: int = 2, limit: int | None = None, share: Share = WHOLE
) -> Generator[Batch]:
    """Yield the frames of a split once, in order, for evaluation; the last batch can be smaller.

    Args:
        split: packed frames.
        batch_size: number of frames in a batch.
        workers: number of threads that decode batches in advance.
        limit: largest number of frames, evenly spaced in the split; None for every frame.
        share: batches of this process.
    """
    count = len(split) if limit is None else min(limit, len(split))
    indices = np.arange(count) * len(split) // max(count, 1)
    chunks = [indices[first : first + batch_size] for first in range(0, count, batch_size)]
    mine = split.announced(share.of(chunks), lambda indices: indices, window=0)
    return ordered_map(lambda indices: collate(split, indices), mine, workers=workers, ahead=2 * workers)
