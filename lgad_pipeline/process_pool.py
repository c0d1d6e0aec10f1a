"""Work in parts: a function applied to each part, on all cores or on a cluster, with results in order."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from contextvars import ContextVar
from multiprocessing import get_context
from typing import Any, TypeVar

from lgad_pipeline.errors import LgadError
from lgad_pipeline.thread_pool import ordered_results

Part = TypeVar("Part")
Result = TypeVar("Result")

CHUNK = 64
"""Number of frames in a chunk."""
_ALONE = 1024
"""Number of frames up to which starting processes takes more time than it saves."""
_AHEAD = 4
"""Number of parts for each process that are computed before they are requested."""


Mapper = Callable[[Callable[[Any], Any], Sequence[Any]], Iterator[Any]]
"""Function of `run` and parts that yields `run(part)` for each part, in order, computed on other machines."""

_CLUSTER: ContextVar[Mapper | None] = ContextVar("cluster", default=None)


@contextmanager
def on_cluster(mapper: Mapper) -> Iterator[None]:
    """Let `map_parts` use a cluster inside this context."""
    token = _CLUSTER.set(mapper)
    try:
        yield
    finally:
        _CLUSTER.reset(token)


def uses_cluster() -> bool:
    """Return True inside `on_cluster`: the function of a part cannot write to the disk of this machine."""
    return _CLUSTER.get() is not None


def map_parts(
    run: Callable[[Part], Result], parts: Sequence[Part], *, workers: int | None
) -> Iterator[Result]:
    """Yield `run(part)` for each part, in order.

    Args:
        run: function of a part; must be picklable, because it can run in another process.
        parts: parts of the work; they are picklable, too.
        workers: number of processes of this machine; 1 for this process alone, None for one per core.
            Inside `on_cluster` it has no effect.

    Raises:
        LgadError: A process ended early, for example for want of memory.
    """
    mapper = _CLUSTER.get()
    workers = workers or len(os.sched_getaffinity(0))
    if mapper is not None:
        yield from mapper(run, parts)
    elif workers == 1:
        yield from map(run, parts)
    else:
        yield from _in_processes(run, parts, workers)


def _in_processes(run: Callable[[Part], Result], parts: Sequence[Part], workers: int) -> Iterator[Result]:
    # Spawned, not forked: the caller can have running threads, and a fork of them can deadlock.
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_ignore_interrupt) as pool:
        try:
            # After an error the few submitted parts run to their end. If they were cancelled, as `pool.map`
            # does, and a process had ended, too, the program would never end.
            yield from ordered_results(pool, run, parts, ahead=_AHEAD * workers)
        except BrokenProcessPool as error:
            raise LgadError(
                "A worker process ended early; free memory or use one process (`workers=1`), and in a "
                'script call the function below `if __name__ == "__main__":`.'
            ) from error


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the main process, which ends the worker processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def map_chunks(
    run: Callable[[Sequence[Part]], Result], frames: Sequence[Part], *, workers: int | None
) -> Iterator[Result]:
    """Yield `run(chunk)` for chunks of the frames, in order; see `map_parts`.

    Args:
        run: function of a chunk of frames.
        frames: names of the frames, or other values, one for each frame.
        workers: number of processes; None for one per core.
    """
    chunks = [frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK)]
    return map_parts(run, chunks, workers=1 if len(frames) <= _ALONE else workers)
