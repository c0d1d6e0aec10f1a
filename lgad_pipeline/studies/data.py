"""The data of a study: rendered, read and packed where that is not done yet."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from lgad_pipeline.data.frame_table import write_lane_files
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.settings import AnyDataset, SyntheticDataset
from lgad_pipeline.synthetic.dataset_writer import write_dataset

_PACKED = "packed"


def prepared(
    dataset: AnyDataset,
    folder: Path,
    workers: int = 1,
    tell: Callable[[str], None] = print,
) -> tuple[Path, Path]:
    """Return the shards of a data set, and the folder of its lane files.

    Args:
        dataset: its entry in the settings.
        folder: gets what is made; a data set that is described otherwise gets another place in it.
        workers: processes that render, threads that pack.
        tell: called with a line about each piece of work.
    """
    place = folder / blake2b(dataset.model_dump_json().encode(), digest_size=6).hexdigest()
    shards = place / "shards"
    root = place / "recordings" if isinstance(dataset, SyntheticDataset) else dataset.require_root()
    annotations = root if dataset.lane_files else place / "annotations"
    if (place / _PACKED).is_file():
        return shards, annotations
    if isinstance(dataset, SyntheticDataset):
        tell("rendering the road world")
        write_dataset(root, dataset.world, workers)
    tell("packing training shards")
    found = ingest(root, dataset.frame_size, kind=dataset.kind, follow_links=dataset.follow_links)
    found.require(dataset.max_rejected)
    if annotations != root:
        write_lane_files(found.frames, annotations)
    labels = assign_lane_slots(found.frames, label_rows=dataset.label_rows)
    pack_shards(
        found.frames,
        labels,
        root=root,
        output=shards,
        view=dataset.view,
        lane_width=dataset.lane_width,
        quality=dataset.jpeg_quality,
        workers=workers,
        follow_links=dataset.follow_links,
    )
    (place / _PACKED).touch()
    return shards, annotations
