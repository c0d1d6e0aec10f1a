"""Leases of this machine's devices: each device serves one training at a time.

A lease is a lock on one file per device, held by the process of the training. The operating system releases
it when the process ends, also after SIGKILL, so no lease is ever left behind.
"""

import fcntl
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from lgad_pipeline.errors import LgadError, os_fault

SLOTS = "LGAD_DEVICE_SLOTS"
"""Environment variable: number of trainings that share the CPU cores of this machine at the same time."""
SHARES = "LGAD_TRAININGS_PER_GPU"
"""Environment variable: number of trainings that share one GPU at the same time; 1 by default."""
LOCKS = "LGAD_DEVICE_LOCKS"
"""Environment variable: directory of the lock files, for processes with different temporary directories."""
DeviceKind = Literal["auto", "cpu", "cuda"]
"""Kind of the devices of a lease: CPU, GPUs, or GPUs if there are any."""
_POLL_SECONDS = 0.2


class Slot(NamedTuple):
    """Device that one training can have, or a share of the CPU cores.

    Attributes:
        lock: name of its lock file; equal in all processes of this machine.
        device: its name for torch: `cuda:<index among the visible GPUs>`, or `cpu`.
        visible: its entry in the environment variable CUDA_VISIBLE_DEVICES; empty for the CPU.
    """

    lock: str
    device: str
    visible: str = ""


@dataclass(frozen=True)
class DeviceLease:
    """Devices that this process may use until the lease ends.

    Attributes:
        slots: leased slots; empty on a CPU without a limit.
        threads: number of CPU threads of the training; None for torch's choice.
        descriptors: open files that hold the locks; a child process that inherits them holds the lease, too.
    """

    slots: tuple[Slot, ...]
    threads: int | None
    descriptors: tuple[int, ...]

    @property
    def device(self) -> str:
        """Name of the first device for torch, such as `cuda:2` or `cpu`."""
        return self.slots[0].device if self.slots else "cpu"

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that restrict a child process to these devices and threads."""
        visible = ",".join(slot.visible for slot in self.slots if slot.visible)
        threads = {"OMP_NUM_THREADS": str(self.threads)} if self.threads else {}
        return {**({"CUDA_VISIBLE_DEVICES": visible} if visible else {}), **threads}


def device_slots(device: DeviceKind) -> list[Slot]:
    """Return the slots of this machine for trainings on a device; none for a CPU without LGAD_DEVICE_SLOTS.

    Args:
        device: `cpu`, `cuda`, or `auto` for the GPUs if there are any.

    Raises:
        LgadError: there is no GPU, the device is another one, such as cuda:1, or LGAD_DEVICE_SLOTS or
            LGAD_TRAININGS_PER_GPU is not a positive integer.
    """
    if device not in get_args(DeviceKind):
        raise LgadError(
            f"The device {device!r} cannot be chosen, because trainings take a device that is free; choose "
            "auto, cpu or cuda, and name the GPUs to use in CUDA_VISIBLE_DEVICES."
        )
    if device == "cpu":
        return [Slot(f"cpu-{number}", "cpu") for number in range(_number(SLOTS, 0))]
    import torch

    gpus = torch.cuda.device_count()
    if gpus == 0 and device == "cuda":
        raise LgadError("This machine has no GPU that torch can use; choose the device cpu or auto.")
    if gpus == 0:
        return device_slots("cpu")
    # Indices depend on CUDA_VISIBLE_DEVICES, so locks have the name of the GPU's own identity.
    visible = [entry.strip() for entry in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    names = visible if visible != [""] else [str(index) for index in range(gpus)]
    locks = [f"gpu-{torch.cuda.get_device_properties(index).uuid}" for index in range(gpus)]
    # All GPUs get their first training before one of them gets its second.
    return [
        Slot(locks[index] + (f"-{share}" if share else ""), f"cuda:{index}", names[index])
        for share in range(_number(SHARES, 1))
        for index in range(gpus)
    ]


@contextmanager
def lease_devices(
    device: DeviceKind = "auto", count: int = 1, *, waiting: Callable[[str], object] | None = None
) -> Iterator[DeviceLease]:
    """Lease free devices of this machine; wait until there are enough.

    Args:
        device: `cpu`, `cuda`, or `auto` for the GPUs if there are any.
        count: number of devices.
        waiting: function that is called with a sentence, once, if no device is free.

    Raises:
        LgadError: the machine has fewer devices, or the lock files cannot be written.
    """
    slots = device_slots(device)
    if count > 1 and slots and slots[0].device != "cpu":  # several different GPUs
        slots = slots[: len({slot.device for slot in slots})]
    if slots and count > len(slots):
        raise LgadError(
            f"The training needs {count} devices, but this machine has {len(slots)}; "
            f"set devices to {len(slots)} or less."
        )
    # A training that has the CPU to itself leaves the number of threads to torch.
    processes = max(len(slots), count) if not slots or slots[0].device == "cpu" else 1
    threads = max(1, len(os.sched_getaffinity(0)) // processes) if processes > 1 else None
    if not slots:
        yield DeviceLease((), threads, ())
        return
    with ExitStack() as held:
        folder = _lock_folder()
        if count > 1:
            # Only one training at a time collects several devices. It keeps those that it has while it waits
            # for the others; otherwise trainings on one device could keep it waiting for ever.
            _collect(folder, [Slot("several", "")], 1, held, waiting)
        locked = _collect(folder, slots, count, held, waiting)
        chosen = tuple(slot for slot, _ in locked)
        yield DeviceLease(chosen, threads, tuple(descriptor for _, descriptor in locked))


def _collect(
    folder: Path,
    slots: Sequence[Slot],
    count: int,
    held: ExitStack,
    waiting: Callable[[str], object] | None,
) -> list[tuple[Slot, int]]:
    """Lock `count` of the slots, each as soon as it is free; return them in their order with open files."""
    locked: dict[Slot, int] = {}
    while True:
        for slot in slots:
            if len(locked) < count and slot not in locked:
                descriptor = _try_lock(folder / f"{slot.lock}.lock")
                if descriptor is not None:
                    held.callback(os.close, descriptor)
                    locked[slot] = descriptor
        if len(locked) == count:
            return sorted(locked.items(), key=lambda entry: slots.index(entry[0]))
        if waiting is not None:
            waiting("All devices of this machine are in use by other trainings; this one waits for its turn.")
            waiting = None
        time.sleep(_POLL_SECONDS)


def _try_lock(path: Path) -> int | None:
    """Open and lock a file without waiting; return None if another process or lease holds the lock."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise os_fault(error, path, "written") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A clean-up of temporary files may have removed the file between the two calls.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _lock_folder() -> Path:
    """Create and return the directory of the lock files: on this machine, and of this user alone."""
    named = os.environ.get(LOCKS)
    temporary = Path(tempfile.gettempdir()) / f"lgad-devices-{os.getuid()}"
    folder = Path(named).expanduser() if named else temporary
    try:
        folder.mkdir(mode=0o700, parents=bool(named), exist_ok=True)
        owner = folder.lstat().st_uid
    except OSError as error:
        raise os_fault(error, folder, "written") from error
    if owner != os.getuid():  # another user could remove the locks
        raise LgadError(f"{folder} belongs to another user; name a directory of your own in {LOCKS}.")
    return folder


def _number(variable: str, default: int) -> int:
    """Read a number of trainings from an environment variable."""
    text = os.environ.get(variable)
    if not text:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) == 0:
        raise LgadError(f"{variable} is {text!r}; set it to a number of trainings, 1 or more.")
    return int(text)
