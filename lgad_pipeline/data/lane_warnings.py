"""Warnings about the lanes of a frames table that are probably in pixels of another size, or odd."""

from itertools import islice

import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.config.splits import SPLITS
from lgad_pipeline.data.frame_table import list_or_none
from lgad_pipeline.lanes.extents import (
    Extents,
    copies_warning,
    count_copies,
    extents_of,
    few_smaller_warning,
    size_warnings,
)
from lgad_pipeline.lanes.odd_lanes import odd_lanes, odd_lanes_warnings
from lgad_pipeline.lanes.pieces import count_pieces, pieces_warning
from lgad_pipeline.lanes.spline import Ragged
from lgad_pipeline.wording import counted

_LEAST_FRAMES = 5  # frames with lanes of a split that is judged by itself; in fewer, all lanes may be short
_CHUNK = 1 << 12  # rows whose lanes are checked at once; it limits the memory in use


def lane_warnings(frames: pd.DataFrame) -> list[str]:
    """Return warnings about the annotated lanes of all frames, a sentence each.

    Args:
        frames: frames table (`FRAMES_SCHEMA`).
    """
    sizes = frames[["height", "width"]].to_numpy()
    extents, pieces, odd, copies = [], [], np.zeros(4, np.int64), 0
    for first in range(0, len(frames), _CHUNK):
        rows = slice(first, first + _CHUNK)
        lanes, counts = _joined(frames["lanes"].iloc[rows])
        extents.append(extents_of(lanes, counts, sizes=sizes[rows]))
        pieces.append(count_pieces(lanes, counts, widths=sizes[rows, 1]))
        odd += odd_lanes(lanes)
        each = iter(lanes)
        copies += count_copies(list(islice(each, count)) for count in counts)
    if not extents:
        return []
    extents, names = np.concatenate(extents), frames["frame"].tolist()
    warnings = size_warnings("annotated", extents, sizes=sizes)
    if not warnings:
        warnings = _warnings_of_splits(frames["split"], extents, sizes)
    if not warnings:
        warnings = few_smaller_warning("annotated", extents, sizes=sizes, frames=names)
    return [
        *_without_lanes(frames["split"], extents),
        *warnings,
        *odd_lanes_warnings("annotated", odd),
        *copies_warning("annotated", copies),
        *pieces_warning(np.concatenate(pieces), names),
        *_emptied(frames.loc[extents[:, 0] == 0, ["frame", "existence"]]),
    ]


def _without_lanes(splits: pd.Series, extents: Extents) -> list[str]:
    """Return a warning for each split of which no frame has a lane, as where a list of tasks has none."""
    warnings = []
    for split in SPLITS:
        lanes = extents[(splits == split).to_numpy(), 0]
        if len(lanes) >= _LEAST_FRAMES and not lanes.any():
            warnings.append(
                f"None of the {counted(len(lanes), f'{split} frame')} has a lane; give the annotated lanes "
                "or take these frames out."
            )
    return warnings


def _emptied(frames: pd.DataFrame) -> list[str]:
    """Return a warning if lists state lanes of frames without lanes, as where a copy left empty lane files.

    Args:
        frames: rows of the frames table without lanes.
    """
    stated = [any(list_or_none(flags) or ()) for flags in frames["existence"]]
    if not any(stated):
        return []
    count, example = sum(stated), frames["frame"][stated].iloc[0]
    return [
        f"{counted(count, 'frame')} without lanes {'has' if count == 1 else 'have'} existence flags of lanes "
        f"in the list, such as {example}; restore the lane files, or correct the list."
    ]


def _warnings_of_splits(splits: pd.Series, extents: Extents, sizes: np.ndarray) -> list[str]:
    """Return the warnings about the lanes of each split, which may be annotated in pixels of its own.

    Args:
        splits: split of each frame.
        extents: extents of the lanes of each frame.
        sizes: sizes of the frames, int (frames, 2) as (H, W), pixels.
    """
    warnings = []
    for split in SPLITS:
        chosen = (splits == split).to_numpy() & (extents[:, 0] > 0)
        if chosen.sum() >= _LEAST_FRAMES:
            warnings += size_warnings(f"annotated {split}", extents[chosen], sizes=sizes[chosen])
    return warnings


def _joined(column: pd.Series) -> tuple[Ragged, list[int]]:
    """Return the lanes of some rows, stored end to end, and the number of lanes of each row."""
    frames = pa.chunked_array(pa.array(column)).combine_chunks()
    lanes = frames.flatten()
    points = lanes.flatten().flatten().to_numpy().reshape(-1, 2)
    ends, of_frames = lanes.offsets.to_numpy(), frames.offsets.to_numpy()
    return Ragged(points, (ends - ends[0]).astype(np.int64)), np.diff(of_frames).tolist()
