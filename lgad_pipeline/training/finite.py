"""Search for tensors with values that are not finite."""

from collections.abc import Iterable

import torch

_NAMED = 3


def not_finite(tensors: Iterable[tuple[str, torch.Tensor]]) -> str:
    """Return the first layers of whose tensors one holds NaN or infinity, for a message; empty if none does.

    One norm over all of them is computed first, which costs less than a look at each.
    """
    named = dict(tensors)
    if not named or torch.nn.utils.get_total_norm([value.detach() for value in named.values()]).isfinite():
        return ""
    broken = list(
        dict.fromkeys(
            name.rpartition(".")[0] or name for name, value in named.items() if not value.isfinite().all()
        )
    )
    more = f" and {len(broken) - _NAMED} more" if len(broken) > _NAMED else ""
    return ", ".join(broken[:_NAMED]) + more
