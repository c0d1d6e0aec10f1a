"""From a folder of recordings to training shards. One partition a data set.

Imports of the library stand inside the bodies: the code location loads in Dagster's web server too, and
numerical libraries would make that take seconds.
"""

from typing import TYPE_CHECKING

import dagster as dg
import numpy as np
from pydantic import Field

from assets.freshness import folder_state, materialize_result
from assets.manifests import changed_outputs
from assets.partitions import DATASETS
from assets.presentation import metadata
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import FolderDataset, SyntheticDataset
from resources.paths import ProjectPaths
from resources.progress import ProgressLog
from resources.project import Project

if TYPE_CHECKING:
    import pandas as pd

OWNERS = ["team:perception"]
LABELS_CODE = code_fingerprint("lgad_pipeline.data.lane_labels:assign_lane_slots")


class FramesConfig(dg.Config):
    """Options of reading frames."""

    read_all: bool = Field(
        default=False,
        description="Read every frame again, also those whose file has kept its size and time of change "
        "since the last table.",
    )


@dg.asset(
    group_name="data",
    kinds={"image"},
    owners=OWNERS,
    partitions_def=DATASETS,
    code_version=code_fingerprint("lgad_pipeline.synthetic.dataset_writer:write_dataset"),
    description="""Camera frames and their annotated lanes on disk, in CULane's own layout: JPEG frames, a
`.lines.txt` next to each (one lane a line, `x y x y ...`), and `list/`.

The data set `synthetic` is a procedural road world and is rendered here, frame by frame from its seed;
whatever is missing is completed. Any other data set is the user's own folder (`root` in lgad.yaml), which
is only read.""",
)
def recordings(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Frames and lane files on disk."""
    entry = project.dataset(context.partition_key)
    paths = project.paths(context.partition_key)
    root = paths.recordings
    if isinstance(entry, FolderDataset):
        entry.require_root()
    elif isinstance(entry, SyntheticDataset):
        from lgad_pipeline.synthetic.dataset_writer import write_dataset

        for damaged in changed_outputs(paths, "recordings"):
            damaged.unlink(missing_ok=True)  # rendered again below
        with progress.task(context.log, "rendering the road world") as task:
            write_dataset(root, entry.world, progress=task.advance)
    files = [path for path in root.rglob("*") if path.is_file()]
    return materialize_result(
        context,
        project,
        folder_state(root).digest,
        {
            "folder": dg.MetadataValue.path(root),
            "dagster/uri": root.as_uri(),
            "images": sum(path.suffix == ".jpg" for path in files),
            "lane files": sum(path.name.endswith(".lines.txt") for path in files),
            "size (MB)": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        },
    )


@dg.asset(
    group_name="data",
    kinds={"parquet", "pandas"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[recordings],
    code_version=code_fingerprint("lgad_pipeline.data.ingestion:ingest"),
    description="""The frames table: one row a frame, with split, scenario, annotated lanes (points in frame
pixels) and the fingerprint of its bytes. A frame that cannot be used (missing, truncated, of another size,
with a bad lane file) or that shows a test frame's picture again is rejected with file, line and reason, and
the others are used; more than `max_rejected` of lgad.yaml is an error. What is unchanged since the last table
is not read again.""",
)
def frames(
    context: dg.AssetExecutionContext, config: FramesConfig, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """The frames table."""
    import pandas as pd

    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data.ingestion import ingest
    from lgad_pipeline.visualization.dataset_sheet import data_sheet, lane_positions

    paths = project.paths(context.partition_key)
    with progress.task(context.log, "reading frames and lane files") as task:
        entry = project.dataset(context.partition_key)
        found = ingest(
            paths.recordings,
            entry.frame_size,
            kind=entry.kind,
            previous=None if config.read_all else _previous(context, paths),
            progress=task.advance,
            follow_links=entry.follow_links,
        )
    tables.write_table(paths.frames, found.frames, tables.FRAMES_SCHEMA)
    tables.write_table(paths.rejected, found.rejected, tables.REJECTED_SCHEMA)
    found.require(entry.max_rejected)
    tables.require_splits(found.frames)
    if paths.annotations != paths.recordings:
        tables.write_lane_files(found.frames, paths.annotations)
    table = found.frames
    lanes = table["lanes"].map(len)
    splits = [
        {
            "split": split,
            "frames": int((table["split"] == split).sum()),
            "lanes": int(lanes[table["split"] == split].sum()),
        }
        for split in SPLITS
    ]
    scenarios = table.loc[table["split"] == "test", "scenario"].value_counts()
    by_lanes = pd.crosstab(lanes, table["split"]).reindex(columns=list(SPLITS), fill_value=0)
    return materialize_result(
        context,
        project,
        tables.dataset_fingerprint(table),
        {
            "table": dg.MetadataValue.path(paths.frames),
            "dagster/uri": paths.frames.as_uri(),
            "dagster/partition_row_count": len(table),
            "splits": metadata.table(splits),
            "test scenarios": metadata.table(
                [{"scenario": name, "frames": int(n)} for name, n in scenarios.items()]
            ),
            "lanes a frame": metadata.table(
                [{"lanes": str(count), **row.astype(int).to_dict()} for count, row in by_lanes.iterrows()]
            ),
            "lane positions": metadata.picture(
                lane_positions(table, entry.frame_size), "where annotated lanes run in the frame"
            ),
            "frames": metadata.picture(
                data_sheet(found, entry.frame_size, entry.lane_width, entry.label_rows, 6),
                "white: annotated; coloured: the label map; below them, rejected ones",
            ),
            "since the last table": metadata.table([found.changes._asdict()]),
            "notes": metadata.table([{"file": note.file, "note": note.text} for note in found.notes]),
            "rejected": len(found.rejected),
            "rejected, first 20": metadata.first_rows(found.rejected),
            "dagster/column_schema": metadata.columns(tables.FRAMES_SCHEMA),
        },
    )


@dg.asset(
    group_name="data",
    kinds={"parquet", "pandas"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[frames],
    code_version=LABELS_CODE,
    description="""Every frame's lanes in their slots (1 far left, 2 left, 3 right, 4 far right), as the label
tool of [CULane](https://arxiv.org/abs/1712.06080) assigns them: natural cubic spline, order by the crossing
with the bottom row, double lines merged, at most two on either side; x on rows every 10 px, and an existence
flag for each slot.""",
)
def lane_labels(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Lanes in slots."""
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data import lane_labels as labels
    from lgad_pipeline.visualization.dataset_sheet import slot_positions

    paths = project.paths(context.partition_key)
    table = tables.read_table(paths.frames)
    with progress.task(context.log, "assigning lanes to slots") as task:
        made_labels = labels.assign_lane_slots(
            table, label_rows=project.dataset(context.partition_key).label_rows, progress=task.advance
        )
    tables.write_table(paths.lane_labels, made_labels, labels.LABELS_SCHEMA)
    figures = labels.coverage(table, made_labels)
    existence = np.array([list(flags) for flags in made_labels["existence"]], bool)
    slots = [
        {
            "slot": name,
            "frames": int(existence[:, slot].sum()),
            "share": float(existence[:, slot].mean()) if len(existence) else None,
        }
        for slot, name in enumerate(("1 far left", "2 left", "3 right", "4 far right"))
    ]
    return materialize_result(
        context,
        project,
        LABELS_CODE + tables.dataset_fingerprint(table),
        {
            "table": dg.MetadataValue.path(paths.lane_labels),
            "dagster/uri": paths.lane_labels.as_uri(),
            "dagster/partition_row_count": len(made_labels),
            "coverage": metadata.table(
                [{"figure": name.replace("_", " "), "count": n} for name, n in figures.items()]
            ),
            "slots": metadata.table(slots),
            "slot positions": metadata.picture(
                slot_positions(made_labels, project.dataset(context.partition_key).frame_size),
                "where the lanes of each slot run in the frame",
            ),
            "dagster/column_schema": metadata.columns(labels.LABELS_SCHEMA),
        },
    )


@dg.asset(
    group_name="data",
    kinds={"arrow", "opencv"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[recordings, frames, lane_labels],
    code_version=code_fingerprint("lgad_pipeline.data.shards:pack_shards"),
    description="""Images and label maps at training size, packed into memory-mapped Arrow IPC files for
random access, and copied to the store that lgad.yaml names, if any. Label maps are drawn from the lane
labels at frame size and reduced by nearest pixel, centre to centre.""",
)
def shards(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Packed frames and label maps."""
    from assets.presentation.pictures import label_sheet
    from lgad_pipeline.atomic_files import locked
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data.remote_shards import upload
    from lgad_pipeline.data.shards import pack_shards

    paths = project.paths(context.partition_key)
    entry = project.dataset(context.partition_key)
    # One lock over both steps: a fetch between them would put the store's old shards in place of the new.
    with progress.task(context.log, "packing shards") as task, locked(paths.shards):
        packed = pack_shards(
            tables.read_table(paths.frames),
            tables.read_table(paths.lane_labels),
            root=paths.recordings,
            output=paths.shards,
            view=entry.view,
            lane_width=entry.lane_width,
            quality=entry.jpeg_quality,
            progress=task.advance,
            follow_links=entry.follow_links,
            origin=paths.origin,
        )
        if entry.shards:
            context.log.info("copying the shards to the store")
            upload(paths.shards, entry.shards)
    return materialize_result(
        context,
        project,
        packed.fingerprint,
        {
            "folder": dg.MetadataValue.path(paths.shards),
            "dagster/uri": (entry.shards or paths.shards.as_uri()).split("?")[0],
            "dagster/partition_row_count": sum(len(split) for split in packed.splits.values()),
            "store": (entry.shards or "this machine alone").split("?")[0],
            "frames": metadata.table(
                [{"split": name, "frames": len(split)} for name, split in packed.splits.items()]
            ),
            "image size": f"{entry.image_size[1]} x {entry.image_size[0]} px",
            "size (MB)": round(sum(path.stat().st_size for path in paths.shards.iterdir()) / 1e6, 1),
            "rejected": len(packed.rejected),
            "rejected, first 20": metadata.first_rows(packed.rejected),
            "labels on frames": metadata.picture(
                label_sheet(packed["train"], 6), "training frames with their labels"
            ),
        },
    )


def _previous(context: dg.AssetExecutionContext, paths: ProjectPaths) -> "pd.DataFrame | None":
    """The table of the last ingestion, whose unchanged frames are not read again; None: none is usable."""
    from lgad_pipeline.data.frame_table import read_table

    if not paths.frames.exists():
        return None
    try:
        return read_table(paths.frames)
    except LgadError as error:
        context.log.warning(f"Every frame is read again: {error}")
        return None
