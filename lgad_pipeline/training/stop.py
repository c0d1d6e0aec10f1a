"""Stop of a training by a signal: the step is finished and the checkpoint saved before the process ends."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

StopRequest = Callable[[], bool]
"""Function that returns True when a training should save its checkpoint and stop."""
_SAME_SIGNAL_SECONDS = 1.0


class TrainingStopped(Exception):
    """A training saved its checkpoint and stopped, because it was asked to.

    Args:
        step: number of completed steps.
    """

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped after step {step}; the checkpoint is saved")
        self.step = step


class StopSignal:
    """Record of the first SIGTERM or SIGINT that this process received.

    Attributes:
        number: number of the signal; None before one arrives.
    """

    number: int | None = None

    def requested(self) -> bool:
        """Return True if a signal has arrived."""
        return self.number is not None

    @property
    def exit_code(self) -> int:
        """Exit code of a process that a signal ended: 128 and the number of the signal."""
        return 128 + (self.number or signal.SIGTERM)


@contextmanager
def stop_signals() -> Iterator[StopSignal]:
    """Record SIGTERM and SIGINT inside the context; a later SIGINT ends the process at once.

    A process of torchrun gets each signal twice: from the scheduler or the terminal, and from torchrun.

    It has to be used in the main thread of the process.
    """
    stop = StopSignal()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.getsignal(number) for number in numbers}
    first = 0.0

    def record(number: int, frame: object) -> None:
        nonlocal first
        if stop.number is None:
            stop.number, first = number, time.monotonic()
        elif number == signal.SIGINT and time.monotonic() - first > _SAME_SIGNAL_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    for number in numbers:
        signal.signal(number, record)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
