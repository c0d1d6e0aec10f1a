"""Batches of a training: loaded, augmented, and on validation frames in order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from lightning_fabric import Fabric

from lgad_pipeline.config.augmentation import AugmentationConfig
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.augmentation import augment, augment_recorded, record_amounts
from lgad_pipeline.data.loader import Batch, Loader, in_order
from lgad_pipeline.data.random_amounts import batch_generator
from lgad_pipeline.data.shards import ShardSet


@dataclass(frozen=True)
class TrainingData:
    """Sources of the batches of a training.

    Attributes:
        batches: function of (start, stop) that returns an iterator over the batches of the steps
            start..stop-1, a pure function of the step; the iterator is closed after use.
        augment: function of a batch on the training device that returns the augmented batch; the identity
            where the batches are augmented already.
        validation: function that returns all validation batches in order.
    """

    batches: Callable[[int, int], Iterator[Batch]]
    augment: Callable[[Batch], Batch]
    validation: Callable[[], Iterator[Batch]]


def training_data(
    shards: ShardSet, config: TrainingConfig, augmentation: AugmentationConfig, fabric: Fabric
) -> TrainingData:
    """Return the batches of a training.

    On a CPU they are augmented in the loader's threads. For a GPU the threads draw the random amounts only.

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

    def with_amounts(batch: Batch, number: int) -> Batch:
        amounts = record_amounts(batch, augmentation, batch_generator(seed, number))
        return replace(batch, amounts=amounts).pinned()

    def augmented_on_device(batch: Batch) -> Batch:
        assert batch.amounts is not None
        return augment_recorded(batch, augmentation, batch.amounts)

    def validation_batches() -> Iterator[Batch]:
        return in_order(validation, size, limit=config.validation_frames)

    on_cpu = fabric.device.type == "cpu"
    loader = Loader(
        training,
        size,
        seed,
        workers=config.loader_threads,
        finish=augmented if on_cpu else with_amounts,
        ranks=ranks,
    )
    augment_batch = (lambda batch: batch) if on_cpu else augmented_on_device
    return TrainingData(loader.batches, augment_batch, validation_batches)
