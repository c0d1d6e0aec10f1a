"""What a student learns from beside the labels, how strongly and when."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Reduction = Literal["sum", "max"]
Normalization = Literal["softmax", "l2", "sum"]
Divergence = Literal["squared_sum", "squared_mean", "distance", "kl"]
LabelForm = Literal["planes", "grey", "merged"]


class MimickingPath(BaseModel):
    """One layer of the student that mimics the attention of one layer of the teacher.

    Attributes:
        student: Dotted name of the student's layer, as in `network.named_modules()`.
        teacher: Dotted name of the teacher's layer.
        weight: Share of this path among all paths; the shares are divided by their sum.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: str
    teacher: str
    weight: float = Field(default=1.0, gt=0)


class LessonConfig(BaseModel):
    """How strongly and when a student learns from something beside the labels.

    Attributes:
        weight: of the lesson's loss beside the segmentation loss.
        start_step: first step of the lesson.
        warmup_steps: steps over which the weight grows from 0 after `start_step`.
        stop_step: first step without the lesson, or None for never.
        decay: the weight falls linearly to 0 at `stop_step` (needs one).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

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
            raise ValueError("decay falls to 0 at stop_step; name a stop_step")
        return self

    def weight_at(self, step: int) -> float:
        """Return the weight of the loss at `step`, counted from 0."""
        if step < self.start_step or (self.stop_step is not None and step >= self.stop_step):
            return 0.0
        weight = self.weight
        if self.warmup_steps:
            weight *= min(1.0, (step - self.start_step + 1) / self.warmup_steps)
        if self.decay and self.stop_step is not None:
            weight *= (self.stop_step - step) / (self.stop_step - self.start_step)
        return weight


class AttentionConfig(LessonConfig):
    """A lesson about attention maps: what a map is, and how far two are apart.

    Attributes:
        reduction: of |F|^power over the channels, `sum` or `max`.
        power: exponent of the activations.
        normalization: of a map over the image, `softmax`, `l2` or `sum`.
        temperature: of the softmax.
        divergence: `squared_sum`, `squared_mean`, `distance` or `kl`.
    """

    reduction: Reduction = "sum"
    power: float = Field(default=2.0, ge=1)
    normalization: Normalization = "sum"
    temperature: float = Field(default=1.0, gt=0)
    divergence: Divergence = "kl"

    @model_validator(mode="after")
    def _kl_compares_shares(self) -> Self:
        if self.divergence == "kl" and self.normalization == "l2":
            raise ValueError("divergence kl compares shares; choose normalization softmax or sum")
        return self


class DistillationConfig(AttentionConfig):
    """The LGAD loss: weight x mean over paths of the divergence of the attention maps.

    Attributes:
        weight: Factor of the whole loss, whatever the number of paths. The default is SAD's 0.1 for each of
            two paths.
        paths: mimicking paths; empty for the network's default layers, each with the teacher's of that name.
        teacher: trained `before` the student, or `together` with it in one loop.
        maps: of the teacher: `computed` at every step, or `stored` once for every label map and its mirror
            image, which needs an augmentation without rotation, scale and shift.
    """

    weight: float = Field(default=0.2, ge=0)
    paths: tuple[MimickingPath, ...] = ()
    teacher: Literal["before", "together"] = "before"
    maps: Literal["computed", "stored"] = "computed"

    @model_validator(mode="after")
    def _stored_maps_do_not_change(self) -> Self:
        if self.teacher == "together" and self.maps == "stored":
            raise ValueError("maps of a teacher that is trained together change; choose maps computed")
        return self


class SadConfig(AttentionConfig):
    """Self attention distillation: each layer mimics the next deeper one of the same network.

    The defaults are the published form. SAD starts at 40,000 of 60,000 steps: two thirds, as does the
    default for the default training of 600 steps.

    Attributes:
        layers: dotted names, first to deepest; empty for the network's default layers.
    """

    layers: tuple[str, ...] = ()
    normalization: Normalization = "softmax"
    divergence: Divergence = "squared_sum"
    start_step: int = Field(default=400, ge=0)


class LogitsConfig(LessonConfig):
    """Logits distillation: the class probabilities of another trained network, pixel by pixel.

    Attributes:
        weight: beside the segmentation loss; Hinton et al. weigh the soft targets more than the labels.
        temperature: of the softmax of both networks.
    """

    weight: float = Field(default=1.0, ge=0)
    temperature: float = Field(default=2.0, gt=0)


class LabelHeadConfig(LessonConfig):
    """Auxiliary label heads: 1 x 1 convolutions at layers of the student, trained on the pooled labels.

    Attributes:
        weight: Factor of the loss; PSPNet (Zhao et al., CVPR 2017) has 0.4 for its auxiliary head.
        layers: Dotted names of the student's layers; empty for those of the mimicking paths.
        background_weight: Weight of the background class, as in the segmentation loss.
    """

    weight: float = Field(default=0.4, ge=0)
    layers: tuple[str, ...] = ()
    background_weight: float = Field(default=0.4, gt=0)


class TeacherInputConfig(BaseModel):
    """What a teacher reads of a label map, and how that is spoiled while it trains; its target stays whole.

    To copy its input is easy, and teaches a teacher nothing about lanes. What is spoiled can only be restored
    from the rest of the lane, or from the other lanes. Validation and students see it unspoiled.

    Attributes:
        form: `planes`, one plane a class; `grey`, one plane with the slots as grey levels; `merged`, a plane
            of background and one of all lanes, of which the slots are asked back.
        noise: standard deviation of Gaussian noise on the planes, of which each is 0 or 1.
        erasing: probability that a frame loses its lanes inside a random rectangle.
        shift: largest sideways shift of bands of eight rows, each on its own, share of the width.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    form: LabelForm = "planes"
    noise: float = Field(default=0.0, ge=0)
    erasing: float = Field(default=0.0, ge=0, le=1)
    shift: float = Field(default=0.0, ge=0, le=0.5)


def default_paths(
    student: tuple[str, ...], teacher: tuple[str, ...] | None = None
) -> tuple[MimickingPath, ...]:
    """Return paths between the layers of student and teacher, the deepest with the deepest and so on up.

    Args:
        student: layers, first to deepest.
        teacher: layers of a teacher of another network; None for layers of the same names.
    """
    pairs = zip(reversed(student), reversed(teacher or student), strict=False)
    return tuple(MimickingPath(student=ours, teacher=theirs) for ours, theirs in pairs)[::-1]
