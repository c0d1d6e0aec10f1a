"""Settings of the distillation losses and of the teacher's input."""

from typing import Literal, Self

from pydantic import Field, model_validator

from lgad_pipeline.config.base import BaseConfig
from lgad_pipeline.errors import LgadError

Reduction = Literal["sum", "max"]
Normalization = Literal["softmax", "l2", "sum"]
Divergence = Literal["squared_sum", "squared_mean", "l2_distance", "kl"]
LabelEncoding = Literal["one_hot", "gray", "binary"]


class MimickingPath(BaseConfig):
    """Pair of layers: the student's layer mimics the attention of the teacher's layer.

    Attributes:
        student: dotted name of the student's layer, as in `network.named_modules()`.
        teacher: dotted name of the teacher's layer.
        weight: weight of this path, relative to the sum of the weights of all paths.
        pool: side of the squares of cells over which both maps are averaged before they are compared; 2
            removes the grid that an unpooling leaves in the maps of a decoder.
    """

    student: str
    teacher: str
    weight: float = Field(default=1.0, gt=0)
    pool: int = Field(default=1, ge=1)


class LossSchedule(BaseConfig):
    """Weight of a distillation loss over the steps of a training; base of the settings of every such loss.

    Attributes:
        weight: factor of this loss; the cross entropy has factor 1.
        start_step: first step with this loss, counted from 0.
        warmup_steps: number of steps over which the weight grows linearly from 0, after `start_step`.
        stop_step: first step without this loss, or None to keep it until the end.
        decay: True to let the weight fall linearly to 0 at `stop_step`, which must then be given.
    """

    weight: float = Field(default=0.1, ge=0)
    start_step: int = Field(default=0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    stop_step: int | None = Field(default=None, ge=1)
    decay: bool = False

    @model_validator(mode="after")
    def _ends_after_it_starts(self) -> Self:
        if self.stop_step is not None and self.stop_step <= self.start_step:
            raise ValueError(f"stop_step {self.stop_step} must come after start_step {self.start_step}")
        if self.decay and self.stop_step is None:
            raise ValueError("decay falls to 0 at stop_step; set stop_step")
        return self

    @property
    def full_weight(self) -> float:
        """The weight before its schedule."""
        return self.weight

    def weight_at(self, step: int) -> float:
        """Return the weight of the loss at `step`, counted from 0."""
        if step < self.start_step or (self.stop_step is not None and step >= self.stop_step):
            return 0.0
        weight = self.full_weight
        if self.warmup_steps:
            weight *= min(1.0, (step - self.start_step + 1) / self.warmup_steps)
        if self.decay and self.stop_step is not None:
            weight *= (self.stop_step - step) / (self.stop_step - self.start_step)
        return weight


class LayerLossConfig(LossSchedule):
    """Settings of a loss on layers of the student, whose gradients there can be controlled.

    `lgad_pipeline.distillation.gradient_control` has the formulas.

    Attributes:
        balance: norm of this loss's gradient at each tapped layer, relative to that of the segmentation loss,
            held constant during the training and scaled by the schedule; it replaces `weight`. None to use
            `weight`.
        gate: True to switch the loss off at a layer while its gradient there points against that of the
            segmentation loss.
    """

    balance: float | None = Field(default=None, gt=0)
    gate: bool = False

    @property
    def full_weight(self) -> float:
        """The weight before its schedule: `balance` if it is given."""
        return self.weight if self.balance is None else self.balance


class AttentionConfig(LayerLossConfig):
    """Settings of a loss that compares attention maps.

    Attributes:
        reduction: reduction of |F|^power over the channels, `sum` or `max`.
        power: exponent of the absolute activations.
        normalization: normalization of a map over its cells, `softmax`, `l2` or `sum`.
        temperature: temperature of the softmax.
        divergence: difference of two maps, `squared_sum`, `squared_mean`, `l2_distance` or `kl`.
        floor: share of a uniform map that is mixed into both maps, 0 or more and below 1; for maps that sum
            to 1.
    """

    reduction: Reduction = "sum"
    power: float = Field(default=2.0, ge=1)
    normalization: Normalization = "sum"
    temperature: float = Field(default=1.0, gt=0)
    divergence: Divergence = "kl"
    floor: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _kl_compares_shares(self) -> Self:
        if self.divergence == "kl" and self.normalization == "l2":
            raise ValueError("divergence kl needs maps that sum to 1; choose normalization softmax or sum")
        if self.floor and self.normalization == "l2":
            raise ValueError("floor needs maps that sum to 1; choose normalization softmax or sum")
        return self


class DistillationConfig(AttentionConfig):
    """Settings of the LGAD loss: weight x mean over the mimicking paths of the divergence.

    Attributes:
        weight: factor of the whole loss, independent of the number of paths. The default is the 0.1 of SAD
            for each of two paths.
        paths: mimicking paths; empty to pair the default attention layers of student and teacher.
        teacher: `before` to train the teacher first, `together` to train it in the same loop as the student.
        maps: `computed` to run the teacher at every step, `cached` to store its maps of every label map and
            of its mirror image once. Stored maps are warped as augmentation warps their frames.
        adapter: True to compare the map of a 1 x 1 convolution of the student's layer, which is trained with
            the student and dropped after the training.
        per_slot: True to compare one map for each slot that has a lane; the channels of the student's layer
            are divided among the slots.
        frame_weight: `equal` to weight all frames equally, `error` to weight each frame by 1 - the mean
            probability that the student gives to the labels of its lane pixels.
    """

    weight: float = Field(default=0.2, ge=0)
    paths: tuple[MimickingPath, ...] = ()
    teacher: Literal["before", "together"] = "before"
    maps: Literal["computed", "cached"] = "computed"
    adapter: bool = False
    per_slot: bool = False
    frame_weight: Literal["equal", "error"] = "equal"

    @model_validator(mode="after")
    def _cached_maps_do_not_change(self) -> Self:
        if self.teacher == "together" and self.maps == "cached":
            raise ValueError("the maps of a teacher that is trained together change; choose maps computed")
        if self.per_slot and (self.teacher == "together" or self.maps == "cached"):
            raise ValueError("per_slot needs a teacher trained before, and maps computed")
        return self


class SadConfig(AttentionConfig):
    """Settings of self attention distillation (SAD): each layer mimics the next deeper one.

    The defaults are the published form. SAD starts at step 40,000 of 60,000, which is two thirds, as the
    default here is of the default training of 600 steps.

    Attributes:
        layers: dotted names of layers, first to deepest; empty for the network's default attention layers.
    """

    layers: tuple[str, ...] = ()
    normalization: Normalization = "softmax"
    divergence: Divergence = "squared_sum"
    start_step: int = Field(default=400, ge=0)


class LogitsConfig(LossSchedule):
    """Settings of logits distillation: the student mimics the class probabilities of another network.

    Attributes:
        weight: factor of this loss; Hinton et al. give the soft targets more weight than the labels.
        temperature: temperature of the softmax of both networks.
    """

    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)


