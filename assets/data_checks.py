"""Checks of the data before a training."""

from typing import TYPE_CHECKING

import dagster as dg

from assets.data import frames, lane_labels
from assets.partitioned_checks import partitioned_check
from assets.partitions import fetch_inputs
from assets.presentation import metadata
from resources.project import Project

if TYPE_CHECKING:
    import pyarrow as pa

LEAST_LABELLED = 0.95


@partitioned_check(
    frames,
    blocking=True,
    description="The frames table has the columns and types that are documented, every split has frames, "
    "each frame has exactly one row with lanes, size and fingerprints.",
)
def frames_table_is_valid(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Check columns, types and counts of the frames table."""
    import pyarrow.parquet as pq

    table = pq.read_table(fetch_inputs(context, project, "frames").frames)
    faults = frames_table_faults(table)
    return dg.AssetCheckResult(
        passed=not faults,
        description="; ".join(faults) or f"{table.num_rows} frames, all as documented.",
        metadata={"partition": context.partition_key, "frames": table.num_rows},
    )


def frames_table_faults(table: "pa.Table") -> list[str]:
    """List the faults of a frames table, one clause each; empty for a valid table."""
    from lgad_pipeline.config.splits import SPLITS
    from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA

    if not table.schema.equals(FRAMES_SCHEMA):
        columns = {field.name: str(field.type) for field in table.schema}
        documented = {field.name: str(field.type) for field in FRAMES_SCHEMA}
        if columns != documented:
            return [f"the columns are {columns} where {documented} are documented"]
    faults = [
        f"{table[field.name].null_count} frames have no {field.name}"
        for field in FRAMES_SCHEMA
        if not field.nullable and table[field.name].null_count
    ]
    counts = {entry["values"]: entry["counts"] for entry in table["split"].value_counts().to_pylist()}
    faults += [f"no frame is in the split {split}" for split in SPLITS if not counts.get(split)]
    faults += [f"{counts[name]} frames are in the split {name}" for name in counts.keys() - set(SPLITS)]
    twice = table.num_rows - len(table["frame"].unique())
    return [*faults, *([f"{twice} frames are there twice"] if twice else [])]


@partitioned_check(
    frames,
    blocking=True,
    description="No test frame is also in the training or validation split (by path or image bytes).",
)
def splits_share_no_frame(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Check that no test frame is used for training or validation."""
    from lgad_pipeline.data import frame_table as tables

    paths = fetch_inputs(context, project, "frames")
    shared = tables.split_leakage(tables.read_table(paths.frames, ["frame", "split", "fingerprint"]))
    return dg.AssetCheckResult(
        passed=shared.empty,
        description="No frame is in two splits."
        if shared.empty
        else f"{len(shared)} frames are in two splits.",
        metadata={
            "partition": context.partition_key,
            "shared frames": len(shared),
            "first 20": metadata.table(shared.head(20).to_dict("records")),
        },
    )


@partitioned_check(
    lane_labels,
    blocking=True,
    description=f"At least {LEAST_LABELLED:.0%} of the frames with annotated lanes have a lane in a slot. "
    "A lower share means that the lane files do not fit the frames, for instance another frame size.",
)
def lanes_are_labelled(context: dg.AssetCheckExecutionContext, project: Project) -> dg.AssetCheckResult:
    """Check that most frames with annotated lanes have a lane in a slot."""
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data import lane_labels as labels

    paths = fetch_inputs(context, project, "frames", "lane_labels")
    figures = labels.coverage(tables.read_table(paths.frames), tables.read_table(paths.lane_labels))
    share = 1 - figures["frames_without_label"] / max(figures["frames"], 1)
    enough = share >= LEAST_LABELLED and figures["labelled_lanes"] > 0
    return dg.AssetCheckResult(
        passed=enough,
        description=f"{figures['labelled_lanes']} of {figures['annotated_lanes']} annotated lanes have "
        "a slot; "
        f"{figures['frames_without_label']} frames with lanes have no labelled lane.",
        metadata={
            "partition": context.partition_key,
            **{name.replace("_", " "): value for name, value in figures.items()},
        },
    )


@partitioned_check(
    lane_labels,
    description="The slots with a lane are those that the lists of the data set state as existing.",
)
def slots_and_existence_agree(
    context: dg.AssetCheckExecutionContext, project: Project
) -> dg.AssetCheckResult:
    """Compare the existence flags with those of the lists."""
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data import lane_labels as labels

    paths = fetch_inputs(context, project, "frames", "lane_labels")
    figures = labels.coverage(tables.read_table(paths.frames), tables.read_table(paths.lane_labels))
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
