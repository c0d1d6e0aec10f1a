import threading
import time

import pytest

from lgad_pipeline.thread_pool import ordered_map


def test_results_come_in_order_whichever_is_ready_first():
    def slow_at_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return number * number

    assert list(ordered_map(slow_at_even, range(50), workers=4, ahead=8)) == [n * n for n in range(50)]


def test_no_more_is_begun_than_asked_for():
    begun = []
    results = ordered_map(begun.append, iter(range(1000)), workers=3, ahead=5)
    next(results)
    assert len(begun) <= 5
    results.close()
    assert len(begun) <= 5


def test_an_error_comes_where_its_result_would_have_come():
    results = ordered_map(lambda number: 10 // (3 - number), range(6), workers=2, ahead=4)
    assert [next(results) for _ in range(3)] == [3, 5, 10]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_closing_ends_the_threads():
    before = set(threading.enumerate())
    results = ordered_map(abs, range(100), workers=3, ahead=6)
    next(results)
    assert set(threading.enumerate()) - before
    results.close()
    assert not set(threading.enumerate()) - before


def test_closing_closes_the_items():
    closed = []

    def numbers():
        try:
            yield from range(100)
        finally:
            closed.append(True)

    items = numbers()
    results = ordered_map(abs, items, workers=2, ahead=4)
    next(results)
    results.close()
    assert closed
