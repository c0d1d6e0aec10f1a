"""Tasks of a study in this process and in others: errors of one task do not stop the rest."""

import multiprocessing
import os
import threading

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.studies.workers import run_all


def square(number: int) -> int:
    if number == 1:
        raise LgadError("One is not allowed; give another number.")
    if number == 2:
        raise ZeroDivisionError("a mistake in the code")
    if number == 3:
        os._exit(9)
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_the_other_tasks_are_finished_after_an_error(workers: int, capfd) -> None:
    drawn: list[int] = []
    numbers = [1, 2, 4, 5]
    tasks = ((f"task {number}", (drawn.append(number) or number,)) for number in numbers)
    results = {}
    for name, result in run_all(square, tasks, workers=workers):
        results[name] = result
        assert len(drawn) <= len(results) + workers, "drawn when a process is free"
    assert results["task 4"] == 16 and results["task 5"] == 25
    assert str(results["task 1"]) == "One is not allowed; give another number."
    assert str(results["task 2"]).startswith("ZeroDivisionError: a mistake in the code (the traceback is")
    assert "in square" in capfd.readouterr().err


def test_a_process_that_ends_is_an_error_with_the_remedy() -> None:
    with pytest.raises(LgadError, match=r"ended without a result, .* with fewer workers"):
        list(run_all(square, [("exit", (3,))], workers=2))


def test_processes_that_end_before_the_next_task_is_drawn_are_the_same_error() -> None:
    results = run_all(square, ((f"task {number}", (number,)) for number in (4, 5, 6)), workers=2)
    next(results)
    for process in multiprocessing.active_children():
        process.kill()
    for thread in threading.enumerate():  # that of the pool ends when it has noticed
        if type(thread).__name__ == "_ExecutorManagerThread":
            thread.join()
    with pytest.raises(LgadError, match=r"ended without a result"):
        list(results)
