"""Asset that compares the recipes of a data set, the result of an ablation; one partition per data set."""

from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import dagster as dg

from assets.automation import AFTER_SCORES
from assets.data import OWNERS
from assets.evaluation import lane_scores
from assets.freshness import (
    INPUTS_TAG,
    inputs_at_start,
    inputs_digest,
    latest_materialization,
    materialize_result,
)
from assets.keys import PREFIX
from assets.partitions import DATASETS, grid_key
from assets.presentation.mlflow_links import page_link
from assets.presentation.recipe_metadata import recipe_comparison_metadata
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.errors import LgadError
from resources.mlflow.resource import MlflowTracking
from resources.project import Project
from resources.state_store import fetch_stored

REMEDIES = {
    "has no scores yet": "materialize `retrain`",
    "scored on other frames or annotations": "materialize `lane_scores`",
    "scored with earlier data, settings or code": "materialize `retrain`",
}


@dg.asset(
    key_prefix=PREFIX,
    group_name="evaluation",
    kinds={"pandas", "mlflow"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[lane_scores],
    code_version=code_fingerprint("lgad_pipeline.evaluation.recipe_comparison:compare_recipes"),
    automation_condition=AFTER_SCORES,
    description="""All recipes of a data set that have up-to-date scores. A backfill over the grid is an
ablation, and this page shows its result.

For each recipe: F1 at IoU 0.5 on the test frames with its 95 % interval (bootstrap over frames), the gain of
its student with LGAD over its student alone, and its lead over the first recipe in lgad.yaml on the same
frames (paired bootstrap). Charts show F1 by scenario, the validation IoU during the trainings, and F1 against
the time of a frame and the number of parameters. There is one training per recipe, so the intervals do not
include the spread over seeds; `distillation_gain` measures it. Choose a recipe by its validation F1, not by
the test frames.""",
)
def recipe_comparison(
    context: dg.AssetExecutionContext, project: Project, mlflow: MlflowTracking
) -> dg.MaterializeResult:
    """Compare the recipes of a data set."""
    from lgad_pipeline.evaluation.recipe_comparison import compare_recipes
    from lgad_pipeline.evaluation.speed import measure_speeds
    from lgad_pipeline.evaluation.student_scores import scores_digest

    inputs = inputs_at_start(context, project)
    dataset = context.partition_key
    current, left_out = up_to_date_recipes(context.instance, project, dataset)
    everything = [project.paths(dataset, recipe) for recipe in current]
    for paths in everything:
        fetch_stored(paths, "lane_scores", "student_lgad")
    folders = {paths.recipe: paths.lane_scores for paths in everything}
    results, incomparable = compare_recipes(folders)
    left_out |= incomparable
    if not results:
        raise LgadError(
            f"No recipe has up-to-date scores on {dataset}; materialize `retrain` for at least one of them "
            "first."
        )
    recipes = [result.recipe for result in results]
    digest = blake2b(digest_size=16)
    for recipe in recipes:
        digest.update(f"{recipe} {scores_digest(folders[recipe])}\n".encode())
    students = {recipe: project.paths(dataset, recipe).student_lgad for recipe in recipes}
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=digest.hexdigest(),
        metadata=recipe_comparison_metadata(
            dataset,
            results,
            left_out={recipe: f"{reason}; {REMEDIES[reason]}" for recipe, reason in left_out.items()},
            differing_settings=differing_settings(project, recipes),
            histories={recipe: validation_history(folder) for recipe, folder in students.items()},
            speeds=measure_speeds(students),
            runs_page=page_link(mlflow, mlflow.compare_url(list(students.values()))),
        ),
    )


def up_to_date_recipes(
    instance: dg.DagsterInstance, project: Project, dataset: str
) -> tuple[list[str], dict[str, str]]:
    """Find the recipes whose scores are of the current frames, predictions, settings and code.

    The run that computed the scores may still be in progress, with assets that follow.

    Returns:
        These recipes, and for each recipe that is left out the reason.
    """
    current: list[str] = []
    left_out: dict[str, str] = {}
    for recipe in project.settings.recipes:
        record = latest_materialization(instance, lane_scores.key, partition=grid_key(dataset, recipe))
        inputs = inputs_digest(instance, project, asset=lane_scores, dataset=dataset, recipe=recipe)
        if record is None:
            left_out[recipe] = "has no scores yet"
        elif (record.materialization.tags or {}).get(INPUTS_TAG) != inputs:
            left_out[recipe] = "scored with earlier data, settings or code"
        else:
            current.append(recipe)
    return current, left_out


def validation_history(folder: Path) -> tuple[list[float], list[float]]:
    """Read the steps and the validation IoU of a training; empty if the file is missing."""
    import pandas as pd

    if not (folder / "history.parquet").is_file():
        return [], []
    history = pd.read_parquet(folder / "history.parquet")[["step", "val/miou"]].dropna()
    return history["step"].tolist(), history["val/miou"].tolist()


def differing_settings(project: Project, recipes: Sequence[str]) -> list[dict[str, str]]:
    """List the keys of lgad.yaml in which the recipes differ, with the value of each recipe."""
    import pandas as pd

    table = pd.json_normalize([project.recipe(name).model_dump(mode="json") for name in recipes]).astype(str)
    return [
        {"key": str(key), **dict(zip(recipes, values, strict=True))}
        for key, values in table.items()
        if values.nunique() > 1
    ]
