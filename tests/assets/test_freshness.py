import os
import time

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
