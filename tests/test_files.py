import os
import subprocess
import sys
from pathlib import Path

import pytest

from lgad_pipeline.atomic_files import atomic_path, locked, machine, require_writable, write_text
from lgad_pipeline.errors import LgadError

HOLD = """
import sys, time
from pathlib import Path
from lgad_pipeline.atomic_files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


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
    assert order == [
        f"flush .a.txt.{machine()}-{os.getpid()}.part",
        "rename to a.txt",
        f"flush {tmp_path.name}",
    ]
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


def test_folder_of_a_killed_process_is_free(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == b"held\n"
        process.kill()
        with locked(tmp_path):
            pass


def test_a_device_or_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(LgadError, match="is a device or a pipe"):
            write_text(path, "x")
    for path in (tmp_path / "link", Path("/dev/stdout"), Path("/dev/null")):
        with pytest.raises(LgadError, match="is a device or a pipe"):
            require_writable(path)
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "link").is_symlink()
