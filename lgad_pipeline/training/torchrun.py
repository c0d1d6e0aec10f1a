"""Start of one training on several devices of this machine, by torchrun, and its observation.

`python -m lgad_pipeline.training.torchrun PROCESSES JOB` is torchrun with quiet errors, for the launcher.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lgad_pipeline.child_process import end_with_parent
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.device_lease import DeviceLease
from lgad_pipeline.training.job_log import JobLogReader
from lgad_pipeline.training.stop import StopRequest, TrainingStopped

PARENT = "LGAD_PARENT_PROCESS"
"""Environment variable: id of the process that started this one and with which it ends."""
_POLL_SECONDS = 0.2
_STOP_SECONDS = 120.0  # for one step and one checkpoint


def start_torchrun(job: Path, lease: DeviceLease, processes: int) -> subprocess.Popen[bytes]:
    """Start the processes of a job on this machine.

    Args:
        job: job file.
        lease: devices of the training; the processes hold the lease, too.
        processes: number of processes, one per device.
    """
    return start_module("lgad_pipeline.training.torchrun", str(processes), str(job), lease=lease)


def start_module(module: str, *arguments: str, lease: DeviceLease | None = None) -> subprocess.Popen[bytes]:
    """Start `python -m module` as the leader of its own process group; it ends with this process.

    Args:
        module: name of the module; it calls `follow_parent` first.
        arguments: arguments of the module.
        lease: devices of the process and its children; None for all.
    """
    environment = lease.environment if lease else {}
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=os.environ | environment | {PARENT: str(os.getpid())},
        pass_fds=lease.descriptors if lease else (),
        start_new_session=True,
    )


def follow_parent() -> None:
    """Let this process get SIGTERM when the process that started it ends; its children do the same."""
    parent = os.environ.get(PARENT)
    if parent is not None:
        end_with_parent(int(parent), signal.SIGTERM)
        os.environ[PARENT] = str(os.getpid())


def observe(
    process: subprocess.Popen[bytes],
    reader: JobLogReader,
    *,
    log: Callable[[dict[str, float], int], object],
    stop: StopRequest | None = None,
) -> dict[str, Any]:
    """Pass the metrics of a job on until its process ends; an exception of `log` stops the job.

    Args:
        process: process of the job, from `start_module`.
        reader: reader of the job's log, which was opened before the process was started.
        log: function that is called with the metrics and the step.
        stop: function that returns True when the job should save its checkpoint and stop.

    Returns:
        The last entry of a training that is finished.

    Raises:
        LgadError: the training failed with this error.
        TrainingStopped: the training saved its checkpoint and stopped.
        RuntimeError: the process ended without a result, for instance because it was killed.
    """
    ends: dict[str, Any] = {}
    asked, ended = False, False
    try:
        while not ended:
            ended = process.poll() is not None  # first, so that the last entries are read afterwards
            for entry in reader.entries():
                if "metrics" in entry:
                    log(entry["metrics"], entry["step"])
                else:
                    ends = entry | ends  # of several processes, the first to report is the cause
            if not asked and stop is not None and stop():
                asked = True
                process.terminate()
            if not ended:
                time.sleep(_POLL_SECONDS)
    finally:
        _end(process)
    if "error" in ends:
        raise LgadError(str(ends["error"]))
    if "stopped" in ends:
        raise TrainingStopped(int(ends["stopped"]))
    if process.returncode or "finished" not in ends:
        raise RuntimeError(
            f"The process of the training ended with exit code {process.returncode} and no result; "
            "its output has the reason. The next attempt resumes from the checkpoint."
        )
    return ends


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and its children: SIGTERM, and SIGKILL if that does not end it."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Run torchrun for a job; a failure ends it with the exit code of the process that failed first."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    follow_parent()
    # The processes report their errors themselves, in one sentence; torchrun would add a page to each.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    processes, job = sys.argv[1:]
    try:
        torchrun(["--standalone", "--nproc-per-node", processes, "-m", "lgad_pipeline.training", job])
    except ChildFailedError as error:
        sys.exit(error.get_first_failure()[1].exitcode)
    except SignalException as error:
        sys.exit(128 + error.sigval)


if __name__ == "__main__":
    main()
