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
