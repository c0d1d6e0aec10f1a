"""Settings of the devices that trainings run on; they are not part of a training's fingerprint."""

from typing import Literal, Self

from pydantic import Field, model_validator

from lgad_pipeline.config.base import BaseConfig


class RayConfig(BaseConfig):
    """Ray cluster of the launcher `ray`.

    Attributes:
        address: address of the cluster: `auto` for the one that this machine belongs to, or `host:6379`.
        cpus: number of CPU cores of each process; the cluster must have as many free on one machine.
        failures: number of times that a training is continued from its checkpoint after a process or a
            machine was lost.
    """

    address: str = "auto"
    cpus: int = Field(default=1, ge=1)
    failures: int = Field(default=3, ge=0)


class TrainerConfig(BaseConfig):
    """Devices of the trainings that Dagster starts, and how their processes are started.

    Attributes:
        launcher: `in_process` trains in the process of the Dagster step, on one device. `torchrun` starts a
            process per device of this machine, `ray` one per device of a Ray cluster.
        device: `auto` for GPUs if there are any, `cuda` or `cpu`.
        devices: number of devices of one training; the batch is divided among them.
        ray: Ray cluster of the launcher `ray`.
    """

    launcher: Literal["in_process", "torchrun", "ray"] = "in_process"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    devices: int = Field(default=1, ge=1)
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _one_process_has_one_device(self) -> Self:
        if self.launcher == "in_process" and self.devices > 1:
            raise ValueError(
                f"the launcher in_process trains on one device, not on {self.devices}; "
                "set launcher to torchrun or ray"
            )
        return self
