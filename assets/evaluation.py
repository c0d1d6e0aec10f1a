"""Lanes found on validation and test frames, and how well. One partition a recipe on a data set."""

from hashlib import blake2b

import dagster as dg
from pydantic import Field

from assets.automation import AFTER_DATA, DEVICE
from assets.data import OWNERS, frames, shards
from assets.freshness import materialize_result
from assets.networks import input_record, student_alone, student_lgad
from assets.partitions import GRID, dataset_and_recipe
from assets.presentation import metadata
from assets.presentation.report_page import scenario_bars
from assets.presentation.svg_charts import NETWORK_NAMES
from assets.scores import compare, score_student, scores_digest, write_scores
from assets.tusimple_scores import tusimple_scores
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.settings import TusimpleDataset
from resources.mlflow.resource import MlflowTracking
from resources.paths import fetch_shards
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Trainer

SPLITS = ("val", "test")
PREDICTION_CODE = code_fingerprint("lgad_pipeline.inference.predictor:predict_split")


class PredictionsConfig(dg.Config):
    """What the page of the predictions shows."""

    pictures: int = Field(
        default=6, ge=2, le=24, description="Test frames that are drawn with annotated and found lanes."
    )


@dg.asset(
    group_name="evaluation",
    kinds={"pytorch"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    deps=[shards, student_alone, student_lgad],
    code_version=PREDICTION_CODE,
    description="""Lanes of both students on every validation and test frame, as `.lines.txt` files in
CULane's format.

Probability maps become lanes row by row: the weighted centroid of the columns around a row's maximum, finer
than a column of the map; a slot counts when its existence probability is above one half.""",
)
def predictions(
    context: dg.AssetExecutionContext,
    config: PredictionsConfig,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """Lane files of both students."""
    from assets.presentation.pictures import prediction_sheet
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.inference.predictor import predict_split

    dataset, recipe = dataset_and_recipe(context)
    paths = project.paths(dataset, recipe)
    packed = ShardSet.open(fetch_shards(paths))
    counts = []
    for student in STUDENTS:
        for split in SPLITS:
            what = f"finding lanes, {NETWORK_NAMES[student]}, {split}"
            with progress.task(context.log, what) as task:
                predict_split(
                    paths.network(student),
                    packed[split],
                    paths.predictions / student / split,
                    progress=task.advance,
                    device=trainer.torch_device,
                )
            counts.append({"student": student, "split": split, "frames": len(packed[split])})
    sheet, caption = (
        prediction_sheet(paths, "student_lgad", config.pictures),
        "white: annotated; coloured: found",
    )
    mlflow.add_picture(paths.student_lgad, sheet, "lanes.png")
    return materialize_result(
        context,
        project,
        _digest_of_students(project, dataset, recipe),
        {
            "folder": dg.MetadataValue.path(paths.predictions),
            "lane files": metadata.table(counts),
            "student with LGAD on test frames": metadata.in_mlflow(
                mlflow, paths.student_lgad, "lanes.png", caption, metadata.picture(sheet, caption)
            ),
        },
    )


@dg.asset(
    group_name="evaluation",
    kinds={"pandas", "mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    deps=[frames, predictions],
    code_version=code_fingerprint(
        "lgad_pipeline.evaluation.culane:evaluate_culane",
        "lgad_pipeline.evaluation.bootstrap:paired_f1_difference",
    ),
    description="""F1 of both students, as [CULane](https://arxiv.org/abs/1712.06080) defines it, per scenario
and in total, and what distillation adds.

A predicted lane is a true positive when its mask (30 px wide on the full frame) overlaps that of its
annotated lane by an IoU above 0.5, matched one to one. F1 = 2PR / (P + R). Crossroad frames hold no lanes:
their false positives are counted. The interval of the gain is a paired bootstrap over test frames.

On TuSimple, the benchmark's accuracy, FP and FN stand beside it.""",
)
def lane_scores(
    context: dg.AssetExecutionContext, project: Project, mlflow: MlflowTracking, progress: ProgressLog
) -> dg.MaterializeResult:
    """F1 per scenario of both students."""
    dataset, recipe = dataset_and_recipe(context)
    paths = project.paths(dataset, recipe)
    entry = project.dataset(dataset)
    notes: list[str] = []
    for student in STUDENTS:
        for split in SPLITS:
            with progress.task(context.log, f"scoring {NETWORK_NAMES[student]}, {split}") as task:
                scores = score_student(
                    paths, paths.predictions / student / split, split, entry.frame_size, task.advance
                )
            notes += [f"{NETWORK_NAMES[student]}, {split}: {note}" for note in scores.notes]
            write_scores(paths, student, split, scores)
    for note in notes:
        context.log.warning(note)
    comparison = compare(paths)
    bars = scenario_bars(comparison.rows)
    mlflow.add_file(paths.student_lgad, bars.encode(), "f1.svg")
    for student in STUDENTS:
        mlflow.add_metrics(paths.network(student), comparison.metrics(student))
        mlflow.add_input(paths.network(student), input_record(project, dataset, recipe, "test"))
    own = tusimple_scores(paths) if isinstance(entry, TusimpleDataset) else []
    total = comparison.total
    gain = comparison.gain.scaled(100)
    return materialize_result(
        context,
        project,
        scores_digest(paths),
        {
            "F1 student with LGAD": total.lgad.f1,
            "F1 student alone": total.alone.f1,
            "distillation gain": total.gain,
            "gain, 95 % interval": f"{gain.low:+.1f} to {gain.high:+.1f} points",
            "F1 by scenario": metadata.table(comparison.table()),
            **({"TuSimple's own metric": metadata.table(own)} if own else {}),
            **({"notes": "\n".join(notes)} if notes else {}),
            "F1 bars": metadata.in_mlflow(
                mlflow, paths.student_lgad, "f1.svg", "F1 by scenario", metadata.chart(bars, "F1 by scenario")
            ),
            "F1 on validation, with LGAD": comparison.validation["student_lgad"].f1,
            "F1 on validation, alone": comparison.validation["student_alone"].f1,
            "folder": dg.MetadataValue.path(paths.lane_scores),
        },
    )


def _digest_of_students(project: Project, dataset: str, recipe: str) -> str:
    """The fingerprints of both students' trainings: with settings and code they decide the predictions."""
    from assets.presentation.pictures import training_record

    paths = project.paths(dataset, recipe)
    parts = [training_record(paths.network(student))["fingerprint"] for student in STUDENTS]
    parts += [project.recipe(recipe).decode.model_dump_json(), PREDICTION_CODE]
    return blake2b("".join(parts).encode(), digest_size=16).hexdigest()
