"""Dagster resource that trains networks: in the process of the step, or on several devices by a launcher."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import dagster as dg
from pydantic import Field

from lgad_pipeline.config.trainer import TrainerConfig
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import Dataset, Recipe
from resources.paths import ProjectPaths, fetch_shards
from resources.state_store import fetch_results, publish_initial

if TYPE_CHECKING:
    from subprocess import Popen

    from lgad_pipeline.training.job import TrainingJob
    from lgad_pipeline.training.plan import TrainingPlan
    from lgad_pipeline.training.training_folder import TrainingResult

Log = Callable[[dict[str, float], int], None]


class Trainer(dg.ConfigurableResource):
    """Trainer of the networks, set by the key `trainer` of lgad.yaml; the launchpad can change it."""

    launcher: Literal["in_process", "torchrun", "ray"] = Field(
        default="in_process",
        description="in_process: in the process of the step, on one device. torchrun: on several devices of "
        "this machine. ray: on devices of a Ray cluster.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one, else the CPU."
    )
    devices: int = Field(default=1, ge=1, description="Number of devices of one training.")
    ray_address: str = Field(default="auto", description="Address of the Ray cluster.")
    ray_cpus: int = Field(default=1, ge=1, description="CPU cores of each process on the Ray cluster.")
    ray_failures: int = Field(
        default=3, ge=0, description="Times that a training continues after a process was lost."
    )

    @classmethod
    def of_settings(cls, config: TrainerConfig) -> Self:
        """Return the trainer that lgad.yaml describes."""
        return cls(
            launcher=config.launcher,
            device=config.device,
            devices=config.devices,
            ray_address=config.ray.address,
            ray_cpus=config.ray.cpus,
            ray_failures=config.ray.failures,
        )

    @contextmanager
    def leased_device(self) -> Iterator[str]:
        """Lease one device of this machine, wait for it, and yield its name for torch."""
        from lgad_pipeline.training.device_lease import lease_devices
        from lgad_pipeline.training.threads import torch_threads

        waiting = dg.get_dagster_logger().info
        with lease_devices(self.device, waiting=waiting) as lease, torch_threads(lease.threads):
            yield lease.device

    @contextmanager
    def prediction_device(self) -> Iterator[str]:
        """Yield the device of predictions: a leased one of this machine, or the choice of the tasks."""
        if self.launcher == "ray":
            yield self.device
            return
        with self.leased_device() as device:
            yield device

    @contextmanager
    def tasks(self, paths: ProjectPaths, *inputs: str, gpu: bool = False) -> Iterator[None]:
        """Let the parts of a work be tasks of the Ray cluster, with the launcher `ray`.

        Args:
            paths: paths of the data set, or of the recipe on it; the same on all machines.
            inputs: assets that the tasks read; each machine fetches them from the store, if there is one.
            gpu: True for tasks that use a GPU if the cluster has any.
        """
        if self.launcher != "ray":
            yield
            return
        from resources.ray_tasks import tasks_on_cluster

        prepare = partial(fetch_results, paths, *inputs)
        with tasks_on_cluster(self.ray_address, cpus=self.ray_cpus, prepare=prepare, gpu=gpu):
            yield

    def teacher(self, dataset: Dataset, recipe: Recipe, paths: ProjectPaths, log: Log) -> "TrainingResult":
        """Train the network that reproduces label maps."""
        from lgad_pipeline.training.plan import TrainingPlan

        plan = TrainingPlan.from_recipe(
            recipe,
            role="teacher",
            image_size=dataset.image_size,
            slots=dataset.slots,
            shards=fetch_shards(paths),
            folder=paths.teacher,
        )
        return self._train(plan, paths, log)

    def student(
        self, dataset: Dataset, recipe: Recipe, paths: ProjectPaths, log: Log, *, teacher: Path | None
    ) -> "TrainingResult":
        """Train a student, alone (`teacher` is None) or with the attention maps of a trained teacher."""
        from lgad_pipeline.training.plan import TrainingPlan

        plan = TrainingPlan.from_recipe(
            recipe,
            role="student",
            image_size=dataset.image_size,
            slots=dataset.slots,
            lane_types=dataset.lane_types,
            shards=fetch_shards(paths),
            folder=paths.student_lgad if teacher else paths.student_alone,
            method="lgad" if teacher else "alone",
            teacher=teacher,
        )
        return self._train(plan, paths, log)

    def _train(self, plan: "TrainingPlan", paths: ProjectPaths, log: Log) -> "TrainingResult":
        """Train what a plan describes, where the launcher says."""
        from lgad_pipeline.training.job import TrainingJob
        from lgad_pipeline.training.trainer import train

        if self.launcher == "in_process" and self.devices > 1:
            raise LgadError(
                f"The launcher in_process trains on one device, not on {self.devices}; "
                "set launcher to torchrun or ray."
            )
        if self.launcher == "in_process":
            with self.leased_device() as device:
                return train(plan, log=log, device=device)
        if self.launcher == "ray" and plan.init is not None:
            publish_initial(paths, plan.init)
        job = TrainingJob.of_plan(plan, self.device)
        return self._observed(job, paths, log)

    def _observed(self, job: "TrainingJob", paths: ProjectPaths, log: Log) -> "TrainingResult":
        """Run a job in other processes; pass its metrics on, and stop it if `log` raises an exception."""
        from lgad_pipeline.training.device_lease import lease_devices
        from lgad_pipeline.training.job_log import JobLogReader
        from lgad_pipeline.training.torchrun import observe, start_torchrun
        from lgad_pipeline.training.training_folder import read_result

        path, reader = job.write(), JobLogReader(job.log)
        if self.launcher == "ray":
            end = observe(self._start_on_ray(path, paths), reader, log=log)
            fetch_results(paths, job.plan.folder.name)
        else:
            with lease_devices(self.device, self.devices, waiting=dg.get_dagster_logger().info) as lease:
                end = observe(start_torchrun(path, lease, self.devices), reader, log=log)
        return read_result(job.plan.folder, reused=bool(end.get("reused")))

    def _start_on_ray(self, job: Path, paths: ProjectPaths) -> "Popen[bytes]":
        from lgad_pipeline.training.torchrun import start_module
        from resources.ray_launcher import PATHS, require_ray

        require_ray()
        return start_module(
            "resources.ray_launcher",
            str(job),
            PATHS.dump_json(paths).decode(),
            *("--address", self.ray_address),
            *("--devices", str(self.devices)),
            *("--cpus", str(self.ray_cpus)),
            *("--failures", str(self.ray_failures)),
        )
