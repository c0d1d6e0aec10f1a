"""Values that the processes of a distributed training share."""

import torch
from torch import distributed


def mean_over_processes(values: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes, without gradient; `values` if there is one process."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return values
    total = values.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()
