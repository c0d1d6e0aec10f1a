"""Types of the callbacks that report the progress of long computations."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as progress(items done, items in total), after every item or group of items."""

ProgressText = Callable[[str], None]
"""Called with a sentence about what has been done, or is done next."""


def part_of(progress: Progress | None, offset: int, *, total: int) -> Progress | None:
    """Return the callback of a part of the work, which reports the progress of the whole.

    Args:
        progress: callback of the whole; None for none.
        offset: items that are done before this part.
        total: items of the whole.
    """
    if progress is None:
        return None
    return lambda done, _: progress(min(offset + done, total), total)
