"""Assets of the registry: ONNX graph and registered model; one partition per recipe and data set."""

from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg

from assets.automation import AFTER_DATA
from assets.data import OWNERS, shards
from assets.evaluation import lane_scores
from assets.evaluation_checks import baseline_objection
from assets.freshness import inputs_at_start, materialize_result
from assets.initial_weights import INIT_TAG
from assets.keys import PREFIX, asset_key
from assets.networks import student_lgad
from assets.partitioned_checks import partitioned_check, partitioned_spec
from assets.partitions import GRID, fetch_inputs
from assets.presentation.mlflow_links import page_link
from assets.presentation.model_card import model_card
from assets.presentation.score_metadata import registered_model_metadata, verdict_metadata
from assets.run_records import training_record
from lgad_pipeline.code_fingerprint import code_fingerprint
from resources.device_pool import DEVICE
from resources.mlflow.resource import MlflowTracking, run_tags_of
from resources.notification import champion_changed
from resources.paths import ProjectPaths, open_shards
from resources.progress import ProgressLog, Task
from resources.project import Project
from resources.provenance import git_commit
from resources.state_store import DATA_RESULTS
from resources.trainer import Trainer

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.promotion import Verdict
    from resources.mlflow.registry import Decision

EXPORT = "lgad_pipeline.inference.onnx_export:export_onnx"
REGISTERED_CODE = code_fingerprint(
    "lgad_pipeline.inference.predictor:LanePredictor", EXPORT, "resources.mlflow.served_model:LaneModel"
)
CHAMPION_CHECK = "f1_is_not_below_the_champions"


