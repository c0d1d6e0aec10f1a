"""Label noise: lanes that annotators missed or drew to the side, in the training labels of a study."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from hashlib import blake2b

import numpy as np
import pandas as pd

from lgad_pipeline.config.augmentation import LabelNoiseConfig
from lgad_pipeline.data.shard_split import Item, Sample, ShardSplit
from lgad_pipeline.data.shards import ShardSet


def with_label_noise(shards: ShardSet, config: LabelNoiseConfig) -> ShardSet:
    """Return the data set with noisy labels in its training split; the other splits stay as they are."""
    splits = {**shards.splits, "train": NoisySplit(shards["train"], config)}
    text = f"{shards.fingerprint} {config.model_dump_json()}"
    return replace(shards, splits=splits, fingerprint=blake2b(text.encode(), digest_size=16).hexdigest())


class NoisySplit(ShardSplit):
    """The frames of a split with noisy labels.

    Args:
        split: Frames with their true labels.
        config: Kinds and amounts of noise.
    """

    def __init__(self, split: ShardSplit, config: LabelNoiseConfig) -> None:
        self._split, self._config = split, config

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> Sample:
        """Decode frame `index` of the split and make its labels noisy."""
        sample = self._split[index]
        label, existence = noisy_label(
            sample.label, sample.existence, frame=sample.frame, config=self._config
        )
        return replace(sample, label=label, existence=existence)

    @property
    def rows(self) -> tuple[int, ...]:
        """Number of frames of each file, in order."""
        return self._split.rows

    @property
    def lane_types(self) -> tuple[str, ...]:
        """Names of the lane types, which stay as they are."""
        return self._split.lane_types

    @property
    def table(self) -> pd.DataFrame:
        """Frame and scenario of every sample, in order."""
        return self._split.table

    def announced(
        self, items: Iterable[Item], indices_of: Callable[[Item], np.ndarray], *, window: int | None
    ) -> Iterator[Item]:
        """Yield the items; their files are downloaded in advance, see `ShardSplit.announced`."""
        return self._split.announced(items, indices_of, window=window)

    def require_order(self, window: int | None) -> None:
        """Check that the frames can be read efficiently, see `ShardSplit.require_order`."""
        self._split.require_order(window)


def noisy_label(
    label: np.ndarray, existence: np.ndarray, *, frame: str, config: LabelNoiseConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy of a label map and its existence flags with lanes missing or moved sideways.

    The noise follows from the seed and the frame alone: a wrong label is wrong in the same way in every epoch
    and for every network. Other amounts of noise leave the draws as they are, so that the lanes that are
    missing at a small probability are missing at a larger one, too.

    Args:
        label: uint8 (H, W), 0 background, slots from 1.
        existence: bool (slots,).
        frame: Path of the image below the data set's root.
        config: Kinds and amounts of noise.
    """
    name = int.from_bytes(blake2b(frame.encode(), digest_size=8).digest(), "big")
    drawn = np.random.default_rng([config.seed, name]).random((3, len(existence)))
    missing, moved = drawn[0] < config.drop, drawn[1] < config.shifted
    steps = np.round((2 * drawn[2] - 1) * config.shift * label.shape[1]).astype(int) * moved
    noisy, flags = np.zeros_like(label), existence & ~missing
    for index in np.flatnonzero(flags):
        before = label == index + 1
        after = _moved(before, int(steps[index]))
        flags[index] = after.any() or not before.any()
        noisy[after] = index + 1
    return noisy, flags


def _moved(mask: np.ndarray, step: int) -> np.ndarray:
    """Return a mask (H, W) moved to the right by `step` columns, to the left if negative."""
    width = mask.shape[1]
    moved = np.zeros_like(mask)
    if step >= 0:
        moved[:, step:] = mask[:, : width - step]
    else:
        moved[:, :step] = mask[:, -step:]
    return moved
