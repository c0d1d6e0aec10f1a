"""Which processes are alive, and that one alone trains a network."""

import fcntl
import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import dagster as dg


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; wait while another one does. A process that dies lets go."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def orphaned() -> bool:
    """Whether the process that started this one for a step of a run has died, and nobody listens any more."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def has_ended(instance: "dg.DagsterInstance", run_id: str) -> bool:
    """Whether a run is over in Dagster's eyes, while a process still works on it.

    So it is with a run that was cancelled by force, because the code server that had launched it is gone.
    """
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def alive(pid: int, seen: float) -> bool:
    """Whether the process that had an id at a time (seconds since 1970) still runs on this machine.

    A younger process that got the same id, after a restart of the machine for instance, is another one.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return True  # no /proc here: the id is all there is to go by
    started = time.time() - uptime + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return fields[0] != "Z" and started <= seen + 1