class LabelHeadConfig(LayerLossConfig):
    """Settings of auxiliary label heads: 1 x 1 convolutions on the student's layers predict pooled labels.

    Attributes:
        weight: factor of this loss; PSPNet (Zhao et al., CVPR 2017) has 0.4 for its auxiliary head.
        layers: dotted names of the student's layers; empty for those of the mimicking paths.
        background_weight: weight of the background class, as in the segmentation loss.
    """

    weight: float = Field(default=0.4, ge=0)
    layers: tuple[str, ...] = ()
    background_weight: float = Field(default=0.4, gt=0)


class TeacherInputConfig(BaseConfig):
    """Encoding of the label map that a teacher reads, and its corruption during the teacher's training.

    A teacher can reproduce an intact label map by copying it, and then learns nothing about lanes. Corrupted
    parts can only be restored from the rest of the lane or from the other lanes. The target is never
    corrupted; in validation, and in the training of students, the input is not corrupted either.

    Attributes:
        encoding: `one_hot` for one plane per class, `gray` for one plane with the slots as gray levels,
            `binary` for one plane of background and one of all lanes, from which the slots are predicted.
        noise: standard deviation of Gaussian noise that is added to the planes, whose values are 0 or 1.
        erasing: probability that the lanes of a frame are erased inside a random rectangle.
        shift: largest sideways shift of bands of eight rows, each drawn independently, share of the width.
        stride: step of the rows and columns of the label map that the teacher reads; 2 makes the teacher four
            times cheaper, and its attention maps half as fine. A student's maps are averaged to their size.
    """

    encoding: LabelEncoding = "one_hot"
    noise: float = Field(default=0.0, ge=0)
    erasing: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    stride: int = Field(default=1, ge=1, le=8)


def attention_layers_of(network: object, name: str = "") -> tuple[str, ...]:
    """Return the names of the layers whose attention is mimicked if the settings name no paths.

    Args:
        network: network or its class, with the attribute `attention_layers`.
        name: name of the network for the error; empty for that of its class.

    Raises:
        LgadError: the network has no such attribute.
    """
    layers = getattr(network, "attention_layers", None)
    if not layers:
        raise LgadError(
            f"Network {name or type(network).__name__} has no default attention layers; name them under "
            "distillation.paths, or give its class an attribute attention_layers with names of its modules."
        )
    return tuple(layers)


def default_paths(
    student: tuple[str, ...], teacher: tuple[str, ...] | None = None
) -> tuple[MimickingPath, ...]:
    """Pair the layers of student and teacher, deepest with deepest; extra first layers are left out.

    Args:
        student: dotted names of the student's layers, first to deepest.
        teacher: dotted names of the teacher's layers, first to deepest; None for the names of the student's.
    """
    pairs = zip(reversed(student), reversed(teacher or student), strict=False)
    return tuple(
        MimickingPath(student=student_layer, teacher=teacher_layer) for student_layer, teacher_layer in pairs
    )[::-1]
