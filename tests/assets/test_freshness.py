import os
import time

import dagster as dg

from assets.freshness import succeeded
from lgad_pipeline.datasets.folder_state import folder_state


def test_look_sees_what_changes(tmp_path):
    assert folder_state(tmp_path / "missing").changed == 0
    (tmp_path / "a.txt").write_text("one")
    before = folder_state(tmp_path)
    assert folder_state(tmp_path) == before and time.time() - before.changed < 5
    (tmp_path / "b.txt").write_text("")
    added = folder_state(tmp_path)
    (tmp_path / "b.txt").rename(tmp_path / "c.txt")
    assert len({before.digest, added.digest, folder_state(tmp_path).digest}) == 3


def test_copy_with_old_dates_is_new(tmp_path):
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("a name that is not UTF-8")
    os.utime(tmp_path / os.fsdecode(b"\xff.txt"), (0, 0))
    os.utime(tmp_path, (0, 0))
    assert time.time() - folder_state(tmp_path).changed < 5


def test_a_run_succeeded_if_it_or_a_retry_of_it_did():
    failed, success = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.SUCCESS

    def run(name: str, status: dg.DagsterRunStatus, parent: str = "", root: str = "first") -> None:
        tags = {"dagster/parent_run_id": parent, "dagster/root_run_id": root} if parent else {}
        instance.add_run(dg.DagsterRun(job_name="data", run_id=name, status=status, tags=tags))

    with dg.DagsterInstance.ephemeral() as instance:
        run("first", failed)
        run("retry", failed, parent="first")
        assert not succeeded(instance, "first")
        run("second retry", success, parent="retry")
        assert succeeded(instance, "first") and succeeded(instance, "retry")
        run("executed again", failed, parent="second retry")
        assert not succeeded(instance, "executed again")  # a check of its own may have failed
        instance.delete_run("first")
        assert succeeded(instance, "retry") and not succeeded(instance, "first")
