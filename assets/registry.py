"""Which student is in use. One partition a recipe on a data set."""

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets.automation import AFTER_DATA, DEVICE
from assets.data import OWNERS, shards
from assets.evaluation import lane_scores
from assets.freshness import materialize_result
from assets.networks import student_lgad
from assets.partitioned_checks import partitioned_check, partitioned_spec
from assets.partitions import GRID, dataset_and_recipe
from assets.presentation import metadata
from assets.presentation.model_card import model_card
from assets.scores import against_champion, compare, f1_intervals, verdict_table
from lgad_pipeline.code_fingerprint import code_fingerprint
from resources.mlflow.resource import MlflowTracking
from resources.paths import fetch_shards
from resources.progress import ProgressLog
from resources.project import Project
from resources.provenance import git_commit
from resources.trainer import Trainer

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.promotion import Verdict


@dg.asset(
    group_name="registry",
    kinds={"onnx"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    deps=[student_lgad],
    code_version=code_fingerprint("lgad_pipeline.inference.onnx_export:export_onnx"),
    description="""The student with LGAD as an ONNX graph, for runtimes without torch. Input `image`: uint8
(B, 3, h, w) RGB at the network's size, not normalized. Outputs `probabilities`: float32 (B, slots, h, w), and
`existence`: float32 (B, slots).""",
)
def onnx_graph(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """The student for other runtimes."""
    from lgad_pipeline.inference.onnx_export import export_onnx

    paths = project.paths(*dataset_and_recipe(context))
    with progress.task(context.log, "exporting the student to ONNX"):
        export_onnx(paths.student_lgad, paths.onnx_graph)
    return materialize_result(
        context,
        project,
        blake2b(paths.onnx_graph.read_bytes(), digest_size=16).hexdigest(),
        {
            "graph": dg.MetadataValue.path(paths.onnx_graph),
            "size (MB)": round(paths.onnx_graph.stat().st_size / 1e6, 2),
        },
    )


@partitioned_check(
    onnx_graph,
    additional_deps=[shards],
    blocking=True,
    description="The ONNX graph says what the network in torch says, on validation frames: at most one "
    "probability in a thousand differs by more than 0.001 (rounding decides between equal cells).",
)
def export_equals_framework(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """ONNX Runtime against torch."""
    import numpy as np

    from assets.presentation.pictures import evenly_spread
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.inference.onnx_export import TOLERANCE, difference

    paths = project.paths(*dataset_and_recipe(context))
    split = ShardSet.open(fetch_shards(paths))["val"]
    images = np.stack([split[index].image for index in evenly_spread(len(split), 8)])
    found = difference(paths.student_lgad, paths.onnx_graph, images)
    return dg.AssetCheckResult(
        passed=found.equal,
        description=f"Largest difference of a probability on {len(images)} frames: {found.largest:.1e}; "
        f"{found.apart:.3%} are more than {TOLERANCE:g} apart.",
        metadata={
            "partition": str(context.partition_key),
            "largest difference": found.largest,
            "share apart": found.apart,
            "tolerance": TOLERANCE,
        },
    )


CHAMPION_CHECK = "f1_is_not_below_the_champions"


@dg.asset(
    group_name="registry",
    kinds={"mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    deps=[shards, student_lgad, lane_scores, onnx_graph],
    code_version=code_fingerprint("lgad_pipeline.inference.predictor:LanePredictor"),
    check_specs=[
        partitioned_spec(
            CHAMPION_CHECK,
            "registered_model",
            GRID,
            description="Against the champion it was compared with, the new version loses nothing in total "
            "F1 on validation frames, and in no scenario of the test frames more than "
            "`promotion.scenario_tolerance`, beyond noise. Where it fails, the champion stays in use.",
        )
    ],
    description="""The student with LGAD as a version of the registered model `<data set>-<recipe>`: an
MLflow pyfunc that takes frames (uint8 arrays, JPEG or PNG bytes) and returns lanes in image pixels; weights
as safetensors, nothing pickled, with the ONNX graph.

The new version is the `challenger`. It becomes `champion` by the rule `promotion:` of lgad.yaml: both are
scored now on the same frames; its gain in total F1 on validation frames must be beyond noise (paired
bootstrap), no scenario of the test frames may lose more than the tolerance, and a frame may not take longer.
The first version becomes champion if it scores above chance (`f1_above_chance`). The decision and its numbers
are kept with the version, in its tags and in its run's `promotion/`. `lgad rollback MODEL` puts the
champion's predecessor back in use, `--to VERSION` any other.""",
)
def registered_model(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """A version in the registry, and which one is in use."""
    from assets.blind_baseline import chance_objection
    from assets.presentation.pictures import example_jpeg, training_record
    from lgad_pipeline.inference.predictor import LanePredictor
    from resources.mlflow.registry import decide, register

    dataset, recipe = dataset_and_recipe(context)
    paths = project.paths(dataset, recipe)
    name = f"{dataset}-{recipe}"
    comparison = compare(paths)
    record = training_record(paths.student_lgad)
    tags = {
        "dataset": dataset,
        "recipe": recipe,
        "data_fingerprint": record["shards"],
        "git_commit": git_commit(),
        "dagster.run_id": context.run.run_id,
        "dagster.run": f"{mlflow.dagster_ui}/runs/{context.run.run_id}",
        "test_f1": f"{comparison.total.lgad.f1 or 0.0:.4f}",
    }
    with mlflow.needed(), progress.task(context.log, "registering the student") as task:
        run_id = mlflow.run_of(paths.student_lgad)
        mlflow.sync_all_or_warn(project.state / "models")
        version = register(
            mlflow,
            name,
            paths.student_lgad,
            paths.onnx_graph,
            run_id=run_id,
            fingerprint=record["fingerprint"],
            example=example_jpeg(paths),
            tags=tags,
            owner=project.owner,
            card=model_card(
                project.dataset(dataset),
                project.recipe(recipe),
                comparison,
                f1_intervals(paths, "student_lgad"),
                tags,
                run_id,
            ),
        )

        def against(champion: Path) -> "Verdict":
            task.note("scoring champion and challenger")
            rule, size = project.settings.promotion, project.dataset(dataset).frame_size
            return against_champion(paths, champion, rule, trainer.torch_device, size, task.advance)

        decision = decide(
            mlflow,
            name,
            version,
            against,
            project.promotion_lock(name),
            objection=chance_objection(paths, comparison, project.dataset(dataset).frame_size),
            load=LanePredictor.load,
        )
        task.note(f"version {version}")
    return materialize_result(
        context,
        project,
        f"{record['fingerprint']}-{version}-{decision.champion or 'none'}",
        {
            "model": name,
            "version": int(version),
            "alias": "champion, challenger" if decision.promoted else "challenger",
            "decision": decision.reason,
            **verdict_metadata(decision.verdict),
            "F1 by scenario": metadata.table(comparison.table()),
            "MLflow version": metadata.page(mlflow, mlflow.version_url(name, version)),
            "load it with": dg.MetadataValue.md(
                f'```python\nmodel = mlflow.pyfunc.load_model("models:/{name}/{version}")\n'
                'lanes = model.predict([open("frame.jpg", "rb").read()])[0].lanes\n```'
            ),
        },
        [champion_check(str(context.partition_key), decision.verdict, decision.reason)],
    )


def champion_check(partition: str, verdict: "Verdict | None", reason: str) -> dg.AssetCheckResult:
    """The check of a verdict; it passes where there was no champion to compare with."""
    lost = []
    if verdict is not None:
        lost = ["total"] if verdict.total.gain.high < 0 else []
        lost += [change.name for change in verdict.scenarios if change.worse]
    return dg.AssetCheckResult(
        check_name=CHAMPION_CHECK,
        passed=not lost,
        severity=dg.AssetCheckSeverity.WARN,
        description=reason,
        metadata={"partition": partition, "worse in": lost, **verdict_metadata(verdict)},
    )


def verdict_metadata(verdict: "Verdict | None") -> dict[str, dg.MetadataValue]:
    """The numbers of the comparison with the champion, for the asset's page."""
    if verdict is None:
        return {}
    champion, challenger = (1000 * seconds for seconds in verdict.latency)
    return {
        "against the champion": metadata.table(verdict_table(verdict)),
        "gain on validation frames (points)": dg.MetadataValue.float(100 * verdict.total.gain.value),
        "milliseconds a frame": dg.MetadataValue.text(f"{challenger:.1f}, the champion {champion:.1f}"),
    }
