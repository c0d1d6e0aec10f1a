"""Thread pool: results in the order of the items, with bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_results(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], *, ahead: int
) -> Iterator[Result]:
    """Yield `function(item)` for every item, in order, computed by a pool; at most `ahead` are submitted."""
    pending: deque[Future[Result]] = deque()
    for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) >= ahead:
            yield pending.popleft().result()
    while pending:
        yield pending.popleft().result()


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, ahead: int
) -> Generator[Result]:
    """Yield `function(item)` for every item, in order, computed by `workers` threads.

    At most `ahead` results are computed or waiting, so memory is bounded for any number of items. OpenCV,
    hashing and file reads release the interpreter lock, so threads run in parallel and nothing is pickled. An
    error in `function` is raised in place of its result. Closing the generator cancels the items that have
    not started, and closes `items` if it is a generator.

    Args:
        function: function of one item; must be safe to call from several threads.
        items: inputs; read only as far as needed, in the thread of the consumer.
        workers: number of threads, at least 1.
        ahead: number of results computed before they are requested, at least 1.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lgad-data")
    try:
        yield from ordered_results(pool, function, items, ahead=ahead)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
