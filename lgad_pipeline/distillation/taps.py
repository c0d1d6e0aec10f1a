"""Feature taps: forward hooks that keep the outputs of named layers of any network."""

import copy
import difflib
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple, Self

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError


class _LayerOutput(NamedTuple):
    """Output of a layer and the tensor's count of in-place changes (None where it is not counted)."""

    value: object
    version: int | None


class FeatureTaps:
    """Outputs of named layers of a network at its latest forward.

    The hooks are on the layers themselves: set the taps before the network is compiled or wrapped for
    distributed training, and they keep working inside. The hooks of a copy of the network
    (`copy.deepcopy`, pickle) do nothing.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> with FeatureTaps(network, ["0"]) as taps:
        ...     output = network(torch.rand(1, 3, 16, 32))
        ...     features = taps.pop()
        >>> features["0"].shape
        torch.Size([1, 8, 14, 30])

    Args:
        network: module whose layers are tapped.
        layers: dotted names of layers, as in `network.named_modules()`.

    Raises:
        LgadError: a name matches no layer; the message lists the nearest names.
    """

    def __init__(self, network: nn.Module, layers: Iterable[str]) -> None:
        modules = dict(network.named_modules())
        self.layers = tuple(dict.fromkeys(layers))
        self._outputs: dict[str, _LayerOutput] = {}
        self._handles: list[RemovableHandle] = []
        for name in self.layers:
            if not name or name not in modules:
                raise LgadError(_unknown_layer(name, type(network).__name__, list(modules)))
        for name in self.layers:
            hook = _Hook(self._outputs, name, modules[name])
            self._handles.append(modules[name].register_forward_hook(hook))

    def pop(self, *, in_graph: bool = False) -> dict[str, torch.Tensor]:
        """Return the output (B, C, H, W) of each layer at the latest forward, and clear the taps.

        Args:
            in_graph: True if the caller needs the tensors that the next layers read, not copies: gradients of
                the network's output do not pass through a copy. Compiled networks give copies.

        Raises:
            LgadError: a layer did not run since the last `pop`, its output is not a feature map, holds values
                that are not finite (checked on a CPU only, because the check waits for the device), was
                overwritten in place by a later layer, or is a copy where `in_graph` is True.
        """
        outputs = dict(self._outputs)
        self._outputs.clear()
        checked = {name: _checked(name, outputs) for name in self.layers}
        copies = [name for name in self.layers if outputs[name].version is None]
        if in_graph and copies:
            raise LgadError(
                f"The gradients of {', '.join(copies)} cannot be measured inside a compiled network; set "
                "balance to null and gate to false, or do not compile the student (compile: false)."
            )
        return checked

    def clear(self) -> None:
        """Forget the outputs of the latest forward, so that their memory is free in the next one."""
        self._outputs.clear()

    def close(self) -> None:
        """Remove the hooks."""
        for handle in self._handles:
            handle.remove()
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Hook:
    """Forward hook that stores the output of one module; a copied or unpickled hook does nothing."""

    def __init__(
        self, outputs: dict[str, _LayerOutput] | None, name: str = "", module: nn.Module | None = None
    ):
        self.outputs, self.name, self.module = outputs, name, module

    def __call__(self, module: nn.Module, inputs: tuple, output: object) -> None:
        if self.outputs is None or module is not self.module:  # a copy of the module shares its hooks
            return
        version = None
        if isinstance(output, torch.Tensor):
            # Compiled code and inference mode do not count in-place changes, so a copy is kept.
            if torch.compiler.is_compiling() or output.is_inference():
                output = output.clone()
            else:
                version = output._version
        self.outputs[self.name] = _LayerOutput(output, version)

    def __reduce__(self) -> tuple:
        return _Hook, (None,)


def layer_shapes(network: nn.Module, layers: Sequence[str], spec: NetworkSpec) -> dict[str, torch.Size]:
    """Return the output shape (C, h, w) of named layers; the network is not changed."""
    network_copy = copy.deepcopy(network).eval()
    planes = torch.zeros(1, spec.in_channels, *spec.image_size, device=next(network_copy.parameters()).device)
    with FeatureTaps(network_copy, layers) as taps, torch.no_grad():
        network_copy(planes)
        return {layer: features.shape[1:] for layer, features in taps.pop().items()}


def _checked(name: str, outputs: dict[str, _LayerOutput]) -> torch.Tensor:
    if name not in outputs:
        raise LgadError(
            f"Layer {name} did not run in this forward, so that there is no attention to mimic; "
            "choose a layer that runs in every forward."
        )
    value, version = outputs[name]
    if not isinstance(value, torch.Tensor) or value.dim() != 4:
        kind = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, torch.Tensor) else type(value)
        raise LgadError(
            f"Layer {name} returns {kind}, not a feature map (B, C, H, W); choose a layer that returns one."
        )
    if version is not None and value._version != version:
        raise LgadError(
            f"The output of layer {name} is overwritten in place by a later layer (such as "
            "ReLU(inplace=True)), so that it is lost; choose the later layer, or give that one "
            "inplace=False."
        )
    # On a GPU the check would wait for the forward; there the loss, which is not finite either, is checked.
    if value.device.type == "cpu" and not _is_finite(value.detach()):
        raise LgadError(
            f"Layer {name} returned values that are not finite; lower the learning rate or use precision "
            "32-true."
        )
    return value


def _is_finite(values: torch.Tensor) -> bool:
    """Return True if all values are finite: then their sum is, which is computed several times faster."""
    total = values.sum(dtype=torch.promote_types(values.dtype, torch.float32))
    return bool(torch.isfinite(total)) or bool(torch.isfinite(values).all())


def _unknown_layer(layer: str, network: str, names: list[str]) -> str:
    nearest = difflib.get_close_matches(layer, [name for name in names if name], n=5, cutoff=0.3)
    return f"{network} has no layer {layer!r}; the nearest names are: {', '.join(nearest) or 'none'}."
