"""Process pool: a function applied to chunks of frames on all cores, with results in order."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

Result = TypeVar("Result")

CHUNK = 64
"""Number of frames in a chunk."""
_ALONE = 1024
"""Number of frames up to which starting processes takes more time than it saves."""


def map_chunks(
    run: Callable[[Sequence[str]], Result], frames: Sequence[str], *, workers: int | None
) -> Iterator[Result]:
    """Yield `run(chunk)` for chunks of the frames, in order.

    Args:
        run: function of a chunk of frame names; must be picklable, because it can run in another process.
        frames: names of the frames.
        workers: number of processes; None for one per core.
    """
    chunks = [frames[i : i + CHUNK] for i in range(0, len(frames), CHUNK)]
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1 or len(frames) <= _ALONE:
        yield from map(run, chunks)
        return
    # Spawned, not forked: the caller can have running threads, and a fork of them can deadlock.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run, chunks)
