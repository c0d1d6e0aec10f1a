"""Self attention distillation (Hou et al., ICCV 2019): a layer mimics the next deeper one of its network."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from lgad_pipeline.config.distillation import SadConfig
from lgad_pipeline.distillation.attention import divergence
from lgad_pipeline.distillation.lessons import Seen
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.distillation.teacher import check_gradient, taken
from lgad_pipeline.errors import LgadError


class SadLoss:
    """Compares the attention of each layer with that of the next deeper one (SAD, section 3.2, equation 4).

    The deeper layer is the target, and no gradient reaches it: with one, it would follow the shallower one.
    The known PyTorch rewrite of ENet-SAD lets the gradient through.

    Args:
        student: the network that is trained; tapped, otherwise unchanged.
        layers: dotted names, first to deepest, at least two.
        config: maps, normalization, divergence and schedule.

    Raises:
        LgadError: there are fewer than two layers, or a name matches none.
    """

    def __init__(self, student: nn.Module, layers: Sequence[str], config: SadConfig) -> None:
        if len(layers) < 2:
            raise LgadError(
                f"SAD needs two layers, of which one mimics the other, but has {list(layers)}; "
                "name them under sad.layers."
            )
        self.config = config
        self.taps = FeatureTaps(student, layers)

    def __call__(self, seen: Seen) -> torch.Tensor:
        """Return the sum over neighbouring layers of their divergence, one number.

        Raises:
            LgadError: a layer passes no gradient, because it is frozen.
        """
        maps = taken(self.taps, self.config)
        check_gradient({layer: maps[layer] for layer in self.taps.layers[:-1]})  # the deepest is a target
        terms = [
            divergence(
                maps[layer],
                maps[deeper].detach(),
                self.config.divergence,
                self.config.normalization,
                self.config.temperature,
            )
            for layer, deeper in pairwise(self.taps.layers)
        ]
        return torch.stack(terms).sum()
