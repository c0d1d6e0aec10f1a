"""Process pool: a function of chunks of frames, computed on all cores, results in order."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")

CHUNK = 64
"""Frames worked on together."""
_ALONE = 1024
"""Up to so many frames, starting other processes costs more than it saves."""


def map_chunks(
    run: Callable[[Sequence[str]], Result], frames: Sequence[str], workers: int | None
) -> Iterator[Result]:
    """Yield `run(chunk)` for chunks of the frames, in order.

    Args:
        run: can be pickled, since it may run in another process.
        frames: what to work on.
        workers: processes; None for one a core.
    """
    chunks = [frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK)]
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or len(frames) <= _ALONE:
        yield from map(run, chunks)
        return
    # Spawned, not forked: whoever calls this may have threads running.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, chunks)
