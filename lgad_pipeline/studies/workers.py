"""Trainings of a study or a search in this process, in several processes, or on a cluster."""

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import cv2
import torch

from lgad_pipeline.child_process import end_with_parent
from lgad_pipeline.errors import LgadError
from lgad_pipeline.process_pool import map_parts, uses_cluster

Name = TypeVar("Name")
Result = TypeVar("Result")


def run_all(
    function: Callable[..., Result], tasks: Iterable[tuple[Name, tuple[Any, ...]]], *, workers: int
) -> Iterator[tuple[Name, Result | LgadError]]:
    """Call a function for every task, and yield the result of each, or its error, as soon as it ends.

    With several processes, the next task after an error that is not an `LgadError` has a new one, and a
    process that ends without a result is the error `ProcessEndedError` of its task alone. On a cluster, a
    task whose process ends again and again is an error of the whole call.

    Args:
        function: function of the arguments of a task; picklable, as its arguments are.
        tasks: name and arguments of each task. A task is drawn when a process is free for it, so that it may
            depend on earlier results.
        workers: number of processes, among which the CPU cores are divided; 1 for this process. On a cluster
            (`on_cluster`) it has no effect, and all tasks are drawn first.
    """
    call = partial(_result_or_error, function)
    if uses_cluster():
        drawn = list(tasks)
        results = map_parts(call, [arguments for _, arguments in drawn], workers=1)
        yield from zip((name for name, _ in drawn), results, strict=True)
    elif workers == 1:
        for name, arguments in tasks:
            yield name, call(arguments)
    else:
        yield from _run_in_processes(call, iter(tasks), workers)


class _UnexpectedError(LgadError):
    """Error after which the process is not used again: the state of its GPU may be broken."""


class ProcessEndedError(_UnexpectedError):
    """The process of a task ended without a result, for instance because it was killed."""


def _run_in_processes(
    call: Callable[[tuple[Any, ...]], Result],
    tasks: Iterator[tuple[Name, tuple[Any, ...]]],
    workers: int,
) -> Iterator[tuple[Name, Result | LgadError]]:
    running: dict[Future[Result], tuple[Name, ProcessPoolExecutor]] = {}
    context = multiprocessing.get_context("spawn")
    with ExitStack() as stack:

        def started() -> ProcessPoolExecutor:
            setup = (os.getpid(), workers)
            return stack.enter_context(ProcessPoolExecutor(1, context, _set_up_worker, setup))

        idle = [started() for _ in range(workers)]  # a process each, so that one can be replaced
        while True:
            for name, arguments in islice(tasks, len(idle)):
                process = idle.pop()
                try:
                    future = process.submit(call, arguments)
                except BrokenProcessPool:  # it has ended since its last task
                    process = started()
                    future = process.submit(call, arguments)
                running[future] = name, process
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                name, process = running.pop(future)
                result = _result_of(future)
                if isinstance(result, _UnexpectedError):
                    process.shutdown()
                    process = started()
                idle.append(process)
                yield name, result


def _result_of(future: Future[Result]) -> Result | LgadError:
    try:
        return future.result()
    except BrokenProcessPool:
        return ProcessEndedError(
            "A process ended without a result, perhaps for lack of memory; run the command again, with "
            "fewer workers if this repeats."
        )


def _result_or_error(function: Callable[..., Result], arguments: tuple[Any, ...]) -> Result | LgadError:
    """Call a function; return its error, so that the other tasks continue."""
    try:
        return function(*arguments)
    except LgadError as error:
        return error
    except Exception as error:  # such as a lack of GPU memory, or a mistake in a loss of the user
        traceback.print_exc()
        return _UnexpectedError(f"{type(error).__name__}: {error} (the traceback is in the output above).")


def _set_up_worker(parent: int, workers: int) -> None:
    """Give a worker its share of the cores, and let it end when its parent does, for any reason."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // workers))
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent(parent)
