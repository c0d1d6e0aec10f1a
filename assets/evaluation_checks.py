"""Checks of predictions and scores before a model is registered."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.evaluation import lane_scores, predictions
from assets.partitioned_checks import partitioned_check
from assets.partitions import fetch_inputs
from lgad_pipeline.config.roles import STUDENTS
from resources.paths import ProjectPaths, open_shards
from resources.project import Project

if TYPE_CHECKING:
    from lgad_pipeline.evaluation.student_scores import StudentComparison


@partitioned_check(
    predictions,
    blocking=True,
    description="Both students have a lane file for every packed test frame. A missing lane file would count "
    "as a frame without lanes and lower the score of the model.",
)
def predictions_cover_the_test_list(
    context: dg.AssetCheckExecutionContext, project: Project
) -> dg.AssetCheckResult:
    """Check that every test frame has a lane file of each student."""
    from lgad_pipeline.lanes.lane_files import lane_file

    paths = fetch_inputs(context, project, "predictions")
    frames = open_shards(paths)["test"].table["frame"]
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
    description="F1 of the student with LGAD on the test frames is above the blind baseline. The baseline "
    "predicts the same lanes in every test frame: for each slot that most training frames have, the median "
    "training lane.",
)
def f1_above_blind_baseline(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Compare F1 of the student with LGAD with F1 of the blind baseline."""
    from lgad_pipeline.evaluation.student_scores import read_comparison

    paths = fetch_inputs(context, project, "frames", "lane_labels", "lane_scores")
    baseline = baseline_f1(paths, project.dataset(paths.dataset).frame_size)
    f1 = read_comparison(paths.lane_scores).total.lgad.f1
    return dg.AssetCheckResult(
        passed=f1 > baseline,
        description=f"F1 {f1:.3f}; blind baseline {baseline:.3f}.",
        metadata={
            "partition": str(context.partition_key),
            "F1 student with LGAD": round(f1, 4),
            "F1 blind baseline": round(baseline, 4),
        },
    )


def baseline_f1(paths: ProjectPaths, frame_size: tuple[int, int]) -> float:
    """Compute F1 of the blind baseline on the test frames of a data set."""
    from lgad_pipeline.data.frame_table import read_table
    from lgad_pipeline.evaluation.blind_baseline import blind_f1

    return blind_f1(read_table(paths.frames), read_table(paths.lane_labels), frame_size=frame_size)


def baseline_objection(
    paths: ProjectPaths, comparison: "StudentComparison", *, frame_size: tuple[int, int]
) -> str:
    """State, as a clause, why a student that is not above the blind baseline is not used; else empty."""
    baseline, f1 = baseline_f1(paths, frame_size), comparison.total.lgad.f1
    if f1 > baseline:
        return ""
    return f"its F1 on test frames, {f1:.3f}, is not above the {baseline:.3f} of the blind baseline"
