"""Cost of a network: parameters and floating-point operations."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.networks.registry import build_network


def parameters(spec: NetworkSpec) -> int:
    """Count the learnable parameters of a network."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in build_network(spec).parameters())


def operations(spec: NetworkSpec) -> int:
    """Count the floating-point operations of a forward pass of one frame, without computing it.

    A multiplication and an addition count as two. Convolutions and matrix products are counted, as
    `torch.utils.flop_counter` does; normalizations, activations and pooling are not.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_network(spec).eval()(torch.empty(1, spec.in_channels, *spec.image_size))
    return counter.get_total_flops()
