"""Part of each batch that one of several processes computes."""

from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Share(NamedTuple):
    """Every `count`-th frame of a batch, from number `rank` on.

    The shares of all processes together are the batch of a single process. Their first halves are its first
    half, which matters when a batch is computed in parts.

    Attributes:
        rank: number of this process, from 0.
        count: number of processes.
    """

    rank: int = 0
    count: int = 1

    def of(self, values: T) -> T:
        """Return the part of a list, array or tensor, of its first axis."""
        return values[self.rank :: self.count]  # type: ignore[index]


WHOLE = Share()
"""Share of a process that trains alone."""
