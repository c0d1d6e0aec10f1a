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
from lgad_pipeline.data.share import Share
from lgad_pipeline.errors import LgadError


@dataclass(frozen=True)
class TrainingData:
    """Sources of the batches of a training.

    Attributes:
        batches: function of (start, stop) that returns an iterator over the batches of the steps
            start..stop-1, a pure function of the step; the iterator is closed after use.
        augment: function of a batch on the training device that returns the augmented batch; the identity
            where the batches are augmented already.
        validation: function that returns the validation batches of this process.
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
        LgadError: the split train or val is missing, the processes cannot have equal parts of a batch, or the
            frames do not fit the cache of streamed shards.
    """
    training, validation = shards["train"], shards["val"]
    size, seed, share = config.batch_size, config.seed, Share(fabric.global_rank, fabric.world_size)
    if size % (share.count * config.accumulation):
        raise LgadError(
            f"batch_size {size} cannot be divided equally among {share.count} processes"
            f"{f' and {config.accumulation} parts (accumulation)' if config.accumulation > 1 else ''}; "
            "change it or the number of devices."
        )

    def augmented(batch: Batch, step: int) -> Batch:
        return augment(batch, augmentation, batch_generator(seed, step), share=share)

    def with_amounts(batch: Batch, step: int) -> Batch:
        amounts = record_amounts(batch, augmentation, batch_generator(seed, step), share=share)
        return replace(batch, amounts=amounts).pinned()

    def augmented_on_device(batch: Batch) -> Batch:
        assert batch.amounts is not None
        return augment_recorded(batch, augmentation, batch.amounts)

    def validation_batches() -> Iterator[Batch]:
        return in_order(validation, size, limit=config.validation_frames, share=share)

    on_cpu = fabric.device.type == "cpu"
    loader = Loader(
        training,
        size,
        seed=seed,
        window=config.shuffle_window,
        workers=config.loader_threads,
        finish=augmented if on_cpu else with_amounts,
        share=share,
    )
    augment_batch = (lambda batch: batch) if on_cpu else augmented_on_device
    return TrainingData(loader.batches, augment_batch, validation_batches)
