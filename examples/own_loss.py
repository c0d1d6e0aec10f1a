"""A distillation loss of your own, registered from outside of the package and used in a training.

A recipe of lgad.yaml names the class by its import path, because Dagster's processes have not registered the
short name: `losses: {"own_loss:LabelDistance": {weight: 0.05}}`.

Run it: `python examples/own_loss.py`
"""

import tempfile
from pathlib import Path

import torch
from made_up_road import FRAME_SIZE, write_road
from pydantic import Field

from lgad_pipeline import (
    DistillationSpec,
    LossSchedule,
    NetworkSpec,
    OptimizerConfig,
    RegisteredLoss,
    StudentForward,
    TrainingConfig,
    View,
    assign_lane_slots,
    ingest,
    pack_shards,
    register_loss,
    train_student,
)


class LabelDistanceConfig(LossSchedule):
    """Settings of the loss; weight and schedule come from `LossSchedule`.

    Attributes:
        power: exponent of the distance between probabilities and labels.
    """

    power: float = Field(default=2.0, ge=1)


@register_loss("label_distance")
class LabelDistance(RegisteredLoss):
    """Mean distance between the probability of any lane and the label map."""

    Config = LabelDistanceConfig
    config: LabelDistanceConfig

    def compute(self, forward: StudentForward) -> torch.Tensor:
        """Return the unweighted loss, a scalar, for the latest forward of the student."""
        lane = 1 - forward.logits.softmax(dim=1)[:, 0]  # (B, H, W)
        distance = (lane - (forward.label_map > 0).float()).abs()
        return distance.pow(self.config.power).mean()


def main(folder: Path) -> None:
    """Train a student for four steps with the loss; its history has a column for it."""
    root, image_size = write_road(folder / "road"), (32, 88)
    frames = ingest(root, FRAME_SIZE).frames
    view = View(FRAME_SIZE, image_size, crop_top=240)
    shards = root / "shards"
    pack_shards(frames, assign_lane_slots(frames), root=root, output=shards, view=view, lane_width=40)
    losses = {"label_distance": {"weight": 0.05, "warmup_steps": 2}}
    result = train_student(
        TrainingConfig(steps=4, batch_size=2, threads=1, optimizer=OptimizerConfig(warmup_steps=1)),
        NetworkSpec(name="enet", image_size=image_size, width=0.25),
        shards=shards,
        folder=folder / "student",
        distillation=DistillationSpec(losses=losses),
    )
    print(result.history.iloc[-1].to_string())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
