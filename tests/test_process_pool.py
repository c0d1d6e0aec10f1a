"""Functions of parts in several processes."""

import contextlib
import os
import signal
import subprocess
import sys

import psutil
import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.process_pool import map_parts


def test_results_of_processes_are_in_the_order_of_the_parts():
    assert list(map_parts(abs, [-3, 2, -1], workers=2)) == [3, 2, 1]


def test_a_process_that_ends_early_is_an_error_with_a_remedy():
    with pytest.raises(LgadError, match="A worker process ended early; free memory or use one process"):
        list(map_parts(os._exit, [7], workers=2))


SCRIPT = """
import os, signal, sys, time
import psutil
from lgad_pipeline.process_pool import map_parts

if __name__ == "__main__":
    results = map_parts(time.sleep, [0.01] * 4 + [0.5] * 1000, workers=2)
    for count, _ in enumerate(results, 1):
        print("part", flush=True)
        if "kill" in sys.argv and count == 3:
            psutil.Process().children()[-1].kill()
            raise KeyboardInterrupt
"""


@pytest.mark.parametrize("how", ["wait", "kill"])
def test_ctrl_c_ends_the_program_and_its_processes(tmp_path, how):
    """Also if the operating system has killed a process."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    program = subprocess.Popen(
        [sys.executable, script, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert program.stdout is not None
    assert program.stdout.readline() == b"part\n"
    workers = psutil.Process(program.pid).children(recursive=True)
    if how == "wait":
        assert len(workers) >= 2
        os.killpg(program.pid, signal.SIGINT)
    try:
        _, errors = program.communicate(timeout=60)
    finally:
        for process in workers:
            with contextlib.suppress(psutil.Error):
                process.kill()
        program.kill()
    assert program.returncode != 0 and b"KeyboardInterrupt" in errors
