"""Parts of a work as tasks of a Ray cluster: packing and scoring."""

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
def tasks_on_cluster(address: str, *, cpus: int, prepare: Callable[[], object]) -> Iterator[None]:
    """Let the parts of the work inside this context be computed by tasks of a Ray cluster.

    Args:
        address: address of the cluster.
        cpus: number of CPU cores of each task.
        prepare: function that each task calls first, to fetch the files that it reads; picklable.

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
        task = ray.remote(_run_part).options(num_cpus=cpus, max_retries=_RETRIES)
        most = _AHEAD * (cores // cpus)

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
