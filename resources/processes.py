"""Processes of this machine: their identity, and tests if one still runs."""

import multiprocessing
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    import dagster as dg

HOST_TAG = "lgad/host"
"""Tag of runs that no launcher started: name of the machine that their process is on."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_HAS_BOOT_CLOCK = hasattr(time, "CLOCK_BOOTTIME")
_ROUNDING_SECONDS = 2.0  # the start of the machine is known to the second
_CLOCK_SECONDS = 60.0  # a change of the clock by up to this much does not make a process look younger


def orphaned() -> bool:
    """Return True if the process that started this one for a step of a run has died."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def has_ended(instance: "dg.DagsterInstance", run_id: str) -> bool:
    """Return True if Dagster lists a run as ended, although a process still works on it.

    This happens to a run that was cancelled by force after the code server that launched it had ended.
    """
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


class ProcessId(NamedTuple):
    """Unique identity of a process of this machine.

    Attributes:
        pid: Process id; after the process has ended, another process may get it.
        started: Seconds from the start of the machine to the start of the process; it does not depend on
            the clock.
        boot: Identity of the start of the machine; empty where the system has none.
    """

    pid: int
    started: float
    boot: str

    def same(self, other: "ProcessId") -> bool:
        """Return True if both are the same process."""
        return self[::2] == other[::2] and abs(self.started - other.started) < _ROUNDING_SECONDS


def process_id(pid: int) -> ProcessId | None:
    """Return the identity of the running process with this id; None if there is none or it is a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        started = process.create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return None
    return ProcessId(pid, started, _BOOT.read_text().strip() if _BOOT.is_file() else "")


def alive(pid: int, seen: float, *, known: ProcessId | None = None) -> bool:
    """Return True if the process that had an id at an earlier time still runs on this machine.

    Args:
        pid: Process id.
        seen: Time at which the process had this id, seconds since 1970.
        known: Identity of the process if it was recorded; the clock then has no influence. Without it, a
            process that started more than a minute after `seen` is another process.
    """
    identity = process_id(pid)
    if identity is None or known is not None:
        return identity is not None and known is not None and known.same(identity)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - identity.started if _HAS_BOOT_CLOCK else float("inf")
    return age + _CLOCK_SECONDS >= time.time() - seen
