"""Data assets: recordings, frames table, lane labels and shards; one partition per data set.

The library is imported inside the functions: Dagster's web server loads this module, too, and importing
numerical libraries would take seconds.
"""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

from assets.freshness import inputs_at_start, materialize_result
from assets.keys import PREFIX
from assets.manifests import changed_outputs
from assets.partitions import DATASETS, fetch_inputs
from assets.presentation.data_metadata import (
    frames_metadata,
    lane_labels_metadata,
    lane_types_metadata,
    recordings_metadata,
    shards_metadata,
)
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.datasets.folder_state import folder_state
from lgad_pipeline.errors import LgadError
from lgad_pipeline.settings import FolderDataset, SyntheticDataset
from resources.paths import ProjectPaths, settings_named
from resources.progress import ProgressLog
from resources.project import Project
from resources.trainer import Trainer

if TYPE_CHECKING:
    import pandas as pd

OWNERS = ["team:perception"]
LABELS_CODE = code_fingerprint("lgad_pipeline.data.lane_labels:assign_lane_slots")


class FramesConfig(dg.Config):
    """Options of the ingestion."""

    read_all: bool = Field(
        default=False,
        description="Read every frame again, including those whose file has the same size and modification "
        "time as at the last ingestion.",
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="data",
    kinds={"image"},
    owners=OWNERS,
    partitions_def=DATASETS,
    code_version=code_fingerprint("lgad_pipeline.synthetic.dataset_writer:write_dataset"),
    description="""Camera frames and annotated lanes on disk. In CULane's format these are JPEG frames, a
file `.lines.txt` next to each frame (one line of text per lane: `x y x y ...`), and the lists in `list/`.

The data set `synthetic` is a procedural road world. This asset renders it, each frame from its seed, and
adds frames that are missing. Any other data set is a directory of the user (`root` in lgad.yaml); it is only
read.""",
)
def recordings(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Render the synthetic data set, or check that the directory of the data set can be read."""
    inputs = inputs_at_start(context, project)
    entry = project.dataset(context.partition_key)
    paths = project.paths(context.partition_key)
    if isinstance(entry, FolderDataset):
        with settings_named(paths.dataset):
            entry.require_root()
    elif isinstance(entry, SyntheticDataset):
        from lgad_pipeline.synthetic.dataset_writer import write_dataset

        for changed in changed_outputs(paths, "recordings"):
            changed.unlink(missing_ok=True)  # A changed file is deleted, so that it is rendered again below.
        with progress.task(context.log, "rendering the road world") as task:
            write_dataset(paths.recordings, entry.world, progress=task.advance)
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=folder_state(paths.recordings).digest,
        metadata=recordings_metadata(paths.recordings),
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="data",
    kinds={"parquet", "pandas"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[recordings],
    code_version=code_fingerprint("lgad_pipeline.data.ingestion:ingest"),
    description="""The frames table: one row per frame, with split, scenario, annotated lanes (points in
frame pixels) and the fingerprint of the image file.

A frame is rejected, with file, line and reason, if it is missing, truncated, of another size, has a bad lane
file, or repeats the image of a test frame. The other frames are used. More than `max_rejected` rejected
frames (lgad.yaml) are an error; the table of the last accepted ingestion is then kept. Frames that have not
changed since the last ingestion are not read again.""",
)
def frames(
    context: dg.AssetExecutionContext, config: FramesConfig, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Ingest the frames, and write the frames table and the table of rejected items."""
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data.frame_schema import FRAMES_SCHEMA, REJECTED_SCHEMA
    from lgad_pipeline.data.ingestion import ingest

    inputs = inputs_at_start(context, project)
    entry = project.dataset(context.partition_key)
    paths = fetch_inputs(context, project, "recordings")
    with progress.task(context.log, "reading frames and lane files") as task, settings_named(paths.dataset):
        result = ingest(
            paths.recordings,
            entry.frame_size,
            kind=entry.kind,
            previous=None if config.read_all else _last_table(context, paths),
            progress=task.advance,
            follow_links=entry.follow_links,
        )
    try:
        with settings_named(paths.dataset):
            result.require(entry.max_rejected)
        tables.require_splits(result.frames)
    except LgadError:
        tables.write_table(paths.refused_frames, result.frames, schema=FRAMES_SCHEMA)
        tables.write_table(paths.refused_items, result.rejected, schema=REJECTED_SCHEMA)
        raise
    tables.write_table(paths.frames, result.frames, schema=FRAMES_SCHEMA)
    tables.write_table(paths.rejected, result.rejected, schema=REJECTED_SCHEMA)
    for refused in (paths.refused_frames, paths.refused_items):
        refused.unlink(missing_ok=True)
    for note in result.notes:
        context.log.warning(f"{note.file}: {note.text}")
    if paths.annotations != paths.recordings:
        tables.write_lane_files(result.frames, paths.annotations)
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=tables.dataset_fingerprint(result.frames, lane_types=bool(entry.lane_types)),
        metadata=frames_metadata(result, entry, path=paths.frames),
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="data",
    kinds={"parquet", "pandas"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[frames],
    code_version=LABELS_CODE,
    description="""Lane labels: the lanes of every frame in their slots (of four: 1 far left, 2 left, 3 right,
4 far right), as the label tool of [CULane](https://arxiv.org/abs/1712.06080) assigns them. Each lane becomes
a natural cubic spline; lanes are ordered by where they cross the bottom row; of a double line one lane is
kept; each side of the car has half of the slots. The table has x on the label rows and an existence flag
per slot.""",
)
def lane_labels(
    context: dg.AssetExecutionContext, project: Project, progress: ProgressLog
) -> dg.MaterializeResult:
    """Assign the lanes to slots."""
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data import lane_labels as labels

    inputs = inputs_at_start(context, project)
    entry = project.dataset(context.partition_key)
    paths = fetch_inputs(context, project, "frames")
    table = tables.read_table(paths.frames)
    with progress.task(context.log, "assigning lanes to slots") as task:
        result = labels.assign_lane_slots(
            table, scheme=entry.slot_scheme, lane_types=entry.lane_types, progress=task.advance
        )
    with settings_named(paths.dataset):
        labels.require_types(table, result, lane_types=entry.lane_types)
    tables.write_table(paths.lane_labels, result, schema=labels.labels_schema(entry.lane_types))
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=LABELS_CODE + tables.dataset_fingerprint(table, lane_types=bool(entry.lane_types)),
        metadata=lane_labels_metadata(
            result, labels.coverage(table, result), frame_size=entry.frame_size, path=paths.lane_labels
        )
        | lane_types_metadata(table, result, lane_types=entry.lane_types),
    )


