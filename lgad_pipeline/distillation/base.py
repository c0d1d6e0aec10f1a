"""Base classes of the distillation losses: of all, of those on tapped layers, and of attention losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn

from lgad_pipeline.config.distillation import (
    AttentionConfig,
    DistillationConfig,
    LayerLossConfig,
    LossSchedule,
    MimickingPath,
)
from lgad_pipeline.distillation.attention import attention_map, check_gradient, divergence_of, pooled
from lgad_pipeline.distillation.context import LossContext
from lgad_pipeline.distillation.gradient_control import GradientControl
from lgad_pipeline.distillation.student_maps import channel_adapter, item_weights, split_channels
from lgad_pipeline.distillation.taps import FeatureTaps
from lgad_pipeline.errors import LgadError


class StudentForward(NamedTuple):
    """Inputs and outputs of one forward of the student.

    Attributes:
        inputs: input of the student (B, C, H, W), normalized frames.
        logits: class logits (B, classes, H, W).
        label_map: label maps of the frames (B, H, W), integers.
        frames: paths of the frames, B of them.
        flipped: mask of the frames that augmentation has mirrored, bool (B,); None for none.
        affine: maps from output to input of the warp of augmentation, see `Batch`; None for none.
        weight: weight of the loss at this step, a number or a scalar tensor, for losses that measure their
            unweighted gradients.
    """

    inputs: torch.Tensor
    logits: torch.Tensor
    label_map: torch.Tensor
    frames: Sequence[str] = ()
    flipped: torch.Tensor | None = None
    affine: torch.Tensor | None = None
    weight: float | torch.Tensor = 1.0


class DistillationLoss(ABC):
    """Loss that a student is trained with in addition to the segmentation loss.

    Attributes:
        Config: class of the settings, `LossSchedule` or a subclass.
        config: weight and schedule.
        companion: module of this loss that is trained and checkpointed with the student and dropped after
            training, or None.
        needs_teacher: True if the loss reads the trained teacher of the context.
    """

    Config: ClassVar[type[LossSchedule]] = LossSchedule
    needs_teacher: ClassVar[bool] = False
    config: LossSchedule
    companion: nn.Module | None = None

    @classmethod
    def from_context(cls, context: LossContext, config: Any) -> "DistillationLoss":
        """Build the loss that a recipe names.

        Args:
            context: networks that the loss may use.
            config: settings, an instance of `Config`.

        Raises:
            LgadError: the loss cannot be built in this way, or lacks a network.
        """
        raise LgadError(f"The loss {cls.__name__} cannot be named in a recipe; subclass RegisteredLoss.")

    @abstractmethod
    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss, a scalar tensor, for the student's latest forward."""

    def skip(self) -> None:  # noqa: B027 - most losses keep nothing of a forward
        """Forget the student's latest forward; called in place of `compute` at a step without this loss."""

    def weight(self, step: int | None) -> float:
        """Return the weight at a step, counted from 0; without a step, the weight without its schedule."""
        return self.config.full_weight if step is None else self.config.weight_at(step)


