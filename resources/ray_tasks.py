"""Parts of a work as tasks of a Ray cluster: packing, prediction, scoring, the students of a study."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lgad_pipeline.errors import LgadError
from lgad_pipeline.process_pool import on_cluster

_RETRIES = 3
"""Times that a part is computed again after its process or machine was lost."""
_AHEAD = 2
"""Parts per process that are computed or waiting, so that memory is bounded."""


@contextmanager
def tasks_on_cluster(
    address: str, *, cpus: int, prepare: Callable[[], object], gpu: bool = False
) -> Iterator[None]:
    """Let the parts of the work inside this context be computed by tasks of a Ray cluster.

    Args:
        address: address of the cluster.
        cpus: number of CPU cores of each task.
        prepare: function that each task calls first, to fetch the files that it reads; picklable.
        gpu: True for tasks that use a GPU if the cluster has any.

    Raises:
        LgadError: Ray is not installed, or the cluster cannot be reached or is too small.
    """
    from resources.ray_launcher import connect

    ray = connect(address)
    try:
        cores = int(ray.cluster_resources().get("CPU", 0))
        if cores < cpus:
            raise LgadError(
                f"A task needs {cpus} CPUs, but the Ray cluster has {cores}; lower trainer.ray.cpus in "
                "lgad.yaml, or add machines."
            )
        gpus = int(ray.cluster_resources().get("GPU", 0)) if gpu else 0
        task = ray.remote(_run_part).options(num_cpus=cpus, num_gpus=min(gpus, 1), max_retries=_RETRIES)
        most = _AHEAD * min(cores // cpus, gpus or cores)

        def mapper(run: Callable[[Any], Any], parts: Sequence[Any]) -> Iterator[Any]:
            function, waiting = ray.put((prepare, run)), deque()
            for part in parts:
                waiting.append(task.remote(function, part))
                if len(waiting) == most:
                    yield ray.get(waiting.popleft())
            while waiting:
                yield ray.get(waiting.popleft())

        with on_cluster(mapper):
            yield
    finally:
        ray.shutdown()  # ends the tasks that nobody waits for


def _run_part(function: tuple[Callable[[], object], Callable[[Any], Any]], part: Any) -> Any:
    """Compute one part."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    prepare, run = function
    prepare()
    return run(part)
