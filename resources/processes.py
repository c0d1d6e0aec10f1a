"""Identity and life of processes on this machine, and locks of folders among them."""

import fcntl
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

if TYPE_CHECKING:
    import dagster as dg

HOST_TAG = "lgad/host"
"""Tag of runs that no launcher started: name of the machine that their process is on."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")
_HAS_BOOT_CLOCK = hasattr(time, "CLOCK_BOOTTIME")
_ROUNDING_SECONDS = 2.0  # the machine's start is known to the second
_CLOCK_SECONDS = 60.0  # steps of the clock up to this do not make a process look younger than it is


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Lock a folder for this process; wait while another one holds it. A process that dies releases it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def orphaned() -> bool:
    """Return True if the process that started this one for a step of a run has died."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def has_ended(instance: "dg.DagsterInstance", run_id: str) -> bool:
    """Return True if Dagster says that a run is over, although a process still works on it.

    That happens to a run that was cancelled by force, because the code server that launched it is gone.
    """
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


class ProcessId(NamedTuple):
    """Identity of a process of this machine, which no other process ever has.

    Attributes:
        pid: Process id; after the process has ended, another one may get it.
        started: Seconds from the machine's start to the process's; steps of the clock do not change it.
        boot: Identity of the machine's start; empty where the system has none.
    """

    pid: int
    started: float
    boot: str

    def same(self, other: "ProcessId") -> bool:
        """Return True if both are the same process."""
        return self[::2] == other[::2] and abs(self.started - other.started) < _ROUNDING_SECONDS


def process_id(pid: int) -> ProcessId | None:
    """Return the identity of the process that has an id now; None if there is none, or if it is a zombie."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        started = process.create_time() - psutil.boot_time()
    except psutil.NoSuchProcess:
        return None
    return ProcessId(pid, started, _BOOT.read_text().strip() if _BOOT.is_file() else "")


def alive(pid: int, seen: float, known: ProcessId | None = None) -> bool:
    """Return True if the process that had an id at some time still runs on this machine.

    Args:
        pid: Process id.
        seen: When the process had it, seconds since 1970.
        known: Identity of the process, where it is on record. Without it, a process that is more than a
            minute younger than `seen` is another one; with it, steps of the clock have no influence.
    """
    found = process_id(pid)
    if found is None or known is not None:
        return found is not None and known is not None and known.same(found)
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - found.started if _HAS_BOOT_CLOCK else float("inf")
    return age + _CLOCK_SECONDS >= time.time() - seen
