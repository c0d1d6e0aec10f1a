"""Types of the callbacks that report the progress of long computations."""

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called as progress(items done, items in total), after every item or group of items."""

ProgressText = Callable[[str], None]
"""Called with a sentence about what has been done, or is done next."""
