"""Training tasks: a teacher that reproduces label maps, and a student that finds lanes in frames.

A task runs its network on a batch and returns named, weighted loss terms, so that one loop trains both.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import nn

from lgad_pipeline.config.distillation import TeacherInputConfig
from lgad_pipeline.config.training import TrainingConfig
from lgad_pipeline.data.loader import Batch
from lgad_pipeline.data.normalization import normalize
from lgad_pipeline.distillation.base import DistillationLoss, LayerLoss, StudentForward
from lgad_pipeline.distillation.gradient_control import measure_together
from lgad_pipeline.distillation.joint_teacher import JointLgadLoss
from lgad_pipeline.distillation.teacher import corrupt_label_planes, label_planes, read_pixels
from lgad_pipeline.networks.layers import LaneOutput, check_lane_output
from lgad_pipeline.training import segmentation_losses

Weight = float | torch.Tensor


class LossTerm(NamedTuple):
    """Term of a training loss.

    Attributes:
        name: name in the training history.
        value: unweighted value, a scalar tensor.
        weight: weight of the term at this step, a number or a scalar tensor.
    """

    name: str
    value: torch.Tensor
    weight: Weight


class Task(Protocol):
    """Interface between the training loop and what is trained."""

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return the network's input for a batch, float32 (B, in_channels, H, W)."""
        ...

    def labels(self, batch: Batch) -> torch.Tensor:
        """Return the label maps that the network's logits are compared with, integers (B, h, w)."""
        ...

    def weights(self, step: int) -> dict[str, float]:
        """Return the weights of the scheduled terms that are active at a step, counted from 0."""
        ...

    def idle_parameters(self, weights: Mapping[str, Weight]) -> list[nn.Parameter]:
        """Return the trained parameters that only losses without a weight use."""
        ...

    def losses(self, network: nn.Module, batch: Batch, weights: Mapping[str, Weight]) -> list[LossTerm]:
        """Run the network on a batch and return its loss terms, of the scheduled ones those with a weight."""
        ...


class TeacherTask:
    """Training of a teacher: label map in, label map out.

    Args:
        config: settings of the training.
        slots: number of lane slots, without the background.
        teacher_input: encoding of the label map and its corruption in training; None for the defaults.
    """

    def __init__(
        self, config: TrainingConfig, slots: int, teacher_input: TeacherInputConfig | None = None
    ) -> None:
        self.config, self.slots = config, slots
        self.teacher_input = teacher_input or TeacherInputConfig()

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return the encoded label map (B, in_channels, H, W), not corrupted."""
        reading = self.teacher_input
        return label_planes(batch.label, self.slots + 1, reading.encoding, stride=reading.stride)

    def labels(self, batch: Batch) -> torch.Tensor:
        """Return the label maps (B, H, W) of the pixels that are read."""
        return read_pixels(batch.label, self.teacher_input.stride)

    def weights(self, step: int) -> dict[str, float]:
        """Return no weights: all terms are constant."""
        return {}

    def idle_parameters(self, weights: Mapping[str, Weight]) -> list[nn.Parameter]:
        """Return no parameters: there are no losses that end."""
        return []

    def losses(self, network: nn.Module, batch: Batch, weights: Mapping[str, Weight]) -> list[LossTerm]:
        """Return `cross_entropy`, `iou` and, for a network with an existence head, `existence`."""
        planes = corrupt_label_planes(self.inputs(batch), self.teacher_input)
        return lane_losses(network(_channels_last(planes)), self.labels(batch), batch.existence, self.config)


class StudentTask:
    """Training of a student: frame in, label map out, with distillation losses.

    Args:
        config: settings of the training.
        distillation: distillation losses by the name of their term; none for a student alone.
        joint: loss with a teacher that is trained in the same loop; its terms are named `teacher/<term>`.
    """

    def __init__(
        self,
        config: TrainingConfig,
        distillation: Mapping[str, DistillationLoss] | None = None,
        joint: JointLgadLoss | None = None,
    ) -> None:
        self.config = config
        self.distillation = dict(distillation or {})
        self.joint = joint

    def inputs(self, batch: Batch) -> torch.Tensor:
        """Return the normalized frames (B, 3, H, W)."""
        return normalize(batch.image)

    def labels(self, batch: Batch) -> torch.Tensor:
        """Return the label maps (B, H, W)."""
        return batch.label

    def weights(self, step: int) -> dict[str, float]:
        """Return the weights of the distillation losses that are active at a step."""
        weights = {name: loss.weight(step) for name, loss in self.distillation.items()}
        return {name: weight for name, weight in weights.items() if weight}

    def idle_parameters(self, weights: Mapping[str, Weight]) -> list[nn.Parameter]:
        """Return the parameters of label heads and adapters of inactive losses, but not a joint teacher's."""
        teacher = set(self.joint.teacher.parameters()) if self.joint is not None else set()
        companions = [loss.companion for name, loss in self.distillation.items() if name not in weights]
        return [
            parameter
            for companion in companions
            if companion is not None
            for parameter in companion.parameters()
            if parameter not in teacher
        ]

    def losses(self, network: nn.Module, batch: Batch, weights: Mapping[str, Weight]) -> list[LossTerm]:
        """Return the terms of the student, those of a joint teacher, and the active distillation losses.

        Those of a student are the terms of `lane_losses`, and `lane_types` if it predicts types of lanes.
        """
        # The student runs first, so that its dropout masks are the same with and without a teacher.
        planes = _channels_last(self.inputs(batch))
        output = network(planes)
        terms = lane_losses(output, batch.label, batch.existence, self.config)
        if output.types is not None and batch.types is not None:
            types = segmentation_losses.lane_types(output.types, batch.types, batch.existence)
            terms.append(LossTerm("lane_types", types, self.config.lane_type_weight))
        if self.joint is not None:
            teacher_output = self.joint.teacher_forward(batch.label)
            seen = read_pixels(batch.label, self.joint.stride)
            teacher_terms = lane_losses(teacher_output, seen, batch.existence, self.config)
            terms += [term._replace(name=f"teacher/{term.name}") for term in teacher_terms]
        forward = student_forward(planes, output, batch)
        for name, loss in self.distillation.items():
            if name not in weights:
                loss.skip()
        active = {name: self.distillation[name] for name in weights}
        controls = [loss.control for loss in active.values() if isinstance(loss, LayerLoss)]
        measure_together([control for control in controls if control is not None])
        for name, loss in active.items():
            value = loss.compute(forward._replace(weight=weights[name]))
            terms.append(LossTerm(name, value, weights[name]))
        return terms


