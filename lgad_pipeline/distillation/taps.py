"""Taps: what flows out of named layers of any network."""

import difflib
from collections.abc import Iterable
from types import TracebackType
from typing import Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lgad_pipeline.errors import LgadError


class Taps:
    """Keeps the output of named layers of a network at its latest forward.

    The hooks sit on the layers themselves: set them before the network is compiled or wrapped for
    distribution, and they go on working inside.

    Args:
        network: any module.
        layers: dotted names, as in `network.named_modules()`.

    Raises:
        LgadError: a name matches no layer; the nearest names are listed.
    """

    def __init__(self, network: nn.Module, layers: Iterable[str]) -> None:
        modules = dict(network.named_modules())
        self.layers = tuple(dict.fromkeys(layers))
        self._features: dict[str, object] = {}
        self._handles: list[RemovableHandle] = []
        for name in self.layers:
            if not name or name not in modules:
                raise LgadError(_unknown(name, type(network).__name__, list(modules)))
        for name in self.layers:
            self._handles.append(modules[name].register_forward_hook(self._keeper(name)))

    def take(self) -> dict[str, torch.Tensor]:
        """Return each layer's output (B, C, H, W) of the latest forward, and forget it.

        Raises:
            LgadError: a layer did not run since the last `take`, gave no feature map, or gave values that are
                not finite.
        """
        features, self._features = self._features, {}
        return {name: _checked(name, features) for name in self.layers}

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._features = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _keeper(self, name: str):
        def keep(module: nn.Module, inputs: tuple, output: object) -> None:
            self._features[name] = output

        return keep


def _checked(name: str, features: dict[str, object]) -> torch.Tensor:
    if name not in features:
        raise LgadError(
            f"Layer {name} did not run in this forward, so that there is nothing to mimic; "
            "name a layer that every forward goes through."
        )
    value = features[name]
    if not isinstance(value, torch.Tensor) or value.dim() != 4:
        kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value)
        raise LgadError(
            f"Layer {name} gives {kind}, not a feature map (B, C, H, W); name a layer that gives one."
        )
    if not torch.isfinite(value.detach()).all():
        raise LgadError(
            f"Layer {name} gave values that are not finite; lower the learning rate or use precision 32-true."
        )
    return value


def _unknown(name: str, network: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(name, [known for known in names if known], n=5, cutoff=0.3)
    return f"{network} has no layer {name!r}; the nearest are: {', '.join(nearest) or 'none'}."
