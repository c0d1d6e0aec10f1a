"""A teacher that sees label maps, and two students that see frames. One partition a recipe on a data set."""

import contextlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.automation import AFTER_DATA, DEVICE, TRY_AGAIN
from assets.data import OWNERS, shards
from assets.freshness import inputs_digest, materialize_result, tag_run
from assets.partitions import GRID, dataset_and_recipe
from assets.presentation import metadata
from assets.presentation.svg_charts import NETWORK_NAMES, curves
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.errors import LgadError
from resources.mlflow.journal_file import InputRecord
from resources.mlflow.resource import MlflowTracking, run_id_of
from resources.paths import ProjectPaths, fetch_shards
from resources.processes import exclusive, has_ended, orphaned
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Log, Trainer

if TYPE_CHECKING:
    from lgad_pipeline.training.training_folder import TrainingResult

TRAINING_CODE = code_fingerprint(
    "lgad_pipeline.training.trainer:train_teacher", "lgad_pipeline.training.trainer:train_student"
)


@dg.asset(
    group_name="distillation",
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    retry_policy=TRY_AGAIN,
    deps=[shards],
    code_version=TRAINING_CODE,
    description="""The teacher: a network that is given the label map as planes (background, four slots) and
reproduces it. Nothing but the lanes can hold its attention, which is what the student with LGAD mimics
([Liu and Zhu, 2021](https://arxiv.org/abs/2304.01636)).

Loss, as of [ENet-SAD](https://arxiv.org/abs/1908.00821): cross entropy (background weight 0.4)
+ 0.1 × (1 − soft IoU) + 0.1 × binary cross entropy of the existence flags. Settings: `teacher` of the
recipe. A recipe with `distillation.teacher: together` has no teacher of its own: nothing is trained
here.""",
)
def teacher(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """The network whose attention is mimicked."""
    dataset, recipe = dataset_and_recipe(context)
    if not project.recipe(recipe).trains_teacher_first:
        text = "together with the student (`distillation.teacher`); no network of its own is kept"
        return materialize_result(context, project, "together", {"trained": text})
    steps = project.recipe(recipe).teacher.steps

    def train(log: Log, paths: ProjectPaths) -> "TrainingResult":
        return trainer.teacher(project.dataset(dataset), project.recipe(recipe), paths, log)

    return _trained(context, project, mlflow, progress, "teacher", steps, train)


@dg.asset(
    group_name="distillation",
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    retry_policy=TRY_AGAIN,
    deps=[shards],
    code_version=TRAINING_CODE,
    description="""The student that learns from labels alone. It is what the student with LGAD is measured
against: the same network, initial weights, batches, augmentation and dropout.

Loss, as of [ENet-SAD](https://arxiv.org/abs/1908.00821): cross entropy (background weight 0.4)
+ 0.1 × (1 − soft IoU) + 0.1 × binary cross entropy of the existence flags. Settings: `student` of the
recipe.""",
)
def student_alone(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """The student without distillation."""
    dataset, recipe = dataset_and_recipe(context)
    steps = project.recipe(recipe).student.steps

    def train(log: Log, paths: ProjectPaths) -> "TrainingResult":
        return trainer.student(project.dataset(dataset), project.recipe(recipe), paths, log, teacher=None)

    return _trained(context, project, mlflow, progress, "student_alone", steps, train)


@dg.asset(
    group_name="distillation",
    kinds={"pytorch", "mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    retry_policy=TRY_AGAIN,
    deps=[shards, teacher],
    code_version=TRAINING_CODE,
    description="""The student that also mimics the teacher's attention
([Liu and Zhu, 2021](https://arxiv.org/abs/2304.01636)).

    A(F) = Σ_c |F_c|²              attention map of a layer F with channels c
    Q    = A / Σ A                 normalized over the image
    L    = L_alone + λ Σ_k w_k D(Q_teacher,k , Q_student,k)      over mimicking paths k, Σ_k w_k = 1

Attention maps are those of [Zagoruyko and Komodakis, 2017](https://arxiv.org/abs/1612.03928). Exponent,
normalization, divergence D, weights and paths are `distillation` of the recipe; these are its defaults, with
D the Kullback-Leibler divergence. The teacher is frozen, and costs nothing once the student is trained.""",
)
def student_lgad(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """The student with label-guided attention distillation."""
    dataset, recipe = dataset_and_recipe(context)
    steps = project.recipe(recipe).student.steps

    def train(log: Log, paths: ProjectPaths) -> "TrainingResult":
        return trainer.student(
            project.dataset(dataset), project.recipe(recipe), paths, log, teacher=paths.teacher
        )

    return _trained(context, project, mlflow, progress, "student_lgad", steps, train)


def _trained(
    context: dg.AssetExecutionContext,
    project: Project,
    mlflow: MlflowTracking,
    progress: ProgressLog,
    role: str,
    steps: int,
    train: Callable[[Log, ProjectPaths], "TrainingResult"],
) -> dg.MaterializeResult:
    """Train under an MLflow run and a progress bar, and show the result."""
    from assets.presentation.pictures import network_pictures
    from lgad_pipeline.inference.predictor import write_predictor

    dataset, recipe = dataset_and_recipe(context)
    paths = project.paths(dataset, recipe)
    folder = paths.network(role)
    tag_run(context)
    with contextlib.ExitStack() as stack:
        stack.enter_context(exclusive(folder))
        run = stack.enter_context(
            mlflow.training_run(
                context,
                folder,
                fingerprint=inputs_digest(context.instance, project, context.assets_def, dataset, recipe),
                experiment=dataset,
                parameters=_parameters(project, dataset, recipe, role),
                tags={
                    "dataset": dataset,
                    "recipe": recipe,
                    "role": role,
                    "data_fingerprint": _fingerprint(paths),
                },
                inputs=[input_record(project, dataset, recipe, split) for split in ("train", "val")],
            )
        )
        task = stack.enter_context(progress.task(context.log, f"training the {NETWORK_NAMES[role]}"))
        show = task.metrics(steps)

        def log(metrics: dict[str, float], step: int) -> None:
            # Its run's process or the run itself has ended: the next one continues from the checkpoint.
            if orphaned() or has_ended(context.instance, context.run_id):
                raise dg.DagsterExecutionInterruptedError
            run.log(metrics, step)
            show(metrics, step)

        try:
            result = train(log, paths)
        except LgadError as error:  # about data and settings: the same again
            raise dg.Failure(str(error), allow_retries=False) from error
        run.complete(result.history)
        write_predictor(folder, project.dataset(dataset).view, project.recipe(recipe).decode)
        pictures = network_pictures(paths, role, project.recipe(recipe))
        for name, picture in pictures.items():
            run.add_picture(picture, f"{name}.png")
        history = result.history.set_index("step")
        final = history.ffill().iloc[-1]
        title = f"loss of the {NETWORK_NAMES[role]}"
        loss = curves({role: loss_curve(history)}, title)
        run.add_file(loss.encode(), "loss.svg")

    def shown_picture(name: str, caption: str) -> dg.MetadataValue:
        return metadata.in_mlflow(
            mlflow, folder, f"{name}.png", caption, metadata.picture(pictures[name], caption)
        )

    return materialize_result(
        context,
        project,
        result.fingerprint,
        {
            "MLflow run": metadata.page(mlflow, mlflow.run_url(folder)),
            "loss": metadata.in_mlflow(mlflow, folder, "loss.svg", title, metadata.chart(loss, title)),
            "overlays": shown_picture("overlays", "label map, and what the network makes of it"),
            "attention": shown_picture("attention", "where the network looks"),
            "at the end": metadata.table(
                [{"metric": str(name), "value": float(value)} for name, value in final.items()]
            ),
            "seconds": round(result.seconds, 1),
            "reused": result.reused,
            "folder": dg.MetadataValue.path(folder),
            "mlflow_run_id": run_id_of(folder),
        },
    )


def loss_curve(history: Any, metric: str = "train/loss") -> tuple[list[float], list[float]]:
    """Steps and values of one metric of a training's history, a table with the index `step`."""
    losses = history[metric].dropna() if metric in history else history.iloc[:0, 0]
    return [float(step) for step in losses.index], [float(value) for value in losses]


def input_record(project: Project, dataset: str, recipe: str, split: str) -> InputRecord:
    """A split of the shards as an input of an MLflow run: address, columns, number of frames."""
    from lgad_pipeline.data.shard_file import SHARD_SCHEMA
    from lgad_pipeline.data.shards import ShardSet

    paths = project.paths(dataset, recipe)
    packed = ShardSet.open(fetch_shards(paths))
    address = paths.store or paths.shards.as_uri()
    if paths.store is None and paths.shards.is_relative_to(project.folder):
        address = paths.shards.relative_to(project.folder).as_posix()
    return InputRecord(
        name=dataset if split == "train" else f"{dataset} {split}",
        digest=packed.fingerprint,
        source=address,
        fields=tuple((field.name, str(field.type)) for field in SHARD_SCHEMA),
        rows=len(packed.splits[split]) if split in packed.splits else None,
        context={"train": "training", "val": "validation"}.get(split, split),
    )


def _parameters(project: Project, dataset: str, recipe: str, role: str) -> Mapping[str, Any]:
    """Settings of a training for MLflow; `network` is that of the network which is trained."""
    entry, settings = project.dataset(dataset), project.recipe(recipe)
    network = settings.teachers_network if role == "teacher" else settings.network
    parameters: dict[str, Any] = {
        "dataset": dataset,
        "recipe": recipe,
        "network": network.model_dump(mode="json"),
        "image_size": list(entry.image_size),
        "lane_width": entry.lane_width,
        "training": (settings.teacher if role == "teacher" else settings.student).model_dump(mode="json"),
        "augmentation": settings.augmentation.model_dump(mode="json"),
    }
    if role != "student_alone":
        parameters["teacher_input"] = settings.teacher_input.model_dump(mode="json")
    if role == "student_lgad":
        parameters["teacher_network"] = settings.teachers_network.model_dump(mode="json")
        parameters["distillation"] = settings.distillation.model_dump(mode="json")
    return parameters


def _fingerprint(paths: ProjectPaths) -> str:
    from lgad_pipeline.data.shards import ShardSet

    return ShardSet.open(fetch_shards(paths)).fingerprint