class TrainedPair(nn.Module):
    """Student and a second module that is trained with it (a joint teacher, label heads or adapters).

    The forward is that of the student.
    """

    def __init__(self, student: nn.Module, companion: nn.Module) -> None:
        super().__init__()
        self.student, self.companion = student, companion

    def forward(self, planes: torch.Tensor) -> LaneOutput:
        """Run the student."""
        return self.student(planes)


def student_forward(planes: torch.Tensor, output: LaneOutput, batch: Batch) -> StudentForward:
    """Return what distillation losses read of one forward.

    Args:
        planes: input of the student (B, 3, H, W).
        output: its output.
        batch: augmented batch.
    """
    return StudentForward(planes, output.logits, batch.label, batch.frames, batch.flipped, batch.affine)


def companion_parameters(network: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained with a student but are not its own."""
    parameters: list[nn.Parameter] = []
    while isinstance(network, TrainedPair):
        parameters += network.companion.parameters()
        network = network.student
    return parameters


def lane_losses(
    output: LaneOutput, label_map: torch.Tensor, existence_flags: torch.Tensor, config: TrainingConfig
) -> list[LossTerm]:
    """Return the segmentation and existence terms of one forward.

    Args:
        output: output of a network, logits (B, classes, h, w).
        label_map: label maps (B, h, w), integers.
        existence_flags: flags (B, slots), 1 if the slot contains a lane, else 0.
        config: background and term weights.

    Raises:
        LgadError: the output has another form; see `check_lane_output`.
    """
    check_lane_output(output, label_map.shape, existence_flags.shape[1])
    log_probability = segmentation_losses.log_probabilities(output.logits)
    label = label_map.long()
    cross_entropy = segmentation_losses.cross_entropy(log_probability, label, config.background_weight)
    iou = segmentation_losses.soft_iou(log_probability, label)
    terms = [LossTerm("cross_entropy", cross_entropy, 1.0), LossTerm("iou", iou, config.iou_weight)]
    if output.existence is not None:
        existence = segmentation_losses.existence(output.existence, existence_flags)
        terms.append(LossTerm("existence", existence, config.existence_weight))
    return terms


def total_loss(terms: Sequence[LossTerm]) -> torch.Tensor:
    """Return the weighted sum of loss terms, a scalar tensor."""
    return torch.stack([term.weight * term.value for term in terms]).sum()


def _channels_last(planes: torch.Tensor) -> torch.Tensor:
    return planes.contiguous(memory_format=torch.channels_last)
