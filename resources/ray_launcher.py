"""Launcher of one training on a Ray cluster, by Ray Train; run as `python -m resources.ray_launcher`.

With a store (`store` in lgad.yaml), each machine has a state folder of its own, LGAD_STATE, which is filled
from the store. Without one, every process reads the shards and the training's directory at the paths of the
job file, so the machines of the cluster need a directory that all of them share.
"""

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lgad_pipeline.config.store_address import below
from lgad_pipeline.console import fail
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.job import TrainingJob, read_job
from lgad_pipeline.training.job_log import JobLog
from lgad_pipeline.training.torchrun import follow_parent
from resources.paths import ProjectPaths
from resources.ray_worker import Messages, train_on_worker

_POLL_SECONDS = 0.5
_START_SECONDS = "600"  # for the processes of a training, which import torch
PATHS = TypeAdapter(ProjectPaths)


def require_ray() -> None:
    """Check that Ray is installed.

    Raises:
        LgadError: it is not.
    """
    if find_spec("ray") is None:
        raise LgadError(
            "The launcher ray needs Ray, which is not installed; run `pip install 'lgad-pipeline[ray]'`, or "
            "set trainer.launcher in lgad.yaml to torchrun."
        )


def connect(address: str) -> Any:
    """Connect to a Ray cluster, and return the module `ray`.

    Raises:
        LgadError: Ray is not installed, or the cluster cannot be reached.
    """
    require_ray()
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_SECONDS)
    import ray  # pyright: ignore[reportMissingImports]

    try:
        ray.init(address=address, logging_level="warning", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LgadError(
            f"The Ray cluster at {address!r} cannot be reached ({_first_line(error)}); start it with "
            "`ray start`, or correct trainer.ray.address in lgad.yaml."
        ) from error
    return ray


def train_on_cluster(
    job: TrainingJob, paths: ProjectPaths, *, address: str, devices: int, cpus: int, failures: int
) -> None:
    """Run a job on a Ray cluster and wait for its end; the job's log gets its metrics and its end.

    Args:
        job: the training.
        paths: paths of the recipe on the data set, on this machine.
        address: address of the cluster.
        devices: number of processes, each with one GPU or with `cpus` cores.
        cpus: number of CPU cores of each process.
        failures: number of times that the training is continued after a process was lost.

    Raises:
        LgadError: the cluster cannot be reached, or is too small.
    """
    ray = connect(address)
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]
    from ray.train.torch import TorchTrainer  # pyright: ignore[reportMissingImports]

    gpus = ray.cluster_resources().get("GPU", 0)
    use_gpu = job.device == "cuda" or (job.device == "auto" and gpus >= devices)
    _require_resources(ray.cluster_resources(), devices, cpus, use_gpu)
    job = job.model_copy(update={"device": "cuda" if use_gpu else "cpu"})
    with _messages(job.log) as messages, _storage(paths, job) as storage:
        trainer = TorchTrainer(
            train_on_worker,
            train_loop_config={
                "job": job.model_dump_json(),
                "paths": PATHS.dump_json(paths).decode(),
                "messages": messages,
            },
            scaling_config=ScalingConfig(
                num_workers=devices,
                use_gpu=use_gpu,
                resources_per_worker={"CPU": cpus, **({"GPU": 1} if use_gpu else {})},
            ),
            run_config=RunConfig(
                name="training", failure_config=FailureConfig(max_failures=failures), **storage
            ),
        )
        trainer.fit()


@contextmanager
def _messages(log: Path) -> Iterator[Any]:
    """Start the actor that passes log entries from the processes here, and a request to stop to them."""
    import ray  # pyright: ignore[reportMissingImports]
    from ray.util.scheduling_strategies import (  # pyright: ignore[reportMissingImports]
        NodeAffinitySchedulingStrategy,
    )

    near = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    messages = ray.remote(Messages).options(num_cpus=0, scheduling_strategy=near).remote()
    job_log, stop, done = JobLog(log), threading.Event(), threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stop.set())

    def pass_on() -> None:
        for entry in ray.get(messages.take.remote(stop.is_set())):
            job_log.append(entry)

    def poll() -> None:
        while not done.wait(_POLL_SECONDS):
            pass_on()

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    try:
        yield messages
    finally:
        done.set()
        thread.join()
        pass_on()


@contextmanager
def _storage(paths: ProjectPaths, job: TrainingJob) -> Iterator[dict[str, Any]]:
    """Yield the place of Ray's own files during a training; they are removed at its end."""
    if paths.results is None:
        folder = job.plan.folder / ".ray"
        try:
            yield {"storage_path": str(folder)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    from lgad_pipeline.object_store import ObjectStore

    name = f"ray/{paths.dataset}/{paths.recipe}/{job.plan.folder.name}"
    store = ObjectStore(below(paths.results, name), setting="store")
    store.write("started", b"")
    try:
        yield {"storage_path": store.path, "storage_filesystem": store.filesystem}
    finally:
        store.filesystem.delete_dir(store.path)


def _require_resources(cluster: dict[str, float], devices: int, cpus: int, use_gpu: bool) -> None:
    """Check that the whole cluster has the resources of a training; Ray would wait for them for ever."""
    needed = {"CPU": devices * cpus, **({"GPU": devices} if use_gpu else {})}
    for name, count in needed.items():
        if cluster.get(name, 0) < count:
            raise LgadError(
                f"The training needs {count} {name}s, but the Ray cluster has {cluster.get(name, 0):.0f}; "
                "lower trainer.devices or trainer.ray.cpus in lgad.yaml, or add machines."
            )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def main() -> int:
    """Run the job of the command line."""
    follow_parent()
    parser = argparse.ArgumentParser(prog="python -m resources.ray_launcher")
    parser.add_argument("job", type=Path)
    parser.add_argument("paths", type=PATHS.validate_json)
    parser.add_argument("--address", default="auto")
    for name in ("devices", "cpus", "failures"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = vars(parser.parse_args())
    job = read_job(options.pop("job"))
    try:
        train_on_cluster(job, options.pop("paths"), **options)
    except LgadError as error:
        JobLog(job.log).append({"error": str(error)})
        fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
