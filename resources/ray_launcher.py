"""Launcher of one training on a Ray cluster, by Ray Train; run as `python -m resources.ray_launcher`.

Every process reads the shards and the training's directory at the paths of the job file, so the machines of
the cluster need a directory that all of them share.
"""

import argparse
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lgad_pipeline.console import fail
from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.job import TrainingJob, read_job
from lgad_pipeline.training.job_log import JobLog
from lgad_pipeline.training.torchrun import follow_parent

_STOP_CHECK_SECONDS = 1.0
_START_SECONDS = "600"  # for the processes of a training, which import torch


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


def stop_file(log: Path) -> Path:
    """Return the file whose existence asks a job to save its checkpoint and stop."""
    return log.with_suffix(".stop")


def train_on_cluster(job: TrainingJob, *, address: str, devices: int, cpus: int, failures: int) -> None:
    """Run a job on a Ray cluster and wait for its end; the job's log gets its metrics and its end.

    Args:
        job: the training.
        address: address of the cluster.
        devices: number of processes, each with one GPU or with `cpus` cores.
        cpus: number of CPU cores of each process.
        failures: number of times that the training is continued after a process was lost.

    Raises:
        LgadError: the cluster cannot be reached, or is too small.
    """
    os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", _START_SECONDS)
    import ray  # pyright: ignore[reportMissingImports]
    from ray.train import FailureConfig, RunConfig, ScalingConfig  # pyright: ignore[reportMissingImports]
    from ray.train.torch import TorchTrainer  # pyright: ignore[reportMissingImports]

    stop, storage = stop_file(job.log), job.plan.folder / ".ray"
    stop.unlink(missing_ok=True)
    try:
        ray.init(address=address, logging_level="warning", configure_logging=True)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise LgadError(
            f"The Ray cluster at {address!r} cannot be reached ({_first_line(error)}); start it with "
            "`ray start`, or correct trainer.ray.address in lgad.yaml."
        ) from error
    signal.signal(signal.SIGTERM, lambda number, frame: stop.touch())
    gpus = ray.cluster_resources().get("GPU", 0)
    use_gpu = job.device == "cuda" or (job.device == "auto" and gpus >= devices)
    _require_resources(ray.cluster_resources(), devices, cpus, use_gpu)
    job = job.model_copy(update={"device": "cuda" if use_gpu else "cpu"})
    trainer = TorchTrainer(
        _train_on_worker,
        train_loop_config={"job": job.model_dump_json(), "stop": str(stop)},
        scaling_config=ScalingConfig(
            num_workers=devices,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cpus, **({"GPU": 1} if use_gpu else {})},
        ),
        run_config=RunConfig(
            name="training", storage_path=str(storage), failure_config=FailureConfig(max_failures=failures)
        ),
    )
    try:
        trainer.fit()
    finally:
        stop.unlink(missing_ok=True)
        shutil.rmtree(storage, ignore_errors=True)


def _require_resources(cluster: dict[str, float], devices: int, cpus: int, use_gpu: bool) -> None:
    """Check that the whole cluster has the resources of a training; Ray would wait for them for ever."""
    needed = {"CPU": devices * cpus, **({"GPU": devices} if use_gpu else {})}
    for name, count in needed.items():
        if cluster.get(name, 0) < count:
            raise LgadError(
                f"The training needs {count} {name}s, but the Ray cluster has {cluster.get(name, 0):.0f}; "
                "lower trainer.devices or trainer.ray.cpus in lgad.yaml, or add machines."
            )


def _train_on_worker(config: dict[str, Any]) -> None:
    """Run one process of the training; an error that a user can correct is in the job's log, not raised."""
    from lgad_pipeline.config.network import allow_networks
    from lgad_pipeline.errors import LgadError
    from lgad_pipeline.training.job import TrainingJob
    from lgad_pipeline.training.run_job import run_job
    from lgad_pipeline.training.stop import TrainingStopped

    job = TrainingJob.model_validate_json(config["job"])
    allow_networks(*job.networks)
    try:
        run_job(job, stop=_file_appears(Path(config["stop"])))
    except (LgadError, TrainingStopped) as end:
        print(f"lgad: {end}", file=sys.stderr)


def _file_appears(path: Path) -> Callable[[], bool]:
    """Return a function that tells whether a file exists; it looks once a second."""
    looked, found = 0.0, False

    def exists() -> bool:
        nonlocal looked, found
        if not found and time.monotonic() - looked >= _STOP_CHECK_SECONDS:
            looked, found = time.monotonic(), path.exists()
        return found

    return exists


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]


def main() -> int:
    """Run the job of the command line."""
    follow_parent()
    parser = argparse.ArgumentParser(prog="python -m resources.ray_launcher")
    parser.add_argument("job", type=Path)
    parser.add_argument("--address", default="auto")
    for name in ("devices", "cpus", "failures"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = vars(parser.parse_args())
    job = read_job(options.pop("job"))
    try:
        train_on_cluster(job, **options)
    except LgadError as error:
        JobLog(job.log).append({"error": str(error)})
        fail(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
