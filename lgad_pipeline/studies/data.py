"""Data of a study: rendering, ingestion and packing, each once."""

import json
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from lgad_pipeline.atomic_files import write_text
from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.data.frame_table import write_lane_files
from lgad_pipeline.data.ingestion import ingest
from lgad_pipeline.data.lane_labels import assign_lane_slots, require_types
from lgad_pipeline.data.shard_index import INDEX
from lgad_pipeline.data.shards import pack_shards
from lgad_pipeline.datasets.folder_state import folder_state
from lgad_pipeline.networks.source import source_digest
from lgad_pipeline.settings import AnyDataset, SyntheticDataset
from lgad_pipeline.synthetic.dataset_writer import write_dataset

_PACKED = "packed"


def prepare_data(
    dataset: AnyDataset,
    folder: Path,
    *,
    workers: int = 1,
    progress: Callable[[str], None] = print,
) -> tuple[Path, Path]:
    """Render and pack a data set unless that is done; return the directories of shards and lane files.

    If the code, or files of a data set on disk, have changed since, it is rendered and packed again; parts
    that would be the same are kept.

    Args:
        dataset: settings of the data set.
        folder: directory of all prepared data; each data set has a subdirectory named by its settings.
        workers: number of processes that render, and of threads that pack.
        progress: function that is called with a line of text before each step.
    """
    output = folder / blake2b(dataset.model_dump_json().encode(), digest_size=6).hexdigest()
    shards = output / "shards"
    root = output / "recordings" if isinstance(dataset, SyntheticDataset) else dataset.require_root()
    annotations = root if dataset.lane_files else output / "annotations"
    packed = output / _PACKED
    # Rendered frames are in `output`; they change with the settings, which name it, and the code.
    # A reader of another package has code of its own.
    files = "" if isinstance(dataset, SyntheticDataset) else folder_state(root).digest
    code = [code_fingerprint(f"{__name__}:prepare_data"), source_digest(dataset.kind)]
    state = json.dumps({"files": files, "code": code})
    is_there = (shards / INDEX).is_file() and annotations.is_dir()
    if is_there and packed.is_file() and packed.read_text(encoding="utf-8") == state:
        return shards, annotations
    if isinstance(dataset, SyntheticDataset):
        progress("rendering the road world")
        write_dataset(root, dataset.world, workers)
    progress("packing training shards")
    ingestion = ingest(root, dataset.frame_size, kind=dataset.kind, follow_links=dataset.follow_links)
    ingestion.require(dataset.max_rejected)
    if annotations != root:
        write_lane_files(ingestion.frames, annotations)
    labels = assign_lane_slots(ingestion.frames, scheme=dataset.slot_scheme, lane_types=dataset.lane_types)
    require_types(ingestion.frames, labels, lane_types=dataset.lane_types)
    pack_shards(
        ingestion.frames,
        labels,
        root=root,
        output=shards,
        view=dataset.view,
        lane_width=dataset.lane_width,
        quality=dataset.jpeg_quality,
        workers=workers,
        follow_links=dataset.follow_links,
        lane_types=dataset.lane_types,
    )
    write_text(packed, state)
    return shards, annotations
