"""Processes of one training: their number and ranks, and values that they share.

Every function is the identity in a training of one process.
"""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple, TypeVar

import torch
from torch import distributed

from lgad_pipeline.errors import LgadError

T = TypeVar("T")
TIMEOUT = timedelta(hours=1)
"""Longest time that one process waits for another: rank 0 may compute attention maps alone."""
_UNSUPPORTED = {"OMPI_COMM_WORLD_SIZE": "mpirun", "PMI_SIZE": "mpiexec", "MV2_COMM_WORLD_SIZE": "mpirun"}


class Processes(NamedTuple):
    """Processes that train one network together, as the program that started them describes them.

    Attributes:
        rank: number of this process among all, from 0.
        count: number of processes.
        local_rank: number of this process among those of this machine, from 0.
        local_count: number of processes on this machine.
        started_by: `torchrun` (or a program with the same variables, such as Ray Train), `srun`, or empty for
            one process.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    started_by: str = ""


def environment_processes() -> Processes:
    """Return the processes that the environment variables of torchrun, Ray Train or srun describe.

    Raises:
        LgadError: another program started several processes, which would each train the same network, or a
            variable is missing or no number.
    """
    try:
        return _environment_processes(os.environ)
    except (KeyError, ValueError) as error:
        raise LgadError(
            f"The environment variables of several processes are not complete or no numbers ({error}); start "
            "the training with torchrun or srun, or unset RANK and WORLD_SIZE for one process."
        ) from error


def _environment_processes(environment: Mapping[str, str]) -> Processes:
    if "RANK" in environment and int(environment.get("WORLD_SIZE", 1)) > 1:
        names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
        return Processes(*(int(environment[name]) for name in names), started_by="torchrun")
    # In the script of a SLURM job, which is one process, only the variables of the whole job are set.
    if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        count = int(environment["SLURM_STEP_NUM_TASKS"])
        local_count = count // int(environment.get("SLURM_STEP_NUM_NODES", 1))
        rank, local_rank = int(environment["SLURM_PROCID"]), int(environment["SLURM_LOCALID"])
        return Processes(rank, count, local_rank, local_count, started_by="srun")
    for name, program in _UNSUPPORTED.items():
        if int(environment.get(name, 1)) > 1:
            raise LgadError(
                f"{program} started {environment[name]} processes, which would not train together; "
                "start them with torchrun or srun."
            )
    return Processes()


def process_count() -> int:
    """Return the number of processes of the present training; 1 outside of `Fabric.launch`."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def process_rank() -> int:
    """Return the rank of this process in the present training, from 0."""
    return distributed.get_rank() if process_count() > 1 else 0


def sum_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Return the sum of a tensor over all processes; gradients flow back to all of them."""
    return _Sum.apply(values) if process_count() > 1 else values


class _Sum(torch.autograd.Function):
    """Sum over processes: the gradient of an addend is the sum of the gradients that the processes get."""

    @staticmethod
    def forward(context: object, values: torch.Tensor) -> torch.Tensor:
        return _reduced(values)

    @staticmethod
    def backward(context: object, gradient: torch.Tensor) -> torch.Tensor:
        return _reduced(gradient)


def _reduced(values: torch.Tensor) -> torch.Tensor:
    total = values.clone(memory_format=torch.contiguous_format)
    distributed.all_reduce(total)
    return total


def gather(value: T) -> list[T]:
    """Return the values of all processes, by rank; for small objects."""
    if process_count() == 1:
        return [value]
    values: list[T | None] = [None] * process_count()
    distributed.all_gather_object(values, value, group=_control_group())
    return values  # type: ignore[return-value]


def any_process(*flags: bool) -> list[bool]:
    """Return for each flag whether it is set in any process."""
    if process_count() == 1:
        return list(flags)
    values = torch.tensor(flags, dtype=torch.float32)
    distributed.all_reduce(values, distributed.ReduceOp.MAX, group=_control_group())
    return [value > 0 for value in values.tolist()]


def on_rank_zero(function: Callable[[], T]) -> T:
    """Call a function in the process of rank 0 alone; return its value in all processes.

    Raises:
        LgadError: the function raised it; it is raised in all processes.
    """
    value: T | None = None
    sentence = ""
    if process_rank() == 0:
        try:
            value = function()
        except LgadError as error:
            if process_count() == 1:
                raise
            sentence = str(error)
    if process_count() > 1:
        results = [value, sentence]
        distributed.broadcast_object_list(results, 0, group=_control_group())
        value, sentence = results
    if sentence:
        raise LgadError(sentence)
    return value  # type: ignore[return-value]


def rank_zero_first(function: Callable[[], T]) -> T:
    """Call a function in the process of rank 0, then in the others, which read what the first one wrote."""
    values: list[T] = []
    on_rank_zero(lambda: values.append(function()))
    return values[0] if values else function()


def broadcast(tensors: Mapping[str, torch.Tensor]) -> None:
    """Replace tensors, by name, by those of rank 0; in place."""
    if process_count() > 1:
        for _, tensor in sorted(tensors.items()):
            distributed.broadcast(tensor, 0)


def _control_group() -> "distributed.ProcessGroup | None":
    """Return a group whose messages stay on the CPU, so that no process waits for its GPU."""
    if distributed.get_backend() == "gloo":
        return None
    return _gloo_group(distributed.group.WORLD)


@lru_cache(maxsize=1)
def _gloo_group(world: object) -> "distributed.ProcessGroup":
    return distributed.new_group(backend="gloo", timeout=TIMEOUT)  # type: ignore[return-value]
