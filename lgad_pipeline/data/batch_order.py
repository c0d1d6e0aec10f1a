"""Order of the frames in the batches of a training: a pure function of (seed, step)."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

_EPOCHS = 2
"""Number of epochs whose order is kept in memory: the batches in advance reach into the next one."""


class BatchOrder:
    """Frames of every batch: each epoch has every frame once, in an order seeded by (seed, epoch).

    Batches are always full: a batch that reaches the end of an epoch continues with the next, so a split can
    be smaller than a batch.
    """

    def __init__(self, rows: Sequence[int], batch_size: int, *, seed: int, window: int | None = None) -> None:
        """Set up the order without computing it.

        Args:
            rows: number of frames of each shard file, in the order of the split.
            batch_size: number of frames in a batch.
            seed: seed of the order.
            window: number of shard files whose frames are mixed at a time, see `mixed_order`; None, or the
                number of all files, for a permutation of all frames.
        """
        self._rows = np.asarray(rows, dtype=np.int64)
        self._count, self._batch_size, self._seed = int(self._rows.sum()), batch_size, seed
        self.window = window if window is not None and window < len(self._rows) else None
        self._order = lru_cache(_EPOCHS)(self._order_of)

    def indices(self, step: int) -> np.ndarray:
        """Return the indices of the frames in the batch of a step, from 0: int64 (batch_size,)."""
        positions = np.arange(self._batch_size, dtype=np.int64) + step * self._batch_size
        epochs, places = np.divmod(positions, self._count)
        parts = [self._order(int(epoch))[places[epochs == epoch]] for epoch in np.unique(epochs)]
        return np.concatenate(parts)

    def _order_of(self, epoch: int) -> np.ndarray:
        generator = np.random.default_rng([self._seed, epoch])
        if self.window is None:
            return generator.permutation(self._count)
        return mixed_order(self._rows, self.window, generator)


def mixed_order(rows: np.ndarray, window: int, generator: np.random.Generator) -> np.ndarray:
    """Draw an order of frames that reads from few shard files at a time: int64 (frames,).

    The files get random places one after the other. Each frame moves from the place of its file by up to
    half a window to either side, and is reflected at both ends of the epoch, so that every part of the epoch
    is equally dense. At any time, frames of at most `window` + 1 files are read, and each file is read
    during one stretch of the epoch.

    Args:
        rows: number of frames of each file, int64 (files,).
        window: number of files whose frames are mixed, less than the number of files.
        generator: generator of the random numbers.
    """
    count = len(rows)
    middles = np.repeat(generator.permutation(count) + 0.5, rows)
    wanted = middles + window * (generator.random(len(middles)) - 0.5)
    reflected = count - np.abs(count - np.abs(wanted))
    return np.argsort(reflected, kind="stable")
