"""Parts of the training shards: their inputs, fingerprints, and packing here or on a cluster."""

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.data.lane_labels import slot_lanes_of
from lgad_pipeline.data.shard_file import Packing, write_part
from lgad_pipeline.data.shard_index import PartEntry
from lgad_pipeline.lanes.lane_files import Rejected


def part_fingerprint(rows: pd.DataFrame, labels: pd.DataFrame, packing: Packing) -> str:
    """Compute the BLAKE2b-64 digest, hexadecimal, of all inputs of a part."""
    digest = blake2b(digest_size=8)
    code = code_fingerprint("lgad_pipeline.data.shard_file:write_part")
    settings = asdict(packing.view), packing.lane_width, packing.quality
    digest.update(repr((code, *settings)).encode())
    for row, label in zip(rows.itertuples(index=False), labels.itertuples(index=False), strict=True):
        lanes = slot_lanes_of(label)
        digest.update(repr(tuple(row)).encode())
        for array in (lanes.rows, lanes.xs, lanes.existence):
            digest.update(np.ascontiguousarray(array).tobytes())
    if packing.lane_types:
        digest.update(repr(packing.lane_types).encode())
        digest.update(repr([list(types) for types in labels["types"]]).encode())
    return digest.hexdigest()


@dataclass(frozen=True)
class PartInput:
    """Inputs of one part.

    Attributes:
        split: split of the frames.
        name: file name of the part.
        rows: table of frame, split, scenario and fingerprint of each frame.
        labels: lane labels (`labels_schema`), with the rows of `rows` in the same order.
    """

    split: str
    name: str
    rows: pd.DataFrame
    labels: pd.DataFrame


def part_inputs(
    rows: pd.DataFrame,
    labels: pd.DataFrame,
    usable: np.ndarray,
    *,
    size: int,
    packing: Packing,
) -> Iterator[PartInput]:
    """Yield the inputs of the parts, split by split.

    Args:
        rows: table of frame, split, scenario and fingerprint of each frame.
        labels: lane labels (`labels_schema`), with the rows of `rows` in the same order.
        usable: flags, bool (frames,), of the frames to pack.
        size: number of frames in a part.
        packing: settings of the packing.
    """
    for split in SPLITS:
        chosen = np.flatnonzero((rows["split"] == split).to_numpy() & usable)
        for number, first in enumerate(range(0, len(chosen), size)):
            positions = chosen[first : first + size]
            part_rows, part_labels = rows.iloc[positions], labels.iloc[positions]
            fingerprint = part_fingerprint(part_rows, part_labels, packing)
            name = f"{split}-{number:05d}-{fingerprint}.arrow"
            yield PartInput(split, name, part_rows, part_labels)


class PackedPart(NamedTuple):
    """Result of packing a part on a cluster.

    Attributes:
        entry: entry of the part for the index, None if no frame can be packed.
        rejected: rejected frames (file, line, reason).
        content: bytes of the file.
    """

    entry: PartEntry | None
    rejected: list[Rejected]
    content: bytes


def packed_part(packing: Packing, part: PartInput) -> PackedPart:
    """Pack a part, and return the file instead of writing it; for a machine without the folder of shards."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / part.name
        entry, rejected = write_part(
            path, part.rows, labels=part.labels, packing=packing, workers=os.cpu_count() or 1
        )
        return PackedPart(entry, rejected, path.read_bytes() if entry else b"")
