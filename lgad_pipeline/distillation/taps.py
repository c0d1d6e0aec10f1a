"""Feature taps: forward hooks that keep the output of named layers of any network."""

import difflib
from collections.abc import Iterable
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lgad_pipeline.errors import LgadError


class Kept(NamedTuple):
    """Output of a layer.

    Attributes:
        value: What the layer returned.
        version: Number of in-place changes that the tensor had seen by then; None where that is not counted.
    """

    value: object
    version: int | None


class FeatureTaps:
    """Keeps the output of named layers of a network at its latest forward.

    The hooks sit on the layers themselves: set them before the network is compiled or wrapped for
    distribution, and they keep working inside. A copy of the network (`copy.deepcopy`, a pickle) has inert
    hooks and never writes into these taps.

    Args:
        network: Any module.
        layers: Dotted names, as in `network.named_modules()`.

    Raises:
        LgadError: a name matches no layer; the nearest names are listed.
    """

    def __init__(self, network: nn.Module, layers: Iterable[str]) -> None:
        modules = dict(network.named_modules())
        self.layers = tuple(dict.fromkeys(layers))
        self._features: dict[str, Kept] = {}
        self._handles: list[RemovableHandle] = []
        for name in self.layers:
            if not name or name not in modules:
                raise LgadError(_unknown(name, type(network).__name__, list(modules)))
        for name in self.layers:
            hook = _Hook(self._features, name, modules[name])
            self._handles.append(modules[name].register_forward_hook(hook))

    def take(self) -> dict[str, torch.Tensor]:
        """Return each layer's output (B, C, H, W) of the latest forward, and forget it.

        Raises:
            LgadError: a layer did not run since the last `take`, gave no feature map, gave values that are
                not finite, or a later layer has overwritten its output in place.
        """
        features = dict(self._features)
        self._features.clear()
        return {name: _checked(name, features) for name in self.layers}

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self._features.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Hook:
    """Forward hook that stores the output of one module; copied or unpickled, it does nothing."""

    def __init__(self, features: dict[str, Kept] | None, name: str = "", module: nn.Module | None = None):
        self.features, self.name, self.module = features, name, module

    def __call__(self, module: nn.Module, inputs: tuple, output: object) -> None:
        if self.features is None or module is not self.module:  # a copy of the module that shares its hooks
            return
        version = None
        if isinstance(output, torch.Tensor):
            # Compiled code and inference mode do not count in-place changes, so a copy is kept.
            if torch.compiler.is_compiling() or output.is_inference():
                output = output.clone()
            else:
                version = output._version
        self.features[self.name] = Kept(output, version)

    def __reduce__(self) -> tuple:
        return _Hook, (None,)


def _checked(name: str, features: dict[str, Kept]) -> torch.Tensor:
    if name not in features:
        raise LgadError(
            f"Layer {name} did not run in this forward, so that there is nothing to mimic; "
            "name a layer that every forward goes through."
        )
    value, version = features[name]
    if not isinstance(value, torch.Tensor) or value.dim() != 4:
        kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value)
        raise LgadError(
            f"Layer {name} gives {kind}, not a feature map (B, C, H, W); name a layer that gives one."
        )
    if version is not None and value._version != version:
        raise LgadError(
            f"The output of layer {name} is changed in place by what comes after it (such as "
            "ReLU(inplace=True)), so that its own map is lost; name the layer after it, or give that one "
            "inplace=False."
        )
    if not torch.isfinite(value.detach()).all():
        raise LgadError(
            f"Layer {name} gave values that are not finite; lower the learning rate or use precision 32-true."
        )
    return value


def _unknown(name: str, network: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(name, [known for known in names if known], n=5, cutoff=0.3)
    return f"{network} has no layer {name!r}; the nearest are: {', '.join(nearest) or 'none'}."
