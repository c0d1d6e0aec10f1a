"""Search for tensors with values that are not finite, and the error message about them."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import nn

_LISTED = 3


def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return the first layers that have a tensor with NaN or infinity, for a message; empty if none has.

    One norm over all tensors is computed first, which costs less than checking each.

    Args:
        tensors: names and values of parameters or gradients.
    """
    by_name = dict(tensors)
    values = [value.detach() for value in by_name.values()]
    if not values or torch.nn.utils.get_total_norm(values).isfinite():
        return ""
    layers = list(
        dict.fromkeys(
            name.rpartition(".")[0] or name for name, value in by_name.items() if not value.isfinite().all()
        )
    )
    more = f" and {len(layers) - _LISTED} more" if len(layers) > _LISTED else ""
    return ", ".join(layers[:_LISTED]) + more


def not_finite_message(
    terms: Mapping[str, torch.Tensor],
    loss: torch.Tensor,
    network: nn.Module,
    *,
    step: int,
    frames: Sequence[str],
) -> str:
    """Return the error message of a step whose loss or gradients are not finite.

    Args:
        terms: loss terms by name.
        loss: total loss.
        network: network in training, with its gradients.
        step: number of the step, from 0.
        frames: paths of the frames of the batch.
    """
    names = [name for name, value in terms.items() if not torch.isfinite(value.detach())]
    end = f"with the frames {', '.join(frames)}; lower the learning rate or check these frames."
    if names or not torch.isfinite(loss.detach()):
        return f"The loss is not finite at step {step} ({', '.join(names) or 'the sum'}) {end}"
    # In reverse order: such a gradient spreads from the layer where it arises to all layers before it.
    layers = not_finite(
        (name, parameter.grad)
        for name, parameter in reversed(list(network.named_parameters()))
        if parameter.grad is not None
    )
    where = f"from the output backwards first in {layers}" if layers else "the sum of their squares"
    return f"The gradients are not finite at step {step} ({where}) {end}"


class LateFiniteCheck:
    """Check of the steps on a GPU that is read one step later, so that the CPU does not wait for the GPU.

    After a step that is not finite, the fused optimizer changes no weight any more: it skips its update while
    its attribute `found_inf` is not 0.

    Args:
        device: CUDA device.
        optimizer: fused optimizer.
    """

    def __init__(self, device: torch.device, optimizer: torch.optim.Optimizer) -> None:
        self._found = torch.zeros((), device=device)
        self._read = torch.zeros((), pin_memory=True)
        self._copied: torch.cuda.Event | None = None
        optimizer.found_inf = self._found  # type: ignore[attr-defined]

    def record(self, value: torch.Tensor) -> None:
        """Record, before the update of a step, a scalar on the device that must be finite."""
        self._found.copy_(torch.maximum(self._found, (~torch.isfinite(value)).float()))
        self._read.copy_(self._found, non_blocking=True)
        self._copied = torch.cuda.Event()
        self._copied.record()

    def failed(self) -> bool:
        """Wait for the latest record, and return True if one so far was not finite."""
        if self._copied is None:
            return False
        self._copied.synchronize()
        return bool(self._read)
