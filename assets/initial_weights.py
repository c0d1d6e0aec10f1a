"""Initial weights of the students of a recipe: the trained network that the key `init` names."""

import dagster as dg

from assets.run_records import training_record
from lgad_pipeline.errors import LgadError
from resources.mlflow.initial import InitialNetwork, initial_network
from resources.mlflow.resource import MlflowTracking
from resources.paths import ProjectPaths
from resources.project import Project

INIT_TAG = "init"
"""Tag of MLflow runs and versions: the network that a student started from."""


def find_initial_network(
    context: dg.AssetExecutionContext,
    project: Project,
    mlflow: MlflowTracking,
    paths: ProjectPaths,
    role: str,
) -> InitialNetwork | None:
    """Find the network that a student starts from; None for random weights.

    Raises:
        Failure: there is no such network. A retry would fail again, so none is allowed.
    """
    init = project.recipe(paths.recipe).init
    if role == "teacher" or init is None:
        return None
    try:
        with mlflow.needed():
            initial = initial_network(init, tracking=mlflow, state=project.state)
    except LgadError as error:
        raise dg.Failure(f"recipes.{paths.recipe}.init: {error}", allow_retries=False) from error
    context.log.info(f"The student starts from {initial.source}.")
    alone = paths.student_alone
    trained = role == "student_lgad" and (alone / "training.json").is_file()
    if trained and training_record(alone).get("init") != initial.digest:
        context.log.warning(
            f"The student alone started from other weights than {initial.source}; materialize "
            "student_alone again, else the gain of distillation compares different starts."
        )
    return initial
