import os
from pathlib import Path

import pytest

from lgad_pipeline.atomic_files import atomic_path, write_text


def test_content_is_on_the_disk_before_the_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        order.append("flush " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def replaced(path: Path, target: Path) -> Path:
        order.append(f"rename to {target.name}")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", replaced)
    write_text(tmp_path / "a.txt", "one")
    assert order == [f"flush .a.txt.{os.getpid()}.part", "rename to a.txt", f"flush {tmp_path.name}"]
    order.clear()
    write_text(tmp_path / "a.txt", "two", durable=False)
    assert order == ["rename to a.txt"] and (tmp_path / "a.txt").read_text() == "two"


def test_a_failed_write_leaves_the_old_content(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(KeyError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"
