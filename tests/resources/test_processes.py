import multiprocessing
import subprocess
import sys
import time

import dagster as dg

from resources.processes import alive, has_ended, orphaned, process_id


def test_process_is_alive_until_it_dies():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    now = time.time()
    assert alive(process.pid, now)
    assert not alive(process.pid, now - 3600)  # whatever had this id then, it was not this process
    known = process_id(process.pid)
    assert known is not None and alive(process.pid, now - 3600, known=known)
    assert not alive(
        process.pid, now, known=known._replace(started=known.started - 60)
    )  # the id is used again
    assert not alive(process.pid, now, known=known._replace(boot="before the restart"))
    process.kill()
    time.sleep(0.2)
    assert not alive(process.pid, now)  # a zombie
    process.wait()
    assert not alive(process.pid, now)


def test_clock_that_steps_does_not_make_a_live_process_look_dead():
    """The clock was set forward by two seconds after Dagster had noted the process."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    noted = time.time() - 2
    assert alive(process.pid, noted)
    process.communicate(b"\n")


@dg.job
def job() -> None:
    """A job without work."""


def grandchild(pipe) -> None:
    while not orphaned():
        time.sleep(0.05)
    pipe.send("nobody listens")


def child(pipe) -> None:
    multiprocessing.get_context("spawn").Process(target=grandchild, args=(pipe,)).start()
    pipe.send("started")
    time.sleep(60)


def test_step_notices_that_its_run_was_killed():
    assert not orphaned()
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=child, args=(theirs,))
    process.start()
    assert ours.recv() == "started"
    process.kill()
    assert ours.poll(60) and ours.recv() == "nobody listens"


def test_run_that_was_cancelled_by_force_has_ended(tmp_path):
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
        assert not has_ended(instance, run.run_id)
        instance.report_run_canceled(run)
        assert has_ended(instance, run.run_id)
