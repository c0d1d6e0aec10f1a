"""What must hold of predictions and scores before a model is registered."""

import dagster as dg

from assets.evaluation import lane_scores, predictions
from assets.partitioned_checks import partitioned_check
from assets.partitions import dataset_and_recipe
from lgad_pipeline.config.roles import STUDENTS
from resources.paths import fetch_shards
from resources.project import Project


@partitioned_check(
    predictions,
    blocking=True,
    description="Both students have a lane file for every packed test frame. A frame without one would "
    "count as a frame without lanes, and lower the score for no fault of the model.",
)
def predictions_cover_the_test_list(
    context: dg.AssetCheckExecutionContext, project: Project
) -> dg.AssetCheckResult:
    """No test frame without a lane file."""
    from lgad_pipeline.data.shards import ShardSet
    from lgad_pipeline.lanes.lane_files import lane_file

    paths = project.paths(*dataset_and_recipe(context))
    frames = ShardSet.open(fetch_shards(paths))["test"].table["frame"]
    missing = [
        f"{student}: {frame}"
        for student in STUDENTS
        for frame in frames
        if not lane_file(paths.predictions / student / "test", frame).is_file()
    ]
    return dg.AssetCheckResult(
        passed=not missing,
        description=f"{len(missing)} of {len(STUDENTS) * len(frames)} lane files are missing.",
        metadata={
            "partition": str(context.partition_key),
            "test frames": len(frames),
            "missing": len(missing),
            "first 20": missing[:20],
        },
    )


@partitioned_check(
    lane_scores,
    description="The student with LGAD scores above chance on the test frames. Chance is what one scores "
    "without looking: the median training lane of every slot that most frames have, in every test frame.",
)
def f1_above_chance(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """F1 against a blind guess."""
    from assets.blind_baseline import blind_f1
    from assets.scores import compare

    dataset, recipe = dataset_and_recipe(context)
    paths = project.paths(dataset, recipe)
    chance = blind_f1(paths, project.dataset(dataset).frame_size)
    f1 = compare(paths).total.lgad.f1 or 0.0
    return dg.AssetCheckResult(
        passed=f1 > chance,
        description=f"F1 {f1:.3f} against {chance:.3f} without looking.",
        metadata={
            "partition": str(context.partition_key),
            "F1 student with LGAD": round(f1, 4),
            "F1 by chance": round(chance, 4),
        },
    )