@dg.asset(
    key_prefix=PREFIX,
    group_name="registry",
    kinds={"onnx"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    deps=[shards, student_lgad],
    code_version=code_fingerprint(EXPORT),
    description="""The student with LGAD as an ONNX graph, for runtimes without torch. Input `image`: uint8
(B, 3, h, w) RGB at the size of the network, not normalized. Outputs: `probabilities`, float32
(B, slots, h, w), and `existence`, float32 (B, slots).""",
)
def onnx_graph(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Export the student with LGAD as an ONNX graph."""
    from lgad_pipeline.inference.onnx_export import export_onnx

    inputs = inputs_at_start(context, project)
    paths = fetch_inputs(context, project, "student_lgad")
    with progress.task(context.log, "exporting the student to ONNX"):
        export_onnx(paths.student_lgad, paths.onnx_graph)
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=blake2b(paths.onnx_graph.read_bytes(), digest_size=16).hexdigest(),
        metadata={
            "graph": dg.MetadataValue.path(paths.onnx_graph),
            "size (MB)": round(paths.onnx_graph.stat().st_size / 1e6, 2),
        },
    )


@partitioned_check(
    onnx_graph,
    additional_deps=[shards],
    blocking=True,
    description="The ONNX graph and the torch network give the same probabilities on validation frames: at "
    "most one probability in a thousand differs by more than 0.001. (Rounding decides between equal cells.)",
)
def export_equals_framework(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Compare ONNX Runtime with torch on validation frames."""
    import numpy as np

    from assets.presentation.pictures import evenly_spread
    from lgad_pipeline.inference.onnx_export import TOLERANCE, difference

    paths = fetch_inputs(context, project, "student_lgad", "onnx_graph")
    split = open_shards(paths)["val"]
    images = np.stack([split[index].image for index in evenly_spread(len(split), 8)])
    result = difference(paths.student_lgad, paths.onnx_graph, images=images)
    return dg.AssetCheckResult(
        passed=result.equal,
        description=f"Largest difference of a probability on {len(images)} frames: {result.largest:.1e}; "
        f"{result.apart:.3%} differ by more than {TOLERANCE:g}.",
        metadata={
            "partition": str(context.partition_key),
            "largest difference": result.largest,
            "share above the tolerance": result.apart,
            "tolerance": TOLERANCE,
        },
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="registry",
    kinds={"mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    deps=[shards, student_lgad, lane_scores, onnx_graph],
    code_version=REGISTERED_CODE,
    check_specs=[
        partitioned_spec(
            CHAMPION_CHECK,
            asset_key("registered_model"),
            partitions=GRID,
            description="The new version is not worse than the champion: total F1 on validation frames is "
            "not significantly lower, and F1 of no scenario of the test frames is significantly lower by "
            "more than `promotion.scenario_tolerance`. If the check fails, the champion stays in use.",
        )
    ],
    description="""The student with LGAD as a version of the registered model `<data set>-<recipe>`: an
MLflow pyfunc that reads frames (uint8 arrays, JPEG or PNG bytes) and returns lanes in pixels of the frame.
The version has the weights as safetensors and the ONNX graph; nothing is pickled.

The new version is the `challenger`. It becomes `champion` by the rule `promotion:` in lgad.yaml. Both are
scored on all packed frames: the gain in total F1 on validation frames must be significant (paired bootstrap),
no scenario of the test frames may lose more than the tolerance, and the time per frame must not grow beyond
its limit. The first version becomes champion if its F1 is above the blind baseline
(`f1_above_blind_baseline`). The decision and its numbers are stored in the tags of the version and in
`promotion/` of its MLflow run. `lgad rollback MODEL` puts the previous champion back in use, `--to VERSION`
any other version.""",
)
def registered_model(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """Register the student with LGAD, and decide which version is champion."""
    from lgad_pipeline.evaluation.student_scores import read_comparison

    inputs = inputs_at_start(context, project)
    paths = fetch_inputs(context, project, *DATA_RESULTS, "student_lgad", "lane_scores", "onnx_graph")
    name = f"{paths.dataset}-{paths.recipe}"
    fingerprint = training_record(paths.student_lgad)["fingerprint"]
    with mlflow.needed(), progress.task(context.log, "registering the student") as task:
        version = _register(context, project, mlflow, paths, name)
        decision = _decide(project, trainer, mlflow, paths, name, version, task)
        task.note(f"version {version}")
        page = mlflow.version_url(name, version)
    if decision.takes_over:
        fault = champion_changed(
            project, name, champion=version, before=decision.before, reason=decision.reason, page=page
        )
        if fault:
            context.log.warning(fault)
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=f"{fingerprint}-{version}-{decision.champion or 'none'}",
        metadata=registered_model_metadata(
            name,
            decision,
            comparison=read_comparison(paths.lane_scores),
            version_page=page_link(mlflow, page),
        ),
        checks=[champion_check(str(context.partition_key), decision.verdict, reason=decision.reason)],
    )


def _register(
    context: dg.AssetExecutionContext,
    project: Project,
    mlflow: MlflowTracking,
    paths: ProjectPaths,
    name: str,
) -> str:
    """Register the student with LGAD as a new version, and return the version."""
    from lgad_pipeline.evaluation.student_scores import f1_intervals, read_comparison
    from resources.mlflow.registry import register

    comparison = read_comparison(paths.lane_scores)
    record = training_record(paths.student_lgad)
    run_id = mlflow.run_of(paths.student_lgad)
    mlflow.sync_all_or_warn(project.state / "models")
    tags = {
        "dataset": paths.dataset,
        "recipe": paths.recipe,
        "data_fingerprint": record["shards"],
        "git_commit": git_commit(),
        "dagster.run_id": context.run.run_id,
        "dagster.run": f"{mlflow.dagster_ui}/runs/{context.run.run_id}",
        "test_f1": f"{comparison.total.lgad.f1:.4f}",
    }
    if init := run_tags_of(paths.student_lgad).get(INIT_TAG):
        tags[INIT_TAG] = init
    example_frame = open_shards(paths)["val"].table["frame"][0]
    return register(
        mlflow,
        name,
        folder=paths.student_lgad,
        graph=paths.onnx_graph,
        run_id=run_id,
        fingerprint=record["fingerprint"],
        code=REGISTERED_CODE,
        example=(paths.recordings / example_frame).read_bytes(),
        tags=tags,
        owner=project.owner,
        card=model_card(
            project.dataset(paths.dataset),
            project.recipe(paths.recipe),
            comparison,
            intervals=f1_intervals(paths.lane_scores, "student_lgad"),
            tags=tags,
            run_id=run_id,
        ),
    )


def _decide(
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    paths: ProjectPaths,
    name: str,
    version: str,
    task: Task,
) -> "Decision":
    """Apply the promotion rule to the champion and the new version."""
    from lgad_pipeline.data.frame_table import read_table
    from lgad_pipeline.evaluation.model_comparison import ChangedFrameError, compare_with_champion
    from lgad_pipeline.evaluation.student_scores import read_comparison
    from lgad_pipeline.inference.predictor import LanePredictor
    from resources.mlflow.registry import decide

    def compare(champion: Path, challenger: Path) -> "Verdict":
        task.note("scoring champion and challenger")
        with trainer.leased_device() as device:
            try:
                return compare_with_champion(
                    champion,
                    challenger,
                    frames=read_table(paths.frames),
                    shards=open_shards(paths),
                    recordings=paths.recordings,
                    rule=project.settings.promotion,
                    device=device,
                    progress=task.advance,
                )
            except ChangedFrameError as error:  # not a fault of the champion: nothing is decided
                raise dg.Failure(str(error), allow_retries=False) from error

    return decide(
        mlflow,
        name,
        version=version,
        compare=compare,
        lock=project.promotion_lock(name),
        objection=baseline_objection(
            paths,
            read_comparison(paths.lane_scores),
            frame_size=project.dataset(paths.dataset).frame_size,
        ),
        load=LanePredictor.load,
    )


def champion_check(partition: str, verdict: "Verdict | None", *, reason: str) -> dg.AssetCheckResult:
    """Build the check result of a comparison with the champion; without a champion it passes."""
    worse = []
    if verdict is not None:
        worse = ["total"] if verdict.total.gain.high < 0 else []
        worse += [change.name for change in verdict.scenarios if change.worse]
    return dg.AssetCheckResult(
        check_name=CHAMPION_CHECK,
        passed=not worse,
        severity=dg.AssetCheckSeverity.WARN,
        description=reason,
        metadata={"partition": partition, "worse in": worse, **verdict_metadata(verdict)},
    )