@dg.asset(
    key_prefix=PREFIX,
    group_name="data",
    kinds={"arrow", "opencv"},
    owners=OWNERS,
    partitions_def=DATASETS,
    deps=[recordings, frames, lane_labels],
    code_version=code_fingerprint("lgad_pipeline.data.shards:pack_shards"),
    description="""Shards: images and label maps at training size, packed into memory-mapped Arrow IPC files
for random access. If lgad.yaml names a store, the shards are copied to it. Label maps are drawn from the lane
labels at frame size and scaled down to the nearest pixel (centres aligned).""",
)
def shards(
    context: dg.AssetExecutionContext, project: Project, trainer: Trainer, progress: ProgressLog
) -> dg.MaterializeResult:
    """Pack frames and label maps, and copy them to the store."""
    from lgad_pipeline.atomic_files import locked
    from lgad_pipeline.data import frame_table as tables
    from lgad_pipeline.data.lane_labels import cropped_lanes
    from lgad_pipeline.data.remote_shards import upload
    from lgad_pipeline.data.shards import pack_shards

    inputs = inputs_at_start(context, project)
    entry = project.dataset(context.partition_key)
    paths = fetch_inputs(context, project, "recordings", "frames", "lane_labels")
    lane_labels = tables.read_table(paths.lane_labels)
    # One lock covers packing and upload: a download between them would replace the new shards by old ones.
    with (
        progress.task(context.log, "packing shards") as task,
        locked(paths.shards),
        settings_named(paths.dataset),
        trainer.tasks(paths, "recordings"),
    ):
        packed = pack_shards(
            tables.read_table(paths.frames),
            lane_labels,
            root=paths.recordings,
            output=paths.shards,
            view=entry.view,
            lane_width=entry.lane_width,
            quality=entry.jpeg_quality,
            progress=task.advance,
            follow_links=entry.follow_links,
            origin=paths.origin,
            lane_types=entry.lane_types,
        )
        for warning in filter(None, (entry.thin_lanes, cropped_lanes(lane_labels, entry.crop_top))):
            context.log.warning(warning)
        if paths.store:
            context.log.info("copying the shards to the store")
            upload(paths.shards, paths.store)
    return materialize_result(
        context,
        project,
        inputs=inputs,
        data_version=packed.fingerprint,
        metadata=shards_metadata(packed, entry, folder=paths.shards),
    )


def _last_table(context: dg.AssetExecutionContext, paths: ProjectPaths) -> "pd.DataFrame | None":
    """Read the table of the last ingestion, whose unchanged frames are not read again; None without one."""
    from lgad_pipeline.data.frame_table import read_table

    last = next((path for path in (paths.refused_frames, paths.frames) if path.exists()), None)
    try:
        return read_table(last) if last else None
    except LgadError as error:
        context.log.warning(f"Every frame is read again: {error}")
        return None
