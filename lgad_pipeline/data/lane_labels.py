"""Lane labels: assignment of the lanes of each frame to slots, and statistics of the assignment."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.config.slots import CULANE, SlotScheme
from lgad_pipeline.data.frame_schema import described
from lgad_pipeline.data.frame_table import lanes_of, list_or_none, to_pandas
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.lane_types import named_type
from lgad_pipeline.lanes.slots import SlotLanes, assign_frames_with_sources
from lgad_pipeline.progress import Progress
from lgad_pipeline.wording import counted

LABELS_SCHEMA = pa.schema(
    [
        described(
            "frame", pa.string(), "path of the image below the data set's root, as in the frames table"
        ),
        described("rows", pa.list_(pa.float64()), "y of the labelled rows in frame pixels, bottom first"),
        described(
            "xs",
            pa.list_(pa.list_(pa.float64())),
            "x of the slots, from left to right, on those rows in frame pixels, NaN: no lane",
        ),
        described("existence", pa.list_(pa.bool_()), "whether a slot holds a lane of two rows or more"),
    ]
)
_TYPES = described(
    "types",
    pa.list_(pa.string()),
    "name of the type of the lane in each slot, from lane_types of the data set; empty: unknown or no lane",
)


def labels_schema(lane_types: Sequence[str]) -> pa.Schema:
    """Return the schema of the lane labels: `LABELS_SCHEMA`, with the column `types` if types are named."""
    return LABELS_SCHEMA.append(_TYPES) if lane_types else LABELS_SCHEMA


def assign_lane_slots(
    frames: pd.DataFrame,
    *,
    scheme: SlotScheme = CULANE,
    lane_types: Sequence[str] = (),
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Assign the lanes of every frame to slots with the rules of CULane's official label tool.

    Args:
        frames: frames table (`FRAMES_SCHEMA`).
        scheme: number of slots, and rows on which lanes are labelled.
        lane_types: names of the lane types that networks tell apart; empty for none.
        progress: called as progress(frames done, frames in total).

    Returns:
        Table of `labels_schema(lane_types)` with the rows of `frames` in the same order.
    """
    schema = labels_schema(lane_types)
    columns: dict[str, list] = {name: [] for name in schema.names if name != "frame"}
    values = zip(frames["lanes"], frames["height"], frames["width"], frames["lane_types"], strict=True)
    for done, (lanes, height, width, types) in enumerate(values, 1):
        (labelled,), sources = assign_frames_with_sources(
            [lanes_of(lanes)], (int(height), int(width)), scheme=scheme
        )
        columns["rows"].append(np.asarray(labelled.rows, np.float64))
        columns["xs"].append(list(np.asarray(labelled.xs, np.float64)))
        columns["existence"].append(labelled.existence.tolist())
        if lane_types:
            of_lanes = np.where(labelled.existence, sources[0], -1)  # a lane that is too short has no slot
            columns["types"].append(_slot_types(types, of_lanes, lane_types))
        if progress is not None:
            progress(done, len(frames))
    table = pa.table({"frame": frames["frame"].tolist(), **columns}, schema=schema)
    return to_pandas(table)


def _slot_types(annotated: Any, sources: np.ndarray, lane_types: Sequence[str]) -> list[str]:
    """Return the name of the type of each slot; `annotated` holds the types of the lanes, or is null."""
    types = list_or_none(annotated)
    return [
        named_type(types[lane], lane_types).name if types and lane >= 0 else "" for lane in sources.tolist()
    ]


def require_types(frames: pd.DataFrame, labels: pd.DataFrame, *, lane_types: Sequence[str]) -> None:
    """Check that the training frames have labelled lanes of every type that networks tell apart.

    Args:
        frames: frames table (`FRAMES_SCHEMA`).
        labels: lane labels of these frames.
        lane_types: names of the types; empty for none.

    Raises:
        LgadError: no labelled lane of the training frames has one of the types.
    """
    training = (frames["split"] == "train").to_numpy()
    found = {name for types in labels["types"][training] for name in types} if lane_types else set()
    missing = [name for name in lane_types if name not in found]
    if missing:
        kinds = {name for types in frames["lane_types"][training].dropna() for name in types if name}
        annotated = f"annotated are {', '.join(sorted(kinds)[:8])}" if kinds else "no type is annotated"
        raise LgadError(
            f"No labelled lane of the training frames has the type {' or '.join(missing)} ({annotated}); "
            "correct lane_types of the data set."
        )


def slot_lanes_of(row: Any) -> SlotLanes:
    """Convert a row of the lane labels (`table.itertuples()`) to the type that `lanes.rendering` draws."""
    xs = np.array([np.asarray(slot, np.float64) for slot in row.xs])
    return SlotLanes(np.asarray(row.rows, np.float64), xs, np.asarray(row.existence, bool))


def unlabelled(frames: pd.DataFrame, labels: pd.DataFrame) -> np.ndarray:
    """Find the frames with annotated lanes of which none is assigned to a slot: bool (rows,)."""
    annotated, labelled = _lane_counts(frames, labels)
    return (annotated > 0) & (labelled == 0)


def cropped_lanes(labels: pd.DataFrame, crop_top: int) -> str:
    """Return a warning, a sentence, if label rows of lanes are above `crop_top`; else an empty string.

    Args:
        labels: lane labels.
        crop_top: frame rows that are cut off at the top, pixels.
    """
    if labels.empty or crop_top <= min(labels["rows"].iloc[0]):  # all frames have the same label rows
        return ""
    lanes = cut = rows = rows_cut = 0
    for label in map(slot_lanes_of, labels.itertuples()):
        valid = ~np.isnan(label.xs[label.existence])
        above = valid[:, label.rows < crop_top].sum(axis=1)
        lanes, cut = lanes + len(valid), cut + int((above > 0).sum())
        rows, rows_cut = rows + int(valid.sum()), rows_cut + int(above.sum())
    if not cut:
        return ""
    return (
        f"{cut} of {counted(lanes, 'labelled lane')} reach above crop_top {crop_top}, where their labels are "
        f"cut off ({100 * rows_cut / rows:.0f} % of their rows); set a smaller crop_top."
    )


def _lane_counts(frames: pd.DataFrame, labels: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Count the lanes of two points or more and the existing slots of each frame: int (rows,) each."""
    annotated = np.array([sum(len(lane) > 1 for lane in lanes) for lanes in frames["lanes"]], int)
    existence = np.array([sum(flags) for flags in labels["existence"]], int)
    return annotated, existence


def coverage(frames: pd.DataFrame, labels: pd.DataFrame) -> dict[str, int]:
    """Compute the figures for the check of the lane labels.

    Returns:
        Numbers by name: frames; annotated_lanes (lanes of two points or more); labelled_lanes (slots that
        exist); frames_without_label (frames with annotated lanes, none of them in a slot); flags_stated
        (frames whose list states an existence flag for each slot) and flags_agreeing (those whose flags equal
        the labels').
    """
    annotated, labelled = _lane_counts(frames, labels)
    stated = frames["existence"].notna().to_numpy()
    agreeing = [
        list(published) == list(found)
        for published, found in zip(frames["existence"][stated], labels["existence"][stated], strict=True)
        if len(published) == len(found)
    ]
    return {
        "frames": len(frames),
        "annotated_lanes": int(annotated.sum()),
        "labelled_lanes": int(labelled.sum()),
        "frames_without_label": int(unlabelled(frames, labels).sum()),
        "flags_stated": len(agreeing),
        "flags_agreeing": sum(agreeing),
    }
