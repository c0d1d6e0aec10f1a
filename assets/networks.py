"""Assets of the trained networks: a teacher that reads label maps and two students that read frames.

One partition per recipe and data set.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg

from assets.automation import AFTER_DATA, RETRY_TRAINING
from assets.data import OWNERS, shards
from assets.freshness import inputs_at_start, latest_materialization, materialize_result, tag_run
from assets.initial_weights import INIT_TAG, find_initial_network
from assets.keys import PREFIX
from assets.logged_networks import log_trained
from assets.partitions import GRID, dataset_and_recipe
from assets.presentation import metadata
from assets.presentation.mlflow_links import page_link, stored_picture
from assets.presentation.svg_charts import NETWORK_NAMES
from assets.presentation.training_metadata import CAPTIONS, loss_chart, loss_title, training_metadata
from assets.run_records import split_input, training_parameters, training_record
from lgad_pipeline.atomic_files import locked
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.model_files import CHECKPOINT
from lgad_pipeline.errors import LgadError
from resources.device_pool import DEVICE
from resources.mlflow.initial import InitialNetwork
from resources.mlflow.resource import MlflowTracking, run_id_of
from resources.mlflow.run import TrackedRun
from resources.paths import ProjectPaths, open_shards
from resources.processes import has_ended, orphaned
from resources.progress import ProgressLog
from resources.project import Project
from resources.state_store import JOURNAL, fetch_results, fetch_stored, training_copies
from resources.trainer import Log, Trainer

if TYPE_CHECKING:
    from lgad_pipeline.config.distillation import MimickingPath
    from lgad_pipeline.settings import Recipe
    from lgad_pipeline.training.training_folder import TrainingResult

TRAINING_CODE = code_fingerprint(
    "lgad_pipeline.training.trainer:train_teacher", "lgad_pipeline.training.trainer:train_student"
)
TOGETHER = "trained together with the student (`distillation.teacher`); it is not stored on its own"
_SEGMENTATION_LOSS = """Loss, as in [ENet-SAD](https://arxiv.org/abs/1908.00821): cross entropy (background
weight 0.4) + 0.1 × (1 − soft IoU) + 0.1 × binary cross entropy of the existence flags."""


def _network_asset(
    role: str, *, deps: Sequence[dg.AssetsDefinition], description: str
) -> dg.AssetsDefinition:
    """Define the asset of a trained network.

    Args:
        role: the network: teacher, student_alone or student_lgad; it is the name of the asset.
        deps: the assets that the training reads.
        description: text of the asset page.
    """

    @dg.asset(
        name=role,
        key_prefix=PREFIX,
        group_name="distillation",
        kinds={"pytorch", "mlflow"},
        owners=OWNERS,
        partitions_def=GRID,
        automation_condition=AFTER_DATA,
        pool=DEVICE,
        retry_policy=RETRY_TRAINING,
        deps=deps,
        code_version=TRAINING_CODE,
        description=description,
    )
    def network(
        context: dg.AssetExecutionContext,
        project: Project,
        trainer: Trainer,
        mlflow: MlflowTracking,
        progress: ProgressLog,
    ) -> dg.MaterializeResult:
        """Train the network and record the training in MLflow."""
        dataset, recipe = dataset_and_recipe(context)
        inputs = inputs_at_start(context, project)
        packed = latest_materialization(context.instance, shards.key, partition=dataset)
        if role == "teacher" and not project.recipe(recipe).trains_teacher_first:
            return materialize_result(
                context,
                project,
                inputs=inputs,
                data_version="together",
                metadata={"trained": TOGETHER},
            )
        paths = project.paths(dataset, recipe)
        tag_run(context)
        fetch_stored(paths, role)  # A finished training of the same inputs is reused.
        if role == "student_lgad" and project.recipe(recipe).trains_teacher_first:
            fetch_results(paths, "teacher")
        initial = find_initial_network(context, project, mlflow, paths, role)
        with (
            locked(paths.network(role)),
            training_copies(paths, role, JOURNAL, *([] if trainer.launcher == "ray" else [CHECKPOINT])),
            _tracked_run(context, project, mlflow, paths, role, inputs, initial) as run,
            progress.task(context.log, f"training the {NETWORK_NAMES[role]}") as task,
        ):
            settings = project.recipe(recipe)
            steps = (settings.teacher if role == "teacher" else settings.student).steps
            log = _training_log(context, run, task.metrics(steps))
            result = _train(trainer, project, paths, role, log, initial)
            run.complete(result.history)
            pictures = _store_pictures(mlflow, run, result, paths, role, settings)
        log_trained(context, project, mlflow, paths, role=role, result=result, initial=initial)
        folder = paths.network(role)
        if packed is None or training_record(folder)["shards"] != packed.data_version:
            context.log.warning("The shards were packed again meanwhile, so that this training is stale.")
            inputs = ""
        return materialize_result(
            context,
            project,
            inputs=inputs,
            data_version=result.fingerprint,
            metadata=training_metadata(
                result,
                folder,
                pictures={name: picture() for name, picture in pictures.items()},
                run_page=page_link(mlflow, mlflow.run_url(folder)),
                run_id=run_id_of(folder),
                initial=initial.source if initial else "",
            ),
        )

    return network


teacher = _network_asset(
    "teacher",
    deps=[shards],
    description=f"""The teacher: a network that reads the label map (as one plane for the background
and one per slot) and reproduces it. Its attention depends on nothing but the lanes. The student with LGAD
mimics this attention ([Liu and Zhu, 2021](https://arxiv.org/abs/2304.01636)).

{_SEGMENTATION_LOSS} Settings: `teacher` of the
recipe. With `distillation.teacher: together` the teacher is trained together with the student, and this asset
trains nothing.""",
)
student_alone = _network_asset(
    "student_alone",
    deps=[shards],
    description=f"""The student alone: it learns from labels only. It is the baseline for the student
with LGAD and has the same network, initial weights, batches, augmentation and dropout.

{_SEGMENTATION_LOSS} Settings: `student` of the
recipe.""",
)
student_lgad = _network_asset(
    "student_lgad",
    deps=[shards, teacher],
    description="""The student with LGAD (label-guided attention distillation): it learns from labels
and mimics the attention of the teacher ([Liu and Zhu, 2021](https://arxiv.org/abs/2304.01636)).

    A(F) = Σ_c |F_c|²              attention map of a layer F with channels c
    Q    = A / Σ A                 normalized over the image
    L    = L_alone + λ Σ_k w_k D(Q_teacher,k , Q_student,k)      over mimicking paths k, Σ_k w_k = 1

Attention maps are those of [Zagoruyko and Komodakis, 2017](https://arxiv.org/abs/1612.03928).
`distillation` of the recipe sets exponent, normalization, divergence D, weights and paths; the formula shows
the defaults, with the Kullback-Leibler divergence as D. The teacher is frozen. It is not needed when the
trained student predicts.""",
)


@contextmanager
def _tracked_run(
    context: dg.AssetExecutionContext,
    project: Project,
    mlflow: MlflowTracking,
    paths: ProjectPaths,
    role: str,
    inputs: str,
    initial: InitialNetwork | None,
) -> Iterator[TrackedRun]:
    """Open the MLflow run of a training, with its parameters, tags and input data sets."""
    dataset, recipe = paths.dataset, paths.recipe
    packed = open_shards(paths)
    with mlflow.training_run(
        context,
        paths.network(role),
        # Other initial weights are another run, also where an alias names them.
        fingerprint=f"{inputs}-{initial.digest}" if initial else inputs,
        experiment=dataset,
        parameters={
            "dataset": dataset,
            "recipe": recipe,
            **training_parameters(role, project.dataset(dataset), recipe=project.recipe(recipe)),
        },
        tags={
            "dataset": dataset,
            "recipe": recipe,
            "role": role,
            "data_fingerprint": packed.fingerprint,
            **({INIT_TAG: initial.source} if initial else {}),
        },
        inputs=[split_input(project, paths, shards=packed, split=split) for split in ("train", "val")],
    ) as run:
        yield run


def _training_log(context: dg.AssetExecutionContext, run: TrackedRun, show: Log) -> Log:
    """Build the callback that gets the metrics of each logged step."""

    def log(metrics: dict[str, float], step: int) -> None:
        # The process of the run, or the run itself, has ended: this training stops here, and the next run
        # resumes it from its checkpoint.
        if orphaned() or has_ended(context.instance, context.run.run_id):
            raise dg.DagsterExecutionInterruptedError
        run.log(metrics, step)
        show(metrics, step)

    return log


def _train(
    trainer: Trainer,
    project: Project,
    paths: ProjectPaths,
    role: str,
    log: Log,
    initial: InitialNetwork | None,
) -> "TrainingResult":
    """Train the network of a role and write its predictor settings.

    Raises:
        Failure: data or settings are wrong. A retry would fail again, so none is allowed.
    """
    from lgad_pipeline.inference.predictor import write_predictor
    from lgad_pipeline.training.student_losses import check_losses

    dataset, recipe = project.dataset(paths.dataset), project.recipe(paths.recipe)
    if initial is not None:
        recipe = recipe.model_copy(update={"init": str(initial.folder)})
    try:
        # The student with LGAD comes last: its mistakes should be known before hours of training.
        check_losses(recipe, "lgad", image_size=dataset.image_size, slots=dataset.slots)
        if role == "teacher":
            result = trainer.teacher(dataset, recipe, paths, log)
        else:
            teacher_folder = paths.teacher if role == "student_lgad" else None
            result = trainer.student(dataset, recipe, paths, log, teacher=teacher_folder)
    except LgadError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    write_predictor(paths.network(role), dataset.view, decode_config=recipe.decode)
    return result


def _store_pictures(
    mlflow: MlflowTracking,
    run: TrackedRun,
    result: "TrainingResult",
    paths: ProjectPaths,
    role: str,
    recipe: "Recipe",
) -> dict[str, Callable[[], dg.MetadataValue]]:
    """Draw the pictures of a trained network, and add them to its MLflow run.

    Returns:
        For each picture a function that builds its metadata. It is called when the run has been sent.
    """
    from assets.presentation.pictures import network_pictures

    folder, packed = paths.network(role), open_shards(paths)
    layers = [
        path.teacher if role == "teacher" else path.student
        for path in mimicking_paths_of(recipe, packed.view.image_size)
    ]
    chart = loss_chart(role, result.history)
    values = {"loss": ("loss.svg", loss_title(role), metadata.chart(chart, loss_title(role)))}
    for name, picture in network_pictures(folder, packed["val"], role=role, layers=layers).items():
        run.add_picture(picture, f"{name}.png")
        values[name] = (f"{name}.png", CAPTIONS[name], metadata.picture(picture, CAPTIONS[name]))
    run.add_file(chart.encode(), "loss.svg")
    return {
        name: lambda file=file, caption=caption, fallback=fallback: stored_picture(
            mlflow, folder, name=file, caption=caption, fallback=fallback
        )
        for name, (file, caption, fallback) in values.items()
    }


def mimicking_paths_of(recipe: "Recipe", image_size: tuple[int, int]) -> "tuple[MimickingPath, ...]":
    """List the pairs of layers whose attention LGAD compares in a training of the recipe.

    Args:
        recipe: settings of the recipe.
        image_size: height and width of the input of the networks, pixels.
    """
    from lgad_pipeline.training.student_losses import mimicking_paths

    student, teacher = recipe.network.spec(image_size), recipe.teachers_network.spec(image_size)
    return mimicking_paths(recipe.distillation, student, teacher)
