"""Which student is in use. One partition a recipe on a data set."""

from pathlib import Path

import dagster as dg

from assets import shown
from assets.automation import AFTER_DATA, DEVICE
from assets.cards import model_card
from assets.data import OWNERS, shards
from assets.evaluation import lane_scores
from assets.freshness import code_version, made
from assets.networks import student_lgad
from assets.partitions import GRID, parts_of
from assets.scores import compare, validation_f1
from resources.progress import ProgressLog
from resources.project import Project
from resources.provenance import git_commit
from resources.tracking import MlflowTracking
from resources.trainer import Trainer


@dg.asset(
    group_name="registry",
    kinds={"mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    deps=[shards, student_lgad, lane_scores],
    code_version=code_version("inference/predictor.py", "lanes/decode.py"),
    description="""The student with LGAD as a version of the registered model `<data set>-<recipe>`: an
MLflow pyfunc that takes JPEG bytes and returns lanes in image pixels; weights as safetensors, nothing
pickled.

The new version is the `challenger`. It becomes `champion` when it beats the present champion in F1 on the
validation frames, on which both are scored now; the first version becomes champion at once. The decision
and its numbers are written down with the version.""",
)
def registered_model(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """A version in the registry, and which one is in use."""
    from assets.samples import example_jpeg, training_record
    from resources.registry import decide, register

    dataset, recipe = parts_of(context)
    place = project.place(dataset, recipe)
    name = f"{dataset}-{recipe}"
    comparison = compare(place)
    record = training_record(place.student_lgad)
    tags = {
        "dataset": dataset,
        "recipe": recipe,
        "data_fingerprint": record["shards"],
        "git_commit": git_commit(),
        "dagster.run_id": context.run.run_id,
        "dagster.run": f"{mlflow.dagster_ui}/runs/{context.run.run_id}",
        "test_f1": f"{comparison.total.lgad.f1 or 0.0:.4f}",
    }
    with progress.task(context.log, "registering the student") as task:
        version = register(
            mlflow,
            name,
            place.student_lgad,
            fingerprint=record["fingerprint"],
            example=example_jpeg(place),
            tags=tags,
            card=model_card(dataset, recipe, comparison, tags),
        )

        def score(network: Path) -> float:
            task.note("scoring on validation frames")
            return validation_f1(place, network, trainer.torch_device, task.advance)

        decision = decide(mlflow, name, version, place.student_lgad, score)
        task.note(f"version {version}")
    return made(
        context,
        project,
        f"{record['fingerprint']}-{version}-{decision.champion}",
        {
            "model": name,
            "version": int(version),
            "alias": "champion, challenger" if decision.promoted else "challenger",
            "decision": decision.reason,
            "validation F1": decision.f1,
            **(
                {}
                if decision.champion_f1 is None
                else {"validation F1 of the champion before": decision.champion_f1}
            ),
            "F1 by scenario": shown.table(comparison.table()),
            "MLflow version": dg.MetadataValue.url(mlflow.version_url(name, version)),
            "load it with": dg.MetadataValue.md(
                f'```python\nmodel = mlflow.pyfunc.load_model("models:/{name}/{version}")\n'
                'lanes = model.predict([open("frame.jpg", "rb").read()])\n```'
            ),
        },
    )
