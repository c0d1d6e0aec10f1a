"""Cost of a network: parameters and floating-point operations."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from lgad_pipeline.config.network import NetworkSpec
from lgad_pipeline.errors import LgadError
from lgad_pipeline.networks.registry import build_network


def parameters(spec: NetworkSpec) -> int:
    """Count the learnable parameters of a network."""
    try:
        with torch.device("meta"):
            network = build_network(spec)
    except LgadError:  # encoders of other packages may need real tensors to be built
        with torch.random.fork_rng([]):
            network = build_network(spec)
    return sum(parameter.numel() for parameter in network.parameters())


def operations(spec: NetworkSpec) -> int:
    """Count the floating-point operations of a forward pass of one frame, without computing it.

    A multiplication and an addition count as two. Convolutions and matrix products are counted, as
    `torch.utils.flop_counter` does; normalizations, activations and pooling are not.
    """
    with torch.device("meta"), torch.no_grad(), FlopCounterMode(display=False) as counter:
        build_network(spec).eval()(torch.empty(1, spec.in_channels, *spec.image_size))
    return counter.get_total_flops()
