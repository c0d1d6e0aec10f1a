"""The data of a study: rendered, read and packed where that is not done yet."""

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path

from lgad_pipeline.data.culane import ingest
from lgad_pipeline.data.labels import lane_labels
from lgad_pipeline.data.shards import pack
from lgad_pipeline.data.synthetic.write import write_dataset
from lgad_pipeline.settings import CulaneDataset, SyntheticDataset

_PACKED = "packed"


def prepared(
    dataset: SyntheticDataset | CulaneDataset,
    folder: Path,
    workers: int = 1,
    tell: Callable[[str], None] = print,
) -> tuple[Path, Path]:
    """Return the shards of a data set, and the folder of its frames and lane files.

    Args:
        dataset: its entry in the settings.
        folder: gets what is made; a data set that is described otherwise gets another place in it.
        workers: processes that render, threads that pack.
        tell: called with a line about each piece of work.
    """
    place = folder / blake2b(dataset.model_dump_json().encode(), digest_size=6).hexdigest()
    root, shards = place / "recordings", place / "shards"
    if isinstance(dataset, CulaneDataset):
        root = dataset.root
    if (place / _PACKED).is_file():
        return shards, root
    if isinstance(dataset, SyntheticDataset):
        tell("rendering the road world")
        write_dataset(root, dataset.world, workers)
    tell("packing training shards")
    frames = ingest(root, dataset.frame_size).frames
    pack(frames, lane_labels(frames), root, shards, dataset.view, dataset.lane_width, workers=workers)
    (place / _PACKED).touch()
    return shards, root
