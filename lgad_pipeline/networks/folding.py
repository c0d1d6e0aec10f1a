"""Batch norms folded into the convolutions before them, for faster inference."""

import copy
import itertools
from collections import Counter
from collections.abc import Collection

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = _CONVOLUTIONS[3:]
_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)

_TOLERANCE = 1e-5
"""Greatest difference of a value that is accepted as equal, a share of the greatest value of the output."""
_FEW = 1e-3
"""Share of the values that may differ more: rounding may move a maximum of a pooling to another cell."""


@torch.no_grad()
def fold_batch_norms(
    network: nn.Module, image: torch.Tensor | None = None, *, keep: Collection[str] = ()
) -> nn.Module:
    """Return a copy of a network whose batch norms are folded into the convolutions before them.

    A batch norm is folded if it follows a convolution in an `nn.Sequential`, directly or after a dropout, and
    both are used once. A forward function may still call such layers one by one. With an image, the outputs
    of both networks are compared, and the network itself is returned if they differ.

    Args:
        network: network in evaluation mode that returns a tensor or a tuple of tensors and None.
        image: input to compare the outputs on, float (B, C, H, W), on the device of the network; None for a
            network whose forward function is known.
        keep: dotted names of layers whose own output is needed; they are not folded.

    Example:
        >>> layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> fold_batch_norms(layers, torch.rand(1, 3, 8, 8))[1]
        Identity()
    """
    folded = copy.deepcopy(network)
    uses = Counter(id(layer) for module in folded.modules() for layer in module.children())
    kept = {id(layer) for name, layer in folded.named_modules() if name in keep}
    for sequence in list(folded.modules()):
        if type(sequence).forward is not nn.Sequential.forward:
            continue
        layers = [
            (name, layer)
            for name, layer in sequence.named_children()
            if type(layer) not in _DROPOUTS or _is_observed(layer, kept)
        ]
        for (name, layer), (norm_name, norm) in itertools.pairwise(layers):
            if _is_observed(layer, kept) or _is_observed(norm, kept):
                continue
            if _can_fold(layer, norm) and uses[id(layer)] == uses[id(norm)] == 1:
                fused = fuse_conv_bn_eval(layer, norm, isinstance(layer, _TRANSPOSED))  # type: ignore[arg-type]
                setattr(sequence, name, fused)
                setattr(sequence, norm_name, nn.Identity())
    return folded if image is None or _same_output(network(image), folded(image)) else network


def _can_fold(layer: nn.Module, norm: nn.Module) -> bool:
    return (
        type(layer) in _CONVOLUTIONS
        and type(norm) in _BATCH_NORMS
        and norm.running_var is not None
        and not (layer.training or norm.training)
        and not (isinstance(layer, _TRANSPOSED) and layer.groups > 1)  # torch folds these wrongly
        and not any(parametrize.is_parametrized(module) for module in (layer, norm))
    )


def _is_observed(layer: nn.Module, kept: set[int]) -> bool:
    """Return True if a layer's own output is needed: it is one of `kept` (ids), or has hooks."""
    return id(layer) in kept or bool(layer._forward_hooks or layer._forward_pre_hooks)


def _same_output(expected: object, actual: object) -> bool:
    """Compare two outputs value by value; NaN and infinite values count as differences."""
    if isinstance(expected, torch.Tensor) and isinstance(actual, torch.Tensor):
        bound = _TOLERANCE * expected.abs().max()
        return bool(((actual - expected).abs() <= bound).double().mean() >= 1 - _FEW)
    if isinstance(expected, tuple) and isinstance(actual, tuple):
        return all(itertools.starmap(_same_output, zip(expected, actual, strict=True)))
    return expected is None and actual is None
