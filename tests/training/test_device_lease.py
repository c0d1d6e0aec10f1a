import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from lgad_pipeline.errors import LgadError
from lgad_pipeline.training.device_lease import device_slots, lease_devices

# Leases a slot, holds it for a while, and prints the slot and the time span.
TRAINING = """
import json, sys, time
from lgad_pipeline.training.device_lease import lease_devices

with lease_devices("cpu", int(sys.argv[1])) as lease:
    start = time.monotonic()
    print("leased", flush=True)
    time.sleep(float(sys.argv[2]))
    end = time.monotonic()
print(json.dumps([[slot.lock for slot in lease.slots], start, end, lease.threads]))
"""


@pytest.fixture(autouse=True)
def locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LGAD_DEVICE_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "8")
    return tmp_path / "locks"


def start(count: int = 1, seconds: float = 0.5) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", TRAINING, str(count), str(seconds)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)


def leased(process: subprocess.Popen[str]) -> tuple[list[str], float, float, int]:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return tuple(json.loads(output.splitlines()[-1]))


def test_sixteen_trainings_use_all_of_eight_slots_and_never_share_one(tmp_path: Path) -> None:
    """The first eight hold their slots until all sixteen have asked for one."""
    program = """
import sys, time
from pathlib import Path
from lgad_pipeline.training.device_lease import lease_devices

folder, number = Path(sys.argv[1]), sys.argv[2]
(folder / f"asked-{number}").touch()
with lease_devices("cpu") as lease:
    slot = folder / lease.slots[0].lock
    slot.touch(exist_ok=False)  # fails if another training has this slot
    (folder / f"leased-{number}").write_text(f"{lease.slots[0].lock} {lease.threads}")
    while not (folder / "go").exists():
        time.sleep(0.01)
    slot.unlink()
"""
    words = [sys.executable, "-c", program, str(tmp_path)]
    processes = [subprocess.Popen([*words, str(number)]) for number in range(16)]
    while len(list(tmp_path.glob("asked-*"))) < 16 or len(list(tmp_path.glob("leased-*"))) < 8:
        assert all(process.poll() is None for process in processes)
        time.sleep(0.05)
    first = [path.read_text().split() for path in tmp_path.glob("leased-*")]
    threads = str(max(1, len(os.sched_getaffinity(0)) // 8))
    assert sorted(first) == [[f"cpu-{number}", threads] for number in range(8)]
    (tmp_path / "go").touch()
    assert [process.wait(120) for process in processes] == [0] * 16
    assert len(list(tmp_path.glob("leased-*"))) == 16


def test_a_killed_training_leaves_no_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "1")
    process = start(seconds=600)
    assert process.stdout is not None and process.stdout.readline() == "leased\n"
    second = start(seconds=0)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert leased(second)[0] == ["cpu-0"]


def test_trainings_on_several_devices_wait_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them that collect devices at the same time do not block each other."""
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "3")
    single = start(seconds=1)
    assert single.stdout is not None and single.stdout.readline() == "leased\n"
    several = [start(count=3, seconds=0.2) for _ in range(2)]
    _, _, end, _ = leased(single)
    results = sorted((leased(process) for process in several), key=lambda result: result[1])
    assert [slots for slots, *_ in results] == [["cpu-0", "cpu-1", "cpu-2"]] * 2
    assert end <= results[0][1] and results[0][2] <= results[1][1]


def test_a_child_that_inherits_the_lock_keeps_the_device_when_its_parent_dies(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "1")
    parent = """
import subprocess, sys
from lgad_pipeline.training.device_lease import lease_devices
with lease_devices("cpu") as lease:
    child = subprocess.Popen(["sleep", "600"], pass_fds=lease.descriptors, stdout=subprocess.DEVNULL)
    print(child.pid, flush=True)
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait()
    waiting: list[str] = []

    def release(sentence: str) -> None:
        waiting.append(sentence)
        os.kill(child, signal.SIGKILL)

    with lease_devices("cpu", waiting=release) as lease:
        assert lease.device == "cpu" and lease.slots[0].lock == "cpu-0"
    assert waiting == [
        "All devices of this machine are in use by other trainings; this one waits for its turn."
    ]


def test_a_lock_file_that_a_clean_up_removed_is_not_trusted(locks: Path) -> None:
    with lease_devices("cpu", 8) as lease:
        removed = locks / "cpu-3.lock"
        removed.unlink()
        assert len(lease.slots) == 8
    with lease_devices("cpu", 8) as lease:
        assert os.fstat(lease.descriptors[3]).st_ino == removed.stat().st_ino


def test_a_cpu_without_declared_slots_has_no_limit(monkeypatch: pytest.MonkeyPatch, locks: Path) -> None:
    monkeypatch.delenv("LGAD_DEVICE_SLOTS")
    with lease_devices("cpu") as first, lease_devices("cpu") as second:
        assert first.device == second.device == "cpu" and first.slots == () and first.threads is None
        assert first.environment == {}
    assert not locks.exists()


def test_what_cannot_be_leased_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sentence = "needs 9 devices, but this machine has 8; set devices to 8 or less"
    with pytest.raises(LgadError, match=sentence), lease_devices("cpu", 9):
        pass
    for text in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("LGAD_DEVICE_SLOTS", text)
        with pytest.raises(LgadError, match=f"LGAD_DEVICE_SLOTS is '{text}'; set it to a number"):
            device_slots("cpu")
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "1")
    for one in ("cuda:0", "cuda:1", "gpu"):
        with pytest.raises(LgadError, match=f"'{one}' cannot be chosen.*; choose auto, cpu or cuda"):
            device_slots(one)  # type: ignore[arg-type]
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LGAD_DEVICE_LOCKS", str(tmp_path / "file"))
    with pytest.raises(LgadError, match=r"file cannot be written .*name a folder"), lease_devices("cpu"):
        pass


def test_gpus_are_locked_by_their_own_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes with different CUDA_VISIBLE_DEVICES number the same GPU differently."""
    import torch

    class Properties:
        def __init__(self, uuid: str) -> None:
            self.uuid = uuid

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties("cb"[index]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    with lease_devices("auto", 1) as first, lease_devices("auto", 1) as second:
        assert [slot.lock for slot in first.slots + second.slots] == ["gpu-c", "gpu-b"]
        assert (first.device, second.device) == ("cuda:0", "cuda:1")
        assert second.environment == {"CUDA_VISIBLE_DEVICES": "1"}
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Properties("ab"[index]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with lease_devices("cuda", 2) as both:
        assert both.environment == {"CUDA_VISIBLE_DEVICES": "0,1"} and both.threads is None
    # Small trainings share a GPU, the emptiest first; one on two GPUs has two different ones.
    monkeypatch.setenv("LGAD_TRAININGS_PER_GPU", "2")
    with ExitStack() as leases:
        shared = [leases.enter_context(lease_devices("cuda")) for _ in range(4)]
        assert [lease.device for lease in shared] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    with lease_devices("cuda", 2) as both:
        assert both.environment == {"CUDA_VISIBLE_DEVICES": "0,1"}
    with pytest.raises(LgadError, match="needs 3 devices, but this machine has 2"), lease_devices("cuda", 3):
        pass


def test_waiting_ends_when_the_process_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LGAD_DEVICE_SLOTS", "1")
    with lease_devices("cpu"):
        process = start()
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) != 0
    with lease_devices("cpu") as lease:
        assert len(lease.slots) == 1
