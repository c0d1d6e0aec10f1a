"""Control of the gradient that a loss on tapped layers sends into the student: balance and gate.

At a tapped layer F let g be the gradient of the distillation loss at F, without its weight, and s the
gradient of all other losses that reaches F through the layers after it (without other distillation losses:
that of the segmentation loss). Running means E of ss = |s|^2, gg = |g|^2 and sg = <s, g> are kept for each
layer. With w the weight of the loss at this step, the gradient that continues from F into the layers before
it is c w g, with

    balance:  c = sqrt(E[ss] / E[gg]), and w the balance times the schedule, so that the norm of c w g is
              that share of |s|: the adaptive weight of VQGAN (Esser et al., CVPR 2021, equation 7), at the
              tapped layer in place of the last one, and with running means;
    gate:     c = 0 where the running cosine E[sg] / sqrt(E[ss] E[gg]) is negative
              (Du et al., "Adapting auxiliary losses using gradient similarity", 2018, arXiv:1812.02224).

One forward in eight measures, the first one of the loss included (with `accumulation` a step has several
forwards): there c is 0 in all layers, because the gradient of the distillation loss at a deep layer would
otherwise be a part of s at the layers before it. Losses of one training measure in the same forwards
(`measure_together`), so that none is a part of another one's s. The three means have the same weights over
time, so that the correction of their bias cancels in c and in the cosine.

Several processes share their measurements, so that c is that of the whole batch.
Everything, the count of steps included, is on the training device; nothing waits for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lgad_pipeline.config.distillation import LayerLossConfig
from lgad_pipeline.distillation.processes import mean_over_processes
from lgad_pipeline.errors import LgadError

MEASURING_PERIOD = 8
"""Number of forwards from one that measures to the next."""
DECAY = 0.8
"""Factor of the older values in the running means, from one measuring forward to the next."""


class GradientControl(nn.Module):
    """Factors of the gradients of one loss at its tapped layers, from measured gradients.

    The running means are buffers, so that a checkpoint of a module that contains this one restores them.

    Args:
        layers: share of each tapped layer in the balance, by layer name; 1 for the balance itself.
        config: settings of the control.
    """

    calls: torch.Tensor  # number of forwards since the first one, or one of `measure_together`, int64 scalar
    means: torch.Tensor  # ss, gg, sg of each layer, float32 (layers, 3)
    shares: torch.Tensor  # float32 (layers,)

    def __init__(self, layers: Mapping[str, float], config: LayerLossConfig) -> None:
        super().__init__()
        self.config = config
        self.rows = {layer: row for row, layer in enumerate(layers)}
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("means", torch.zeros(len(layers), 3))
        self.register_buffer("shares", torch.tensor(list(layers.values())), persistent=False)

    def forward(
        self, features: Mapping[str, torch.Tensor], weight: float | torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return the same features, whose gradients are measured and scaled on the way back.

        Args:
            features: outputs (B, C, h, w) of the tapped layers by layer name, in the graph of the student's
                output.
            weight: weight w of the loss at this step, a number or a scalar tensor.
        """
        if not torch.is_grad_enabled():
            return dict(features)
        self.to(next(iter(features.values())).device)
        measures = self.calls % MEASURING_PERIOD == 0
        factors = self.factors() * ~measures
        self.calls += 1
        controlled = {}
        for layer, values in features.items():
            probe = _Probe(self, self.rows[layer], layer, measures=measures, weight=weight)
            values.register_hook(probe.arrived)
            controlled[layer] = _Scaled.apply(values, factors[self.rows[layer]], probe)
        return controlled

    def factors(self) -> torch.Tensor:
        """Return the factor c of each layer at a step that does not measure, float32 (layers,)."""
        segmentation, own, product = self.means.unbind(dim=1)
        factors = torch.ones_like(own)
        if self.config.balance is not None:
            factors = self.shares * (segmentation / own.clamp(min=torch.finfo(own.dtype).tiny)).sqrt()
        open_ = own > 0
        if self.config.gate:
            open_ = open_ & (product >= 0)
        return torch.where(open_, factors, torch.zeros_like(factors))


def measure_together(controls: Sequence[GradientControl]) -> None:
    """Let all controls measure in the next forward if one of them does, and count from there.

    Args:
        controls: controls of all active losses of a training, on one device.
    """
    if len(controls) > 1:
        due = torch.stack([control.calls % MEASURING_PERIOD == 0 for control in controls]).any()
        for control in controls:
            control.calls.masked_fill_(due, 0)


class _Probe:
    """Measurement of both gradients at one layer, in one backward pass.

    Args:
        control: owner of the running means.
        row: row of the layer in the means.
        layer: dotted name of the layer.
        measures: bool scalar tensor, True if this step measures.
        weight: weight of the loss at this step.
    """

    def __init__(
        self,
        control: GradientControl,
        row: int,
        layer: str,
        *,
        measures: torch.Tensor,
        weight: float | torch.Tensor,
    ) -> None:
        self.control, self.row, self.layer = control, row, layer
        self.measures, self.weight = measures, weight
        self.own: torch.Tensor | None = None
        self.passed: torch.Tensor | None = None

    @torch.no_grad()
    def arrived(self, gradient: torch.Tensor) -> None:
        """Update the means when all gradients have arrived at the layer; on a measuring step they are s."""
        own, passed = self.own, self.passed
        self.own = self.passed = None
        if own is None or passed is None:  # a backward pass of other losses alone
            return
        if gradient is passed:  # nothing was added to the gradient of this loss
            raise LgadError(
                f"No gradient of the segmentation loss reaches layer {self.layer}, so that balance and gate "
                "have nothing to compare with; choose another layer, or set balance: null and gate: false."
            )
        if self.measures.device.type == "cpu" and not self.measures:  # a GPU would have to be waited for
            return
        s, g = gradient.float(), own.float() / self.weight
        new = mean_over_processes(torch.stack([s.square().sum(), g.square().sum(), (s * g).sum()]))
        old = self.control.means[self.row]
        moved = torch.where(old[1] > 0, torch.lerp(new, old, DECAY), new)
        # Gradients that overflow, as with scaled float16, do not count.
        counts = self.measures & new.isfinite().all()
        self.control.means[self.row] = torch.where(counts, moved, old)


class _Scaled(torch.autograd.Function):
    """Identity; hands the gradient to a probe and multiplies it by a factor."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor, factor: torch.Tensor, probe: _Probe) -> torch.Tensor:
        ctx.save_for_backward(factor)
        ctx.probe = probe
        return features.view_as(features)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore[override]
        (factor,) = ctx.saved_tensors
        scaled = gradient * factor
        ctx.probe.own, ctx.probe.passed = gradient, scaled
        return scaled, None, None
