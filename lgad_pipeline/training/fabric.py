"""Devices and precision of a training: one process on one device, or several processes on one device each."""

import logging

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import SLURMEnvironment, TorchElasticEnvironment  # type: ignore[attr-defined]
from lightning_fabric.strategies import DDPStrategy  # type: ignore[attr-defined]

from lgad_pipeline.training.device import ResolvedPrecision
from lgad_pipeline.training.processes import TIMEOUT, environment_processes

# Its advice on precision is not for settings that are chosen here.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def build_fabric(device: torch.device, precision: ResolvedPrecision) -> Fabric:
    """Return the Fabric of a training, launched: as many processes as torchrun, Ray Train or srun started.

    Args:
        device: device of this process.
        precision: precision of the training.

    Raises:
        LgadError: another program started several processes.
    """
    processes = environment_processes()
    if processes.count == 1:
        devices = 1 if device.index is None else [device.index]
        return Fabric(accelerator=device.type, devices=devices, precision=precision)
    slurm = processes.started_by == "srun"
    strategy = DDPStrategy(
        cluster_environment=SLURMEnvironment(auto_requeue=False) if slurm else _Torchrun(),
        timeout=TIMEOUT,
        gradient_as_bucket_view=True,
    )
    fabric = Fabric(
        accelerator=device.type,
        devices=processes.local_count,
        num_nodes=max(1, processes.count // processes.local_count),
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric


class _Torchrun(TorchElasticEnvironment):
    """Processes with the variables of torchrun, also where machines have different numbers of them."""

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Accept every number of processes: Fabric expects as many on every machine, but does not need it."""
