"""Logged models of the trained networks, and the lineage between them, in MLflow."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.run_records import split_input, training_record
from lgad_pipeline.errors import LgadError
from resources.mlflow.errors import diagnose, is_store_error
from resources.mlflow.initial import InitialNetwork
from resources.mlflow.resource import MlflowTracking
from resources.mlflow.trained_model import add_parents, log_network, model_of
from resources.paths import ProjectPaths, open_shards
from resources.project import Project

if TYPE_CHECKING:
    from lgad_pipeline.training.training_folder import TrainingResult


def log_trained(
    context: dg.AssetExecutionContext,
    project: Project,
    mlflow: MlflowTracking,
    paths: ProjectPaths,
    *,
    role: str,
    result: "TrainingResult",
    initial: InitialNetwork | None,
) -> None:
    """Log a trained network as a model, with its validation metrics and the models that it comes from.

    The student with LGAD is logged by its registration, as a model that finds lanes in frames; here its run
    gets its teacher as an input. A store that does not answer is a warning, since the training is finished.

    Args:
        context: context of the asset.
        project: settings and paths of the project.
        mlflow: the MLflow store.
        paths: paths of the results of the recipe.
        role: the network: teacher, student_alone or student_lgad.
        result: result of the training.
        initial: network that a student started from, or None.
    """
    folder = paths.network(role)
    try:
        if role != "student_lgad":
            final = result.history.set_index("step").ffill().iloc[-1].dropna()
            log_network(
                mlflow,
                folder,
                name=role,
                fingerprint=result.fingerprint,
                metrics={str(name): float(value) for name, value in final.items() if "val/" in str(name)},
                dataset=split_input(project, paths, shards=open_shards(paths), split="val"),
            )
        parents = [initial.model] if initial is not None and initial.model else []
        if role == "student_lgad" and project.recipe(paths.recipe).trains_teacher_first:
            fingerprint = training_record(paths.teacher)["fingerprint"]
            teacher = model_of(mlflow, mlflow.run_of(paths.teacher), fingerprint=fingerprint)
            parents += [str(teacher.model_id)] if teacher is not None else []
        if parents:
            add_parents(mlflow, folder, models=parents)
    except Exception as error:
        if not (isinstance(error, LgadError) or is_store_error(error)):
            raise
        reason = (
            error
            if isinstance(error, LgadError)
            else diagnose(error, mlflow.address).sentence(mlflow.address)
        )
        context.log.warning(f"The logged model of this training is missing in MLflow: {reason}")
