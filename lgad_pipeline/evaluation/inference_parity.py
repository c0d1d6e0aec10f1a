"""Comparison of two trained networks in all that can change the cost of inference."""

from functools import partial
from pathlib import Path

import torch
from torch import nn

from lgad_pipeline.evaluation.model_comparison import latencies
from lgad_pipeline.networks.checkpoint import load_network


def differences(first: Path, second: Path) -> list[str]:
    """Compare two trained networks in all that can change the cost of inference: all but the weights' values.

    Compared are settings, modules by name and kind, hooks, parameters and buffers by name, shape and type,
    the files in the folders, and the exported graphs, operation by operation.

    Args:
        first: directory of a trained student, such as one trained without a teacher.
        second: directory of another student, such as a distilled one.

    Returns:
        A sentence for each difference.
    """
    (first_network, first_spec), (second_network, second_spec) = load_network(first), load_network(second)
    sentences = [] if first_spec == second_spec else [f"settings differ: {first_spec} and {second_spec}"]
    pairs = {
        "modules": (_modules(first_network), _modules(second_network)),
        "tensors": (_tensors(first_network), _tensors(second_network)),
        "files": (_files(first), _files(second)),
    }
    for kind, (first_items, second_items) in pairs.items():
        if first_items != second_items:
            sentences.append(f"{kind} differ: {', '.join(sorted(first_items ^ second_items)[:5])}")
    if not sentences:
        planes = torch.zeros(1, first_spec.in_channels, *first_spec.image_size)
        if _graph(first_network, planes) != _graph(second_network, planes):
            sentences.append("exported graphs differ")
    return sentences


def forward_seconds(first: Path, second: Path) -> tuple[float, float]:
    """Measure both networks on one image on the CPU, in turn, and return the seconds: see `latencies`."""
    calls = []
    for folder in (first, second):
        network, spec = load_network(folder)
        calls.append(partial(network.eval(), torch.zeros(1, spec.in_channels, *spec.image_size)))
    with torch.inference_mode():
        first_seconds, second_seconds = latencies(calls)
    return first_seconds, second_seconds


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
