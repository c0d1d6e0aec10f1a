"""Control of the gradient that a loss on tapped layers sends into the student: balance and gate.

At a tapped layer F let g be the gradient of the distillation loss at F, before any weight, and s the gradient
of all other losses that reaches F through the layers after it (without other distillation losses: that of the
segmentation loss). Running means E of ss = |s|^2, gg = |g|^2 and sg = <s, g> are kept for each layer. The
gradient that continues from F into the layers before it is c g, with

    balance rho:  c = rho x schedule x sqrt(E[ss] / E[gg]), so that |c g| is rho times |s|;
                  the adaptive weight of VQGAN (Esser et al., CVPR 2021, equation 7), at the tapped layer
                  in place of the last one, and with running means;
    gate:         c = 0 where the running cosine E[sg] / sqrt(E[ss] E[gg]) is negative
                  (Du et al., "Adapting auxiliary losses using gradient similarity", 2018, arXiv:1812.02224).

One step in eight measures: there c is 0 in all layers, because the gradient of the distillation loss at a
deep layer would otherwise be a part of s at the layers before it. The first step of the loss is such a step.
The three means have the same weights over time, so that the correction of their bias cancels in c and in the
cosine. Everything stays on the training device; nothing waits for it.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lgad_pipeline.config.distillation import LayerLossConfig
from lgad_pipeline.errors import LgadError

MEASURING_PERIOD = 8
"""Number of steps from one measuring step to the next."""
DECAY = 0.8
"""Factor of the older values in the running means, from one measuring step to the next."""


class GradientControl(nn.Module):
    """Factors of the gradients of one loss at its tapped layers, from measured gradients.

    The running means are buffers, so that a checkpoint of a module that contains this one restores them.

    Args:
        layers: share of each tapped layer in the balance, by layer name; a share of 1 is held at `balance`.
        config: settings of the control and the schedule.
    """

    means: torch.Tensor  # (layers, 3): ss, gg, sg

    def __init__(self, layers: Mapping[str, float], config: LayerLossConfig) -> None:
        super().__init__()
        self.config = config
        self.rows = {layer: row for row, layer in enumerate(layers)}
        self.register_buffer("means", torch.zeros(len(layers), 3))
        self.register_buffer("shares", torch.tensor(list(layers.values())), persistent=False)

    def forward(self, features: Mapping[str, torch.Tensor], step: int | None) -> dict[str, torch.Tensor]:
        """Return the same features, whose gradients are measured or scaled on the way back.

        Args:
            features: outputs (B, C, h, w) of the tapped layers by layer name, in the graph of the student's
                output.
            step: number of the training step, from 0.

        Raises:
            LgadError: the step is None.
        """
        if not torch.is_grad_enabled():
            return dict(features)
        if step is None:
            raise LgadError(
                "The settings balance and gate measure gradients at fixed steps; give the argument step."
            )
        self.to(next(iter(features.values())).device)
        if (step - self.config.start_step) % MEASURING_PERIOD == 0:
            return {layer: self._measured(layer, values) for layer, values in features.items()}
        factors = self.factors(step)
        return {
            layer: _Scaled.apply(values, factors[self.rows[layer]])  # type: ignore[misc]
            for layer, values in features.items()
        }

    def factors(self, step: int) -> torch.Tensor:
        """Return the factor c of each layer at a step that does not measure, float32 (layers,)."""
        segmentation, own, product = self.means.unbind(dim=1)
        open_ = product >= 0 if self.config.gate else torch.ones_like(product, dtype=torch.bool)
        factors = torch.ones_like(own)
        if self.config.balance is not None:
            ratio = (segmentation / own.clamp(min=torch.finfo(own.dtype).tiny)).sqrt()
            factors = self.config.scheduled(self.config.balance, step) * self.shares * ratio
        return factors * (open_ & (own > 0))

    def cosines(self) -> torch.Tensor:
        """Return the running cosine of the two gradients at each layer, float32 (layers,); 0 if unknown."""
        segmentation, own, product = self.means.unbind(dim=1)
        tiny = torch.finfo(own.dtype).tiny
        return product / (segmentation.sqrt() * own.sqrt()).clamp(min=tiny)

    def _measured(self, layer: str, features: torch.Tensor) -> torch.Tensor:
        own: list[torch.Tensor] = []
        # The node of `_Held` comes before the hook, because the hook runs when all gradients at the features
        # have arrived; it sees those of the other losses alone.
        features.register_hook(lambda gradient: self._update(layer, gradient, own))
        return _Held.apply(features, own)  # type: ignore[no-any-return]

    @torch.no_grad()
    def _update(self, layer: str, segmentation: torch.Tensor | None, own: list[torch.Tensor]) -> None:
        if not own:  # a backward pass of other losses alone
            return
        if segmentation is None:
            raise LgadError(
                f"No gradient of the segmentation loss reaches layer {layer}, so that balance and gate have "
                "nothing to compare with; choose another layer, or set balance to null and gate to false."
            )
        row = self.rows[layer]
        s, g = segmentation.float(), own.pop().float()
        new = torch.stack([s.square().sum(), g.square().sum(), (s * g).sum()])
        old = self.means[row]
        moved = torch.where((old[1] > 0), torch.lerp(new, old, DECAY), new)
        # Gradients that overflow, as with scaled float16, do not count.
        self.means[row] = torch.where(new.isfinite().all(), moved, old)


class _Scaled(torch.autograd.Function):
    """Identity; multiplies the gradient by a factor."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(factor)
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (factor,) = ctx.saved_tensors
        return gradient * factor, None


class _Held(torch.autograd.Function):
    """Identity; keeps the gradient in a list and passes none."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, held: list[torch.Tensor]) -> torch.Tensor:
        ctx.held = held
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, None]:  # type: ignore[override]
        ctx.held.append(gradient)
        return None, None
