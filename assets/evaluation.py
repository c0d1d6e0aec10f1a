"""Assets of the evaluation: predicted lanes and their scores; one partition per recipe and data set."""

from hashlib import blake2b

import dagster as dg
from pydantic import Field

from assets.automation import AFTER_DATA
from assets.data import OWNERS, frames, shards
from assets.freshness import inputs_at_start, materialize_result
from assets.keys import PREFIX
from assets.networks import student_alone, student_lgad
from assets.partitions import GRID, fetch_inputs
from assets.presentation import metadata
from assets.presentation.mlflow_links import stored_picture
from assets.presentation.score_metadata import lane_scores_metadata, type_metadata
from assets.presentation.svg_charts import NETWORK_NAMES
from assets.run_records import record_scores, training_record
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.roles import STUDENTS
from lgad_pipeline.config.splits import SCORED_SPLITS
from resources.device_pool import DEVICE
from resources.mlflow.resource import MlflowTracking
from resources.paths import ProjectPaths, open_shards
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Trainer

PREDICTION_CODE = code_fingerprint("lgad_pipeline.inference.split_prediction:predict_split")


class PredictionsConfig(dg.Config):
    """Options of the asset page of the predictions."""

    pictures: int = Field(
        default=6, ge=2, le=24, description="Number of test frames drawn with annotated and predicted lanes."
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="evaluation",
    kinds={"pytorch"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    pool=DEVICE,
    deps=[shards, student_alone, student_lgad],
    code_version=PREDICTION_CODE,
    description="""Predicted lanes of both students on every validation and test frame, as `.lines.txt`
files in CULane's format.

A probability map becomes a lane row by row: the point of a row is the weighted centroid of the columns around
the maximum, so its precision is finer than one column. A slot counts if its existence probability is above
`decode.existence_threshold` of the recipe.""",
)
def predictions(
    context: dg.AssetExecutionContext,
    config: PredictionsConfig,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """Predict lane files with both students."""
    from assets.presentation.pictures import prediction_pictures, prediction_sheet
    from lgad_pipeline.inference.split_prediction import predict_split

    inputs = inputs_at_start(context, project)
    paths = fetch_inputs(context, project, "recordings", "frames", *STUDENTS)
    packed = open_shards(paths)
    on_cluster = trainer.tasks(paths, "shards", *STUDENTS, gpu=True)
    with trainer.prediction_device() as device, on_cluster:
        for student in STUDENTS:
            for split in SCORED_SPLITS:
                title = f"predicting lanes, {NETWORK_NAMES[student]}, {split}"
                with progress.task(context.log, title) as task:
                    predict_split(
                        paths.network(student),
                        packed[split],
                        output_root=paths.predictions / student / split,
                        progress=task.advance,
                        device=device,
                    )
    pictures = prediction_pictures(
        paths.student_lgad,
        packed["test"],
        recordings=paths.recordings,
        annotations=paths.annotations,
        wanted=config.pictures,
    )
    sheet, caption = prediction_sheet(pictures), "white: annotated lanes; coloured: predicted lanes"
    mlflow.add_picture(paths.student_lgad, sheet, "lanes.png")
    counts = [
        {"student": student, "split": split, "frames": len(packed[split])}
        for student in STUDENTS
        for split in SCORED_SPLITS
    ]
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=_predictions_digest(project, paths),
        metadata={
            "folder": dg.MetadataValue.path(paths.predictions),
            "lane files": metadata.table(counts),
            "student with LGAD on test frames": stored_picture(
                mlflow,
                paths.student_lgad,
                name="lanes.png",
                caption=caption,
                fallback=metadata.picture(sheet, caption),
            ),
        },
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="evaluation",
    kinds={"pandas", "mlflow"},
    owners=OWNERS,
    partitions_def=GRID,
    automation_condition=AFTER_DATA,
    deps=[frames, shards, predictions],
    code_version=code_fingerprint("lgad_pipeline.evaluation.student_scores:score_students"),
    description="""F1 of both students as [CULane](https://arxiv.org/abs/1712.06080) defines it, per
scenario and in total, and the gain of distillation.

A predicted lane is a true positive if its mask (30 px wide on the full frame) overlaps the mask of its
annotated lane with an IoU above 0.5; predicted and annotated lanes are matched one to one. F1 = 2PR / (P +
R). Crossroad frames have no lanes: their false positives are counted instead. The interval of the gain is a
paired bootstrap over test frames.

For data sets in TuSimple's format, accuracy, FP and FN of TuSimple's benchmark are added, and for students
that predict types of lanes the share of right types.""",
)
def lane_scores(
    context: dg.AssetExecutionContext,
    project: Project,
    trainer: Trainer,
    mlflow: MlflowTracking,
    progress: ProgressLog,
) -> dg.MaterializeResult:
    """Compute F1 of both students per scenario."""
    from lgad_pipeline.evaluation.student_scores import score_students

    inputs = inputs_at_start(context, project)
    paths = fetch_inputs(context, project, "recordings", "frames", "predictions", *STUDENTS)
    packed = open_shards(paths)
    with (
        progress.task(context.log, "scoring both students") as task,
        trainer.tasks(paths, "recordings", "frames", "predictions"),
    ):
        scores = score_students(
            predictions=paths.predictions,
            annotations=paths.annotations,
            shards=packed,
            output=paths.lane_scores,
            tusimple=paths.recordings if paths.kind == "tusimple" else None,
            lane_types=project.dataset(paths.dataset).lane_types,
            progress=task.advance,
        )
    for note in scores.notes:
        context.log.warning(note)
    for student, score in scores.types.items():
        mlflow.add_metrics(paths.network(student), {"test/type_accuracy": score.accuracy})
    chart = record_scores(mlflow, project, paths, scores=scores, shards=packed)
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=scores.digest,
        metadata=lane_scores_metadata(scores, paths.lane_scores, chart=chart) | type_metadata(scores.types),
    )


def _predictions_digest(project: Project, paths: ProjectPaths) -> str:
    """Compute the fingerprint of the predictions from trainings, decoding settings and code."""
    parts = [training_record(paths.network(student))["fingerprint"] for student in STUDENTS]
    parts += [project.recipe(paths.recipe).decode.model_dump_json(), PREDICTION_CODE]
    return blake2b("".join(parts).encode(), digest_size=16).hexdigest()
