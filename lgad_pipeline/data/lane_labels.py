"""Lane labels: assignment of the lanes of each frame to slots, and statistics of the assignment."""

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from lgad_pipeline.config.slots import CULANE, SlotScheme
from lgad_pipeline.data.frame_table import described, lanes_of, to_pandas
from lgad_pipeline.lanes.slots import SlotLanes, assign_slots
from lgad_pipeline.progress import Progress

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


def assign_lane_slots(
    frames: pd.DataFrame, *, scheme: SlotScheme = CULANE, progress: Progress | None = None
) -> pd.DataFrame:
    """Assign the lanes of every frame to slots with the rules of CULane's official label tool.

    Args:
        frames: frames table (`FRAMES_SCHEMA`).
        scheme: number of slots, and rows on which lanes are labelled.
        progress: called as progress(frames done, frames in total).

    Returns:
        Table of `LABELS_SCHEMA` with the rows of `frames` in the same order.
    """
    columns: dict[str, list] = {"rows": [], "xs": [], "existence": []}
    values = zip(frames["lanes"], frames["height"], frames["width"], strict=True)
    for done, (lanes, height, width) in enumerate(values, 1):
        labelled = assign_slots(lanes_of(lanes), (int(height), int(width)), scheme=scheme)
        columns["rows"].append(np.asarray(labelled.rows, np.float64))
        columns["xs"].append(list(np.asarray(labelled.xs, np.float64)))
        columns["existence"].append(labelled.existence.tolist())
        if progress is not None:
            progress(done, len(frames))
    table = pa.table({"frame": frames["frame"].tolist(), **columns}, schema=LABELS_SCHEMA)
    return to_pandas(table)


def slot_lanes_of(row: Any) -> SlotLanes:
    """Convert a row of the lane labels (`table.itertuples()`) to the type that `lanes.rendering` draws."""
    xs = np.array([np.asarray(slot, np.float64) for slot in row.xs])
    return SlotLanes(np.asarray(row.rows, np.float64), xs, np.asarray(row.existence, bool))


def unlabelled(frames: pd.DataFrame, labels: pd.DataFrame) -> np.ndarray:
    """Find the frames with annotated lanes of which none is assigned to a slot: bool (rows,)."""
    annotated, labelled = _lane_counts(frames, labels)
    return (annotated > 0) & (labelled == 0)


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