class LayerLoss(DistillationLoss):
    """Loss on features of the student, whose gradients there may be balanced and gated.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        layers: dotted names of its layers, at least one.
        config: settings of the schedule and the control of the gradients.
        shares: share of each layer in the balance, by layer name; layers that are not named receive no
            gradient and are not controlled. None for 1 each.
    """

    config: LayerLossConfig

    def __init__(
        self,
        student: nn.Module,
        layers: Sequence[str],
        config: LayerLossConfig,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.config = config
        self.taps = FeatureTaps(student, layers)
        self.guided = tuple(self.taps.layers if shares is None else shares)
        self.control: GradientControl | None = None
        if config.balance is not None or config.gate:
            self.control = GradientControl(
                {layer: (shares or {}).get(layer, 1.0) for layer in self.guided}, config
            )
            self.add_companion(self.control)

    def add_companion(self, module: nn.Module) -> None:
        """Train and checkpoint a module with the student."""
        self.companion = nn.ModuleList([*(self.companion or ()), module])  # type: ignore[misc]

    def skip(self) -> None:
        """Clear the taps."""
        self.taps.clear()

    def no_loss(self) -> torch.Tensor:
        """Return a loss of 0 on the student's device in place of that of the latest forward."""
        features = self.taps.pop()
        return torch.zeros((), device=features[self.taps.layers[0]].device)

    def features(self, weight: float | torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the features (B, C, h, w) of the latest forward by layer name, and clear the taps.

        Args:
            weight: weight of the loss at this step.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        features = self.taps.pop(in_graph=self.control is not None and torch.is_grad_enabled())
        guided = {layer: features[layer] for layer in self.guided}
        check_gradient(guided)
        return features if self.control is None else features | self.control(guided, weight)


class AttentionLoss(LayerLoss):
    """Mean over mimicking paths of the divergence of the student's attention from given target maps.

    With `per_slot`, channels of the student are divided into groups, one for each slot, and there is a map
    for each of them. With `adapter`, a 1 x 1 convolution comes before each map (as the regressor of FitNets,
    Romero et al., ICLR 2015, arXiv:1412.6550, section 2.2); it starts as the identity.

    Args:
        student: network in training; its layers are tapped, it is otherwise unchanged.
        paths: mimicking paths, at least one.
        config: settings of the maps, their divergence and the schedule.
        slots: number of lane slots, for `per_slot`.
        channels: number of channels of each tapped layer of the student, for `adapter`.

    Raises:
        LgadError: there is no path, or the adapters do not know the numbers of channels.
    """

    config: AttentionConfig

    def __init__(
        self,
        student: nn.Module,
        paths: Sequence[MimickingPath],
        config: AttentionConfig,
        *,
        slots: int = 1,
        channels: Mapping[str, int] | None = None,
    ) -> None:
        if not paths:
            raise LgadError("An attention loss needs a mimicking path; give at least one.")
        self.paths = tuple(paths)
        self.total_weight = sum(path.weight for path in self.paths)
        super().__init__(student, [path.student for path in self.paths], config, self._shares())
        lgad = config if isinstance(config, DistillationConfig) else None
        self.groups = slots if lgad and lgad.per_slot else 1
        self.by_error = lgad is not None and lgad.frame_weight == "error"
        self.adapters: dict[str, nn.Conv2d] = {}
        if lgad and lgad.adapter:
            if missing := [layer for layer in self.taps.layers if layer not in (channels or {})]:
                raise LgadError(
                    f"The setting adapter needs the number of channels of {', '.join(missing)}; "
                    "give the argument channels."
                )
            assert channels is not None
            device = next((parameter.device for parameter in student.parameters()), None)
            self.adapters = {
                layer: channel_adapter(channels[layer], self.groups).to(device) for layer in self.taps.layers
            }
            self.add_companion(nn.ModuleList(self.adapters.values()))

    def _shares(self) -> dict[str, float]:
        """Return the sum of the path weights of each layer of the student, relative to their mean."""
        weights: dict[str, float] = {}
        for path in self.paths:
            weights[path.student] = weights.get(path.student, 0.0) + path.weight
        return {layer: weight * len(weights) / self.total_weight for layer, weight in weights.items()}

    @abstractmethod
    def targets(self, forward: StudentForward) -> Mapping[str, torch.Tensor]:
        """Return the target maps by the layer name of the teacher: (B, h, w), or (B x slots, h, w)."""

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss for the student's latest forward."""
        return self.compare(self.targets(forward), forward)

    def compare(self, targets: Mapping[str, torch.Tensor], forward: StudentForward) -> torch.Tensor:
        """Return the mean over paths, weighted by the paths' weights, of the divergence from the targets.

        Args:
            targets: see `targets`.
            forward: the student's latest forward.

        Raises:
            LgadError: a layer of the student passes no gradient, because it is frozen.
        """
        return self.divergence(self.maps(forward), targets, forward)

    def maps(self, forward: StudentForward) -> dict[str, torch.Tensor]:
        """Return the student's maps (B, h, w), or (B x slots, h, w), by layer name, and clear the taps."""
        return {layer: self._map(layer, values) for layer, values in self.features(forward.weight).items()}

    def divergence(
        self, maps: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor], forward: StudentForward
    ) -> torch.Tensor:
        """Return the mean over paths of the divergence of given maps from the targets."""
        weights = None
        if self.groups > 1 or self.by_error:
            logits = forward.logits if self.by_error else None
            weights = item_weights(forward.label_map, logits, self.groups)
        terms = [
            path.weight
            / self.total_weight
            * divergence_of(
                pooled(maps[path.student], path.pool),
                pooled(targets[path.teacher], path.pool),
                self.config,
                weights,
            )
            for path in self.paths
        ]
        return torch.stack(terms).sum()

    def _map(self, layer: str, features: torch.Tensor) -> torch.Tensor:
        if self.adapters:
            adapter = self.adapters[layer]
            features = adapter(features.to(adapter.weight.dtype))
        if self.groups > 1:
            features = split_channels(features, self.groups, layer)
        return attention_map(features, self.config.reduction, self.config.power)
