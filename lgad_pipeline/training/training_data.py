"""Batches of a training: loaded, augmented, and on validation frames in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from lightning_fabric import Fabric

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.augmentation import augment
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.loader import Batch, Loader, in_order
from lgad_pipeline.data.shards import ShardSet


@dataclass(frozen=True)
class TrainingData:
    """Sources of the batches of a training.

    Attributes:
        batches: function of (start, stop) that returns an iterator over the batches of the steps
            start..stop-1, a pure function of the step; the iterator is closed after use.
        augment: function of (batch, step) that returns the changed batch, a pure function of both; it runs on
            the training device.
        validation: function that returns all validation batches in order.
    """

    batches: Callable[[int, int], Iterator[Batch]]
    augment: Callable[[Batch, int], Batch]
    validation: Callable[[], Iterator[Batch]]


def training_data(
    shards: ShardSet, config: TrainingConfig, augmentation: AugmentationConfig, fabric: Fabric
) -> TrainingData:
    """Return the batches of a training; augmented in the loader's threads on a CPU, on the device on a GPU.

    Args:
        shards: packed data set.
        config: batch size and seed.
        augmentation: augmentation of the training batches.
        fabric: training device, rank and number of processes.

    Raises:
        LgadError: the split train or val is missing.
    """
    training, validation = shards["train"], shards["val"]
    size, seed, ranks = config.batch_size, config.seed, (fabric.global_rank, fabric.world_size)

    def augmented(batch: Batch, number: int) -> Batch:
        return augment(batch, augmentation, batch_generator(seed, number))

    def validation_batches() -> Iterator[Batch]:
        return in_order(validation, size)

    if fabric.device.type == "cpu":
        loader = Loader(training, size, seed, finish=augmented, ranks=ranks)
        return TrainingData(loader.batches, lambda batch, step: batch, validation_batches)
    loader = Loader(training, size, seed, finish=lambda batch, number: batch.pinned(), ranks=ranks)
    return TrainingData(
        loader.batches, lambda batch, step: augmented(batch, loader.number(step)), validation_batches
    )
