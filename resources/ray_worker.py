"""One process of a training on a Ray cluster: its log, the request to stop, and the files on its machine."""

import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.job import TrainingJob
from lgad_pipeline.training.job_log import JobLog
from resources.paths import ProjectPaths, fetch_shards, initial_networks

_STOP_CHECK_SECONDS = 1.0


class Messages:
    """Ray actor between the launcher and the processes: log entries one way, a request to stop the other."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any]] = []
        self._stop = False

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry of the job's log."""
        self._entries.append(entry)

    def take(self, stop: bool) -> list[dict[str, Any]]:
        """Return the entries since the last call.

        Args:
            stop: True to ask the processes to save the checkpoint and stop.
        """
        self._stop = self._stop or stop
        entries, self._entries = self._entries, []
        return entries

    def stopping(self) -> bool:
        """Return True if the processes are asked to save the checkpoint and stop."""
        return self._stop


class _SentLog(JobLog):
    """Log of a job whose entries are sent to the launcher."""

    def __init__(self, messages: Any) -> None:
        self._messages = messages

    def append(self, entry: Mapping[str, Any]) -> None:
        """Send one entry, and wait until it has arrived."""
        import ray  # pyright: ignore[reportMissingImports]

        ray.get(self._messages.append.remote(dict(entry)))


def train_on_worker(config: dict[str, Any]) -> None:
    """Run one process of the training; an error that a user can correct is in the job's log, not raised.

    Args:
        config: `job` and `paths` as JSON, and the actor `messages`.
    """
    from lgad_pipeline.config.network import allow_networks
    from lgad_pipeline.training.run_job import run_job
    from lgad_pipeline.training.stop import TrainingStopped

    job = TrainingJob.model_validate_json(config["job"])
    paths = TypeAdapter(ProjectPaths).validate_json(config["paths"])
    log, stop = _SentLog(config["messages"]), _asked_to_stop(config["messages"])
    allow_networks(*job.networks)
    try:
        if paths.results is None:
            run_job(job, stop=stop, log=log)
        else:
            _run_with_store(job, paths, stop=stop, log=log)
    except (LgadError, TrainingStopped) as end:
        print(f"lgad: {end}", file=sys.stderr)


def _run_with_store(job: TrainingJob, paths: ProjectPaths, *, stop: Callable[[], bool], log: JobLog) -> None:
    """Fetch the inputs and the checkpoint from the store, train, and copy checkpoint and result to it."""
    from lgad_pipeline.config.model_files import CHECKPOINT
    from lgad_pipeline.manifest import manifest_of
    from lgad_pipeline.training.processes import environment_processes
    from lgad_pipeline.training.run_job import run_job
    from resources.state_store import (
        fetch_initial,
        fetch_results,
        fetch_stored,
        is_stored,
        publish_result,
        training_copies,
    )

    role, processes = job.plan.folder.name, environment_processes()
    here = replace(paths, state=Path(os.environ.get("LGAD_STATE") or paths.state).expanduser().resolve())
    job = _moved(job, paths.state, here.state)
    try:
        fetch_shards(here)
        fetch_stored(here, role)  # A finished training of the same inputs is reused.
        if job.plan.distillation.teacher is not None:
            fetch_results(here, "teacher")
        if job.plan.init is not None:
            fetch_initial(here, job.plan.init)
        if not is_stored(here, f"{role}.{CHECKPOINT}"):  # an old one, which this machine alone has
            (here.network(role) / CHECKPOINT).unlink(missing_ok=True)
        with training_copies(here, role, CHECKPOINT, update=processes.rank == 0):
            run_job(job, stop=stop, log=log)
            if processes.rank == 0:
                publish_result(here, role, manifest_of(here.state, here.outputs(role)))
    except LgadError as error:
        log.append({"error": str(error)})
        raise


def _moved(job: TrainingJob, before: Path, after: Path) -> TrainingJob:
    """Return a job with its paths below another state folder."""

    def moved(path: Path) -> Path:
        return after / path.relative_to(before)

    plan = job.plan
    distillation = plan.distillation
    if distillation.teacher is not None:
        distillation = distillation.model_copy(update={"teacher": moved(distillation.teacher)})
    places = {"shards": moved(plan.shards), "folder": moved(plan.folder), "distillation": distillation}
    if plan.init is not None and plan.init.is_relative_to(initial_networks(before)):
        places["init"] = moved(plan.init)
    return job.model_copy(update={"plan": plan.model_copy(update=places)})


def _asked_to_stop(messages: Any) -> Callable[[], bool]:
    """Return a function that tells whether the training should stop; it asks once a second."""
    import ray  # pyright: ignore[reportMissingImports]

    asked, stopping = 0.0, False

    def stop() -> bool:
        nonlocal asked, stopping
        if not stopping and time.monotonic() - asked >= _STOP_CHECK_SECONDS:
            asked, stopping = time.monotonic(), ray.get(messages.stopping.remote())
        return stopping

    return stop
