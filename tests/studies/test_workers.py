"""Tasks of a study in this process and in others: errors of one task do not stop the rest."""

import multiprocessing
import os
import re
import threading

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.studies.workers import ProcessEndedError, run_all


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


def test_a_process_that_ends_is_an_error_of_its_task_alone() -> None:
    tasks = [("exit", (3,)), ("task 4", (4,)), ("task 5", (5,)), ("exit again", (3,)), ("task 6", (6,))]
    results = dict(run_all(square, tasks, workers=2))
    assert [results[f"task {number}"] for number in (4, 5, 6)] == [16, 25, 36]
    for name in ("exit", "exit again"):
        assert isinstance(results[name], ProcessEndedError)
        assert "ended without a result" in str(results[name]) and "with fewer workers" in str(results[name])


def test_a_process_that_ends_between_two_tasks_is_replaced() -> None:
    results = run_all(square, ((f"task {number}", (number,)) for number in (4, 5, 6)), workers=2)
    finished = dict([next(results), next(results)])
    for process in multiprocessing.active_children():
        process.kill()
    for thread in threading.enumerate():  # that of the pool ends when it has noticed
        if type(thread).__name__ == "_ExecutorManagerThread":
            thread.join()
    finished.update(results)
    assert set(finished) == {"task 4", "task 5", "task 6"}


def process_id(number: int) -> int:
    if number == 1:
        raise LgadError(str(os.getpid()))
    if number == 2:
        raise RuntimeError(str(os.getpid()))
    return os.getpid()


def test_a_process_is_used_again_unless_its_error_was_unexpected() -> None:
    numbers = [0, 1, 1, 0, 2, 0, 2, 0, 1, 0]
    results = list(run_all(process_id, [(number, (number,)) for number in numbers], workers=2))
    used = [int(re.findall(r"[0-9]+", str(result))[0]) for _, result in results]
    for index, (number, _) in enumerate(results):
        if number == 2:
            assert used[index] not in used[index + 1 :]
    assert len(set(used)) <= 2 + numbers.count(2), "other processes are used again"
