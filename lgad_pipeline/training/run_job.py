"""Run of a job in this process, which is the only one of the training or one of several."""

import logging
from collections.abc import Callable
from pathlib import Path

from lgad_pipeline.console import fail
from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.training.job import TrainingJob, read_job
from lgad_pipeline.training.job_log import JobLog
from lgad_pipeline.training.loop import MetricsLog
from lgad_pipeline.training.processes import environment_processes
from lgad_pipeline.training.stop import StopRequest, TrainingStopped, stop_signals
from lgad_pipeline.training.torchrun import follow_parent
from lgad_pipeline.training.trainer import train
from lgad_pipeline.training.training_folder import TrainingResult


def run_job(
    job: TrainingJob,
    *,
    device: str | None = None,
    stop: StopRequest | None = None,
    show: MetricsLog | None = None,
    log: JobLog | None = None,
) -> TrainingResult:
    """Run a job's training in this process and write the job's log.

    Args:
        job: the training.
        device: device of this process; None for the job's.
        stop: function that returns True when the training should save its checkpoint and stop.
        show: function that is called with the metrics and the step, too.
        log: log of the job; None for the file that the job names.

    Raises:
        LgadError: see `train`.
        TrainingStopped: `stop` returned True; the checkpoint is saved.
    """
    job_log = log or JobLog(job.log)

    def both(metrics: dict[str, float], step: int) -> None:
        job_log.metrics(metrics, step)
        if show is not None:
            show(metrics, step)

    try:
        result = train(job.plan, log=both, device=device or job.device, stop=stop)
    except TrainingStopped as error:
        if environment_processes().rank == 0:
            job_log.append({"stopped": error.step})
        raise
    except LgadError as error:
        job_log.append({"error": str(error)})
        raise
    if environment_processes().rank == 0:
        job_log.append({"finished": result.fingerprint, "reused": result.reused})
    return result


def exit_code_of(run: Callable[[StopRequest], object]) -> int:
    """Run a function that trains, print its error as one sentence, and return the exit code of the process.

    The exit code is 0, 1 after an error, or 143 after SIGTERM (130 after SIGINT) with a saved checkpoint.

    Args:
        run: function of the stop request.
    """
    with stop_signals() as stop:
        try:
            run(stop.requested)
        except TrainingStopped:
            return stop.exit_code
        except LgadError as error:
            fail(error)
            return 1
        except OSError as error:
            fail(os_fault(error))
            return 1
    return 0


def main(path: Path) -> int:
    """Run the job of a file as one process of its training; return the exit code."""
    follow_parent()
    logging.basicConfig(level=logging.WARNING)
    return exit_code_of(lambda stop: run_job(read_job(path), stop=stop))
