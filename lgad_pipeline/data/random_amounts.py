"""Random amounts of the augmentation of a batch: drawn on the CPU, used on any device.

The amounts are drawn in the order in which the changes ask for them. `RandomAmounts` draws and returns them;
a recording of it is one tensor that is copied to a GPU at once, where `RecordedAmounts` returns the same
amounts in the same order.
"""

from typing import NamedTuple, Protocol

import numpy as np
import torch

from lgad_pipeline.data.share import WHOLE, Share


class Recording(NamedTuple):
    """All amounts that were drawn for one batch.

    Attributes:
        amounts: amounts of every frame in the order of the draws, float32 (B, K).
        field: Gaussian random field, float32 (values,); empty without noise.
    """

    amounts: torch.Tensor
    field: torch.Tensor


class Amounts(Protocol):
    """Source of random amounts for a batch of `size` frames."""

    size: int
    device: torch.device

    def chosen(self, probability: float) -> torch.Tensor:
        """Return the mask of the frames to change, bool (B,)."""
        ...

    def amount(self, low: float, high: float, channels: int = 1) -> torch.Tensor:
        """Return a uniform amount for each frame and channel, float32 (B, channels, 1, 1)."""
        ...

    def index(self, count: int) -> torch.Tensor:
        """Return a uniform integer 0..count - 1 for each frame, int64 (B,)."""
        ...

    def normal(self, values: int) -> torch.Tensor:
        """Return one Gaussian random field, float32 (values,)."""
        ...


def batch_generator(seed: int, step: int) -> torch.Generator:
    """Create the random generator, on the CPU, for the augmentation of the batch of one step."""
    low, high = np.random.SeedSequence([seed, step]).generate_state(2)
    return torch.Generator().manual_seed(int(high >> 1) << 32 | int(low))


class RandomAmounts:
    """Amounts from a random generator on the CPU; they are recorded.

    Args:
        size: number of frames of this process.
        generator: random generator on the CPU.
        share: part of the batch that these frames are; the amounts are drawn for the whole batch.
    """

    def __init__(self, size: int, generator: torch.Generator, *, share: Share = WHOLE) -> None:
        self.size, self.generator, self.device = size, generator, torch.device("cpu")
        self._share, self._total = share, size * share.count
        self._amounts: list[torch.Tensor] = []
        self._field = torch.empty(0)

    def chosen(self, probability: float) -> torch.Tensor:
        """Draw the frames to change, bool (B,)."""
        chosen = self._share.of(torch.rand(self._total, generator=self.generator)) < probability
        self._amounts.append(chosen.float()[:, None])
        return chosen

    def amount(self, low: float, high: float, channels: int = 1) -> torch.Tensor:
        """Draw an amount for each frame and channel, float32 (B, channels, 1, 1)."""
        drawn = self._share.of(torch.rand(self._total, channels, 1, 1, generator=self.generator))
        drawn = drawn * (high - low) + low
        self._amounts.append(drawn.flatten(1))
        return drawn

    def index(self, count: int) -> torch.Tensor:
        """Draw an integer 0..count - 1 for each frame, int64 (B,); count is at most 2^24."""
        drawn = self._share.of(torch.randint(count, (self._total,), generator=self.generator))
        self._amounts.append(drawn.float()[:, None])  # exact below 2^24
        return drawn

    def normal(self, values: int) -> torch.Tensor:
        """Draw one Gaussian random field, float32 (values,)."""
        self._field = torch.randn(values, generator=self.generator)
        return self._field

    def recording(self) -> Recording:
        """Return all amounts that were drawn so far."""
        return Recording(torch.cat([torch.empty(self.size, 0), *self._amounts], dim=1), self._field)


class RecordedAmounts:
    """Amounts of a recording, in the order in which they were drawn.

    Args:
        recording: recording on the device of the batch.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording, self._next = recording, 0
        self.size, self.device = len(recording.amounts), recording.amounts.device

    def chosen(self, probability: float) -> torch.Tensor:
        """Return the next mask, bool (B,)."""
        return self._columns(1)[:, 0] > 0.5

    def amount(self, low: float, high: float, channels: int = 1) -> torch.Tensor:
        """Return the next amounts, float32 (B, channels, 1, 1)."""
        return self._columns(channels)[:, :, None, None]

    def index(self, count: int) -> torch.Tensor:
        """Return the next integers, int64 (B,)."""
        return self._columns(1)[:, 0].long()

    def normal(self, values: int) -> torch.Tensor:
        """Return the random field, float32 (values,)."""
        return self._recording.field

    def _columns(self, count: int) -> torch.Tensor:
        first, self._next = self._next, self._next + count
        return self._recording.amounts[:, first : self._next]
