"""Devices and precision of a training: one process on one device, or several processes on one device each."""

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.device import ResolvedPrecision
from lgad_pipeline.training.processes import TIMEOUT, environment_processes


def build_fabric(device: torch.device, precision: ResolvedPrecision) -> Fabric:
    """Return the Fabric of a training, launched: as many processes as torchrun, Ray Train or srun started.

    Args:
        device: device of this process.
        precision: precision of the training.

    Raises:
        LgadError: the machines have different numbers of processes, or another program started the processes.
    """
    processes = environment_processes()
    if processes.count == 1:
        devices = 1 if device.index is None else [device.index]
        return Fabric(accelerator=device.type, devices=devices, precision=precision)
    if processes.count % processes.local_count:
        raise LgadError(
            f"{processes.count} processes cannot be {processes.local_count} on each machine; "
            "start the same number of processes on every machine."
        )
    slurm = processes.started_by == "srun"
    strategy = DDPStrategy(
        cluster_environment=SLURMEnvironment(auto_requeue=False) if slurm else TorchElasticEnvironment(),
        timeout=TIMEOUT,
        gradient_as_bucket_view=True,
    )
    fabric = Fabric(
        accelerator=device.type,
        devices=processes.local_count,
        num_nodes=processes.count // processes.local_count,
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric
