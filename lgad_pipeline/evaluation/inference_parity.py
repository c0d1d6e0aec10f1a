"""Proof that distillation costs nothing at inference: a distilled student is built as a plain one is."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.evaluation.model_comparison import latencies
from lgad_pipeline.networks.checkpoint import load_network


def differences(first: Path, second: Path) -> list[str]:
    """Compare two trained networks in all that inference could cost, which is all but the weights' values.

    Compared are settings, modules by name and kind, hooks, parameters and buffers by name, shape and type,
    the files in the folders, and the exported graphs, operation by operation.

    Args:
        first: folder of a trained student, such as one that learnt alone.
        second: folder of another, such as a distilled one.

    Returns:
        A sentence for each difference; empty where there is none.
    """
    (ours, our_spec), (theirs, their_spec) = load_network(first), load_network(second)
    found = [] if our_spec == their_spec else [f"settings differ: {our_spec} and {their_spec}"]
    pairs = {
        "modules": (_modules(ours), _modules(theirs)),
        "tensors": (_tensors(ours), _tensors(theirs)),
        "files": (_files(first), _files(second)),
    }
    for what, (one, other) in pairs.items():
        if one != other:
            found.append(f"{what} differ: {', '.join(sorted(one ^ other)[:5])}")
    if not found:
        planes = torch.zeros(1, our_spec.in_channels, *our_spec.image_size)
        if _graph(ours, planes) != _graph(theirs, planes):
            found.append("exported graphs differ")
    return found


def forward_seconds(first: Path, second: Path) -> tuple[float, float]:
    """How long both networks take for one image on the CPU, side by side: see `latencies`.

    What they are built of decides, and `differences` compares that; this is what a clock says of it.
    """
    calls = []
    for folder in (first, second):
        network, spec = load_network(folder)
        calls.append(partial(network.eval(), torch.zeros(1, spec.in_channels, *spec.image_size)))
    with torch.inference_mode():
        ours, theirs = latencies(calls)
    return ours, theirs


def _modules(network: nn.Module) -> set[str]:
    return {
        f"{name or 'network'}: {type(module).__name__}, {len(module._forward_hooks)} hooks"
        for name, module in network.named_modules()
    }


def _tensors(network: nn.Module) -> set[str]:
    return {
        f"{name}: {list(value.shape)} {value.dtype}".replace("torch.", "")
        for name, value in network.state_dict().items()
    }


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _graph(network: nn.Module, planes: torch.Tensor) -> str:
    return str(torch.export.export(network.eval(), (planes,)).graph)
