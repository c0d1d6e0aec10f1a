"""Data, networks and plans of benchmarks/accelerator.py."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import nn

from lgad_pipeline.settings import Recipe, SyntheticDataset
from lgad_pipeline.studies.data import prepare_data
from lgad_pipeline.training.plan import TrainingPlan
from lgad_pipeline.training.trainer import train


@dataclass(frozen=True)
class Check:
    """Settings of the check.

    Attributes:
        device: device to check, `cuda` or `cpu`.
        quick: True for small images and few steps.
        folder: directory of data, networks and results.
    """

    device: str
    quick: bool
    folder: Path

    def data(self, size: tuple[int, int]) -> tuple[SyntheticDataset, Path]:
        """Return a rendered data set of 48 training frames, and its shards."""
        world = {"seed": 0, "train": 48, "val": 16, "test": 32}
        dataset = SyntheticDataset.model_validate(
            {"kind": "synthetic", "image_size": size, "crop_top": 240, "lane_width": 32, "world": world}
        )
        shards, _ = prepare_data(
            dataset, self.folder / "data", workers=os.cpu_count() or 1, progress=lambda text: None
        )
        return dataset, shards

    def plan(
        self, size: tuple[int, int], network: str, method: str, *, device: str, **student: Any
    ) -> TrainingPlan:
        """Return the plan of a student; its teacher and model are trained first, for two steps."""
        _, shards = self.data(size)
        width = {"width": 0.5} if self.quick or size[0] < 100 else {}
        settings = {"optimizer": {"warmup_steps": 1}, "threads": 1, "precision": "32-true", **student}
        recipe = Recipe.model_validate(
            {
                "network": {"name": network, **width},
                "teacher_network": {"name": network, **width},
                "teacher": {"steps": 2, "batch_size": 4, "optimizer": {"warmup_steps": 1}},
                "student": settings,
                "distillation": {"weight": 1.0, "teacher": "together" if method == "joint" else "before"},
                "sad": {"start_step": 0},
            }
        )
        common: dict[str, Any] = {"image_size": size, "shards": shards}
        name = f"{network}-{size[0]}-{size[1]}"
        teacher = TrainingPlan.from_recipe(
            recipe, role="teacher", folder=self.folder / "networks" / f"{name}-teacher", **common
        )
        train(teacher, device=self.device)
        model = replace_student(recipe, steps=2, batch_size=4)
        model_plan = TrainingPlan.from_recipe(
            model, role="student", folder=self.folder / "networks" / f"{name}-model", **common
        )
        if method == "logits":
            train(model_plan, device=self.device)
        return TrainingPlan.from_recipe(
            recipe,
            role="student",
            method="lgad" if method == "joint" else method,
            teacher=teacher.folder,
            model=model_plan.folder if method == "logits" else None,
            folder=self.folder / "networks" / f"{name}-{method}-{device}-{time.time_ns()}",
            **common,
        )


def replace_student(recipe: Recipe, **changes: Any) -> Recipe:
    """Return the recipe with other settings of the student's training."""
    student = recipe.student.model_validate({**recipe.student.model_dump(), **changes})
    return recipe.model_copy(update={"student": student})


def with_lgad_until(plan: TrainingPlan, step: int) -> TrainingPlan:
    """Return the plan with LGAD that ends at a step."""
    lgad = plan.distillation.lgad.model_copy(update={"stop_step": step})
    return plan.model_copy(update={"distillation": plan.distillation.model_copy(update={"lgad": lgad})})


@contextmanager
def without_dropout() -> Iterator[None]:
    """Let dropout pass everything inside the context: its masks differ between devices."""
    with patch.object(nn.Dropout2d, "forward", lambda layer, features: features):
        yield
