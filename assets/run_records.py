"""Records of MLflow runs: parameters of a training, data sets as inputs, and scores."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.presentation import metadata
from assets.presentation.mlflow_links import stored_picture
from assets.presentation.score_charts import F1_CHART, scenario_bars
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.settings import AnyDataset, Recipe
from resources.mlflow.journal_file import InputRecord
from resources.mlflow.resource import MlflowTracking
from resources.paths import ProjectPaths
from resources.project import Project

if TYPE_CHECKING:
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.evaluation.student_scores import StudentScores


def training_parameters(role: str, dataset: AnyDataset, *, recipe: Recipe) -> Mapping[str, Any]:
    """Collect the settings of a training, as MLflow parameters.

    Args:
        role: the network: teacher, student_alone or student_lgad. The parameter `network` describes it.
        dataset: settings of the data set.
        recipe: settings of the recipe.
    """
    network = recipe.teachers_network if role == "teacher" else recipe.network
    parameters: dict[str, Any] = {
        "network": network.model_dump(mode="json"),
        "image_size": list(dataset.image_size),
        "lane_width": dataset.lane_width,
        "training": (recipe.teacher if role == "teacher" else recipe.student).model_dump(mode="json"),
        "augmentation": recipe.augmentation.model_dump(mode="json"),
    }
    if role != "teacher" and recipe.init is not None:
        parameters["init"] = recipe.init
    if role != "student_alone":
        parameters["teacher_input"] = recipe.teacher_input.model_dump(mode="json")
    if role == "student_lgad":
        parameters["teacher_network"] = recipe.teachers_network.model_dump(mode="json")
        parameters["distillation"] = recipe.distillation.model_dump(mode="json")
    return parameters


def split_input(project: Project, paths: ProjectPaths, *, shards: "ShardSet", split: str) -> InputRecord:
    """Describe a split of the shards as an input of an MLflow run: address, columns, number of frames."""
    from lgad_pipeline.data.shard_file import SHARD_SCHEMA

    address = paths.store or paths.shards.as_uri()
    if paths.store is None and paths.shards.is_relative_to(project.folder):
        address = paths.shards.relative_to(project.folder).as_posix()
    return InputRecord(
        name=paths.dataset if split == "train" else f"{paths.dataset} {split}",
        digest=shards.fingerprint,
        source=address,
        fields=tuple((field.name, str(field.type)) for field in SHARD_SCHEMA),
        rows=len(shards.splits[split]) if split in shards.splits else None,
        context={"train": "training", "val": "validation"}.get(split, split),
    )


def record_scores(
    mlflow: MlflowTracking,
    project: Project,
    paths: ProjectPaths,
    *,
    scores: "StudentScores",
    shards: "ShardSet",
) -> dg.MetadataValue:
    """Add metrics, test frames and chart of the scores to the MLflow runs of both students.

    Args:
        mlflow: the MLflow store.
        project: settings and paths of the project.
        paths: paths of the results of the recipe.
        scores: scores of both students.
        shards: packed frames, on whose test split the students were scored.

    Returns:
        The chart, as MLflow stores it.
    """
    chart = scenario_bars(scores.comparison.rows)
    mlflow.add_file(paths.student_lgad, chart.encode(), "f1.svg")
    test_input = split_input(project, paths, shards=shards, split="test")
    for student in STUDENTS:
        mlflow.add_metrics(paths.network(student), scores.metrics[student])
        mlflow.add_input(paths.network(student), test_input)
    return stored_picture(
        mlflow, paths.student_lgad, name="f1.svg", caption=F1_CHART, fallback=metadata.chart(chart, F1_CHART)
    )


def training_record(folder: Path) -> dict[str, Any]:
    """Read the record of a training (training.json): fingerprint, seconds, settings, shards' fingerprint."""
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))
