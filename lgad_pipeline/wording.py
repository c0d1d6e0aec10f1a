"""Numbers and sizes as words of messages."""

from collections import Counter
from collections.abc import Iterable, Sequence


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as `1 line` or `2 lines`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def size_text(sizes: Iterable[Sequence[int]]) -> str:
    """Format frame sizes: "1640 x 590 px", or the two most frequent of several.

    Args:
        sizes: sizes (H, W) of the frames, pixels.
    """
    counts = Counter((int(height), int(width)) for height, width in sizes)
    named = [f"{width} x {height}" for (height, width), _ in counts.most_common(2)]
    return " or ".join(named) + " px" + (" and others" if len(counts) > 2 else "")
