"""`lgad train`: one training that a job file describes, on one device or several.

Modules that load torch are imported inside the function, so that the other commands start quickly.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lgad_pipeline.console import say

if TYPE_CHECKING:
    from lgad_pipeline.training.job import TrainingJob
    from lgad_pipeline.training.stop import StopRequest


def train(
    job: Annotated[Path, typer.Argument(help="Job file, job.json in the directory of a network.")],
    devices: Annotated[
        int, typer.Option(min=1, help="Number of devices; the batch is divided among them.")
    ] = 1,
) -> None:
    """Run the training of a job file; a stopped one is resumed.

    Under torchrun or srun, each of their processes trains on one device. SIGTERM and Ctrl-C finish the step,
    save the checkpoint, and end the command with exit code 143 or 130.
    """
    from lgad_pipeline.training import run_job
    from lgad_pipeline.training.job import read_job
    from lgad_pipeline.training.processes import environment_processes

    if environment_processes().count > 1:
        sys.exit(run_job.main(job))
    description = read_job(job)
    sys.exit(run_job.exit_code_of(lambda stop: _train(description, job, devices, stop)))


def _train(job: "TrainingJob", path: Path, devices: int, stop: "StopRequest") -> None:
    """Lease the devices and train, in this process or in one per device."""
    from lgad_pipeline.training.device_lease import lease_devices
    from lgad_pipeline.training.job_log import JobLogReader
    from lgad_pipeline.training.run_job import run_job
    from lgad_pipeline.training.threads import torch_threads
    from lgad_pipeline.training.torchrun import observe, start_torchrun

    steps = job.plan.config.steps

    def show(metrics: dict[str, float], step: int) -> None:
        values = [f"{name} {metrics[name]:.4f}" for name in ("train/loss", "val/miou") if name in metrics]
        say(f"step {step} of {steps}: {', '.join(values)}")

    with lease_devices(job.device, devices, waiting=say) as lease, torch_threads(lease.threads):
        if devices == 1:
            run_job(job, device=lease.device, stop=stop, show=show)
        else:
            observe(start_torchrun(path, lease, devices), JobLogReader(job.log), log=show, stop=stop)
    say(f"trained network: {job.plan.folder}")
