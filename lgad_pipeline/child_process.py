"""Child processes that end when their parent does."""

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """Ask Linux to send a signal to this process when its parent ends for any reason, SIGKILL included.

    Args:
        parent: process id of the parent, as the parent knows it.
        number: number of the signal.
    """
    if os.name == "posix" and hasattr(ctypes.CDLL(None), "prctl"):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # the parent ended before the line above
        os.kill(os.getpid(), number)
