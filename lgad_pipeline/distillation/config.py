"""What a student mimics, how strongly and when."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Reduction = Literal["sum", "max"]
Normalization = Literal["softmax", "l2", "sum"]
Divergence = Literal["squared_sum", "squared_mean", "distance", "kl"]


class MimickingPath(BaseModel):
    """One layer of the student that mimics the attention of one layer of the teacher.

    Attributes:
        student: dotted name of the student's layer, as in `network.named_modules()`.
        teacher: dotted name of the teacher's layer.
        weight: of this path among the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: str
    teacher: str
    weight: float = Field(default=1.0, gt=0)


class DistillationConfig(BaseModel):
    """The LGAD loss: weight x sum over paths of path weight x divergence of the attention maps.

    Attributes:
        paths: mimicking paths; empty for the network's default layers, each with the teacher's of that name.
        reduction: of |F|^power over the channels, `sum` or `max`.
        power: exponent of the activations.
        normalization: of a map over the image, `softmax`, `l2` or `sum`.
        temperature: of the softmax.
        divergence: `squared_sum`, `squared_mean`, `distance` or `kl`.
        weight: of the whole loss beside the segmentation loss.
        start_step: first step that distils.
        warmup_steps: steps over which the weight grows from 0 after `start_step`.
        stop_step: first step that no longer distils, or None for never.
        decay: the weight falls linearly to 0 at `stop_step` (needs one).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paths: tuple[MimickingPath, ...] = ()
    reduction: Reduction = "sum"
    power: float = Field(default=2.0, ge=1)
    normalization: Normalization = "sum"
    temperature: float = Field(default=1.0, gt=0)
    divergence: Divergence = "kl"
    weight: float = Field(default=0.1, ge=0)
    start_step: int = Field(default=0, ge=0)
    warmup_steps: int = Field(default=0, ge=0)
    stop_step: int | None = Field(default=None, ge=1)
    decay: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.divergence == "kl" and self.normalization == "l2":
            raise ValueError("divergence kl compares shares; choose normalization softmax or sum")
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


def default_paths(layers: tuple[str, ...]) -> tuple[MimickingPath, ...]:
    """Return paths between equally named layers of student and teacher."""
    return tuple(MimickingPath(student=layer, teacher=layer) for layer in layers)
