"""Thread pool: results in the order of the items, with bounded memory."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], workers: int, ahead: int
) -> Generator[Result]:
    """Yield `function(item)` for every item, in order, computed by `workers` threads.

    At most `ahead` results are under way or waiting, so memory stays bounded however many items there are.
    OpenCV, hashing and file reads let other threads run, so threads suffice and nothing is pickled. An
    error in `function` is raised where its result would have come. Closing the generator drops what has not
    begun.

    Args:
        function: called with one item; must be safe to call from several threads.
        items: read only as far as needed, in the consumer's thread.
        workers: threads, at least 1.
        ahead: results computed before they are asked for, at least 1.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="lgad-data")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
