"""Dagster resource that trains networks in the process of the step."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import dagster as dg
from pydantic import Field

from lgad_pipeline.settings import Dataset, Recipe
from resources.paths import ProjectPaths, fetch_shards

if TYPE_CHECKING:
    from lgad_pipeline.training.training_folder import TrainingResult

Log = Callable[[dict[str, float], int], None]


class Trainer(dg.ConfigurableResource):
    """Trainer of the networks: runs in this process, on the configured device."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto: a GPU if there is one, else the CPU."
    )

    @property
    def torch_device(self) -> str:
        """Device of the training: `cpu` or `cuda`."""
        if self.device != "auto":
            return self.device
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"

    def teacher(self, dataset: Dataset, recipe: Recipe, paths: ProjectPaths, log: Log) -> "TrainingResult":
        """Train the network that reproduces label maps."""
        from lgad_pipeline.training.plan import TrainingPlan
        from lgad_pipeline.training.trainer import train

        plan = TrainingPlan.from_recipe(
            recipe,
            role="teacher",
            image_size=dataset.image_size,
            shards=fetch_shards(paths),
            folder=paths.teacher,
        )
        return train(plan, log=log, device=self.device)

    def student(
        self, dataset: Dataset, recipe: Recipe, paths: ProjectPaths, log: Log, *, teacher: Path | None
    ) -> "TrainingResult":
        """Train a student, alone (`teacher` is None) or with the attention maps of a trained teacher."""
        from lgad_pipeline.training.plan import TrainingPlan
        from lgad_pipeline.training.trainer import train

        plan = TrainingPlan.from_recipe(
            recipe,
            role="student",
            image_size=dataset.image_size,
            shards=fetch_shards(paths),
            folder=paths.student_lgad if teacher else paths.student_alone,
            method="lgad" if teacher else "alone",
            teacher=teacher,
        )
        return train(plan, log=log, device=self.device)
