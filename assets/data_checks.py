"""What must hold of the data before anything is trained on it."""

import dagster as dg

from assets import shown
from assets.data import frames, lane_labels
from resources.project import Project

LEAST_LABELLED = 0.95


@dg.asset_check(
    asset=frames,
    blocking=True,
    description="No test frame is also trained or validated on, by path or by the bytes of its image.",
)
def splits_share_no_frame(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Split leakage."""
    from lgad_pipeline.data import frames as tables

    shared = tables.split_leakage(tables.read_table(project.place(context.partition_key).frames))
    return dg.AssetCheckResult(
        passed=shared.empty,
        description="No frame is in two splits."
        if shared.empty
        else f"{len(shared)} frames are in two splits.",
        metadata={
            "partition": context.partition_key,
            "shared frames": len(shared),
            "first 20": shown.table(shared.head(20).to_dict("records")),
        },
    )


@dg.asset_check(
    asset=lane_labels,
    blocking=True,
    description=f"At least {LEAST_LABELLED:.0%} of the frames with annotated lanes have one in a slot. "
    "Less means that the lane files do not fit the frames, for instance another frame size.",
)
def lanes_are_labelled(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Label coverage."""
    from lgad_pipeline.data import frames as tables
    from lgad_pipeline.data import labels

    place = project.place(context.partition_key)
    figures = labels.coverage(tables.read_table(place.frames), tables.read_table(place.lane_labels))
    share = 1 - figures["frames_without_label"] / max(figures["frames"], 1)
    enough = share >= LEAST_LABELLED and figures["labelled_lanes"] > 0
    return dg.AssetCheckResult(
        passed=enough,
        description=f"{figures['labelled_lanes']} of {figures['annotated_lanes']} annotated lanes have "
        "a slot; "
        f"{figures['frames_without_label']} frames with lanes have none labelled.",
        metadata={
            "partition": context.partition_key,
            **{name.replace("_", " "): value for name, value in figures.items()},
        },
    )


@dg.asset_check(
    asset=lane_labels,
    description="The slots that got a lane are those that the data set's own list states as existing.",
)
def slots_and_existence_agree(
    context: dg.AssetCheckExecutionContext, project: Project
) -> dg.AssetCheckResult:
    """Existence flags against the published ones."""
    from lgad_pipeline.data import frames as tables
    from lgad_pipeline.data import labels

    place = project.place(context.partition_key)
    figures = labels.coverage(tables.read_table(place.frames), tables.read_table(place.lane_labels))
    stated, agreeing = figures["flags_stated"], figures["flags_agreeing"]
    return dg.AssetCheckResult(
        passed=agreeing >= 0.99 * stated,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Flags agree on {agreeing} of {stated} frames whose list states them.",
        metadata={
            "partition": context.partition_key,
            "flags stated": stated,
            "flags agreeing": agreeing,
        },
    )
