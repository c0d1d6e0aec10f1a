"""Contact sheet of a data set: frames with lanes and labels, and rejected frames."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from lgad_pipeline.config.slots import SlotScheme
from lgad_pipeline.data.frame_table import lanes_of
from lgad_pipeline.data.ingestion import Ingestion
from lgad_pipeline.data.lane_labels import assign_lane_slots, slot_lanes_of
from lgad_pipeline.datasets.images import IMAGE_SUFFIXES, read_image
from lgad_pipeline.datasets.safe_io import frame_limit, read_inside
from lgad_pipeline.errors import LgadError
from lgad_pipeline.lanes.rendering.label_map import label_map
from lgad_pipeline.view import View
from lgad_pipeline.visualization.overlays import (
    contact_sheet,
    draw_attention,
    draw_label_map,
    legend,
    slot_colour,
)
from lgad_pipeline.wording import counted

_CELL = 10  # px; CULane's rows are so far apart
_MOST = 5000  # frames that a picture of positions is made from
_ANNOTATED = (255, 255, 255)
_MISSING = 90  # grey of a frame that cannot be shown


def data_sheet(
    ingestion: Ingestion, view: View, *, lane_width: int, scheme: SlotScheme, count: int = 8
) -> np.ndarray:
    """Draw frames, evenly spread over the table, and rejected frames on a sheet.

    Annotated lanes are thin and white, the slots of the label map at training size coloured beneath them, as
    the legend says; the rows that the view cuts off are dark. A rejected frame is shown as it is, with the
    reason as its caption; of every reason some are shown.

    Args:
        ingestion: ingestion of the data set.
        view: mapping from frame pixels to image pixels.
        lane_width: width of the lanes of the label map, frame pixels.
        scheme: number of slots, and rows on which lanes are labelled.
        count: number of frames of the table, and greatest number of rejected frames.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    frame_size = view.frame_size
    rows = np.unique(np.linspace(0, len(ingestion.frames) - 1, min(count, len(ingestion.frames))).round())
    chosen = ingestion.frames.iloc[rows.astype(int)]
    pictures, captions = [], []
    for row, label in zip(
        chosen.itertuples(), assign_lane_slots(chosen, scheme=scheme).itertuples(), strict=True
    ):
        picture = _picture(ingestion, str(row.frame), frame_size)
        drawn = picture // 3
        seen = view.label(label_map(slot_lanes_of(label), frame_size, lane_width=lane_width))
        drawn[view.crop_top :] = draw_label_map(picture[view.crop_top :], seen)
        lanes = lanes_of(row.lanes)  # type: ignore[arg-type]
        for lane in lanes:
            cv2.polylines(drawn, [np.rint(lane).astype(np.int32)], False, _ANNOTATED, 3, cv2.LINE_AA)
        pictures.append(drawn)
        scenario = f", {row.scenario}" if isinstance(row.scenario, str) else ""
        captions.append(f"{row.split}{scenario}: {counted(len(lanes), 'lane')}, {Path(str(row.frame)).name}")
    for row in _spread_reasons(ingestion.rejected, count):
        pictures.append(_rejected_picture(ingestion, str(row.file), frame_size))
        captions.append(f"rejected: {Path(str(row.file)).name} {str(row.reason).partition(';')[0]}")
    sheet = contact_sheet(pictures, 2, captions=captions, width=800)
    return np.concatenate([sheet, legend(sheet.shape[1], scheme.slots)])


def reasons(rejected: pd.DataFrame) -> list[tuple[int, str]]:
    """Count rejected entries by reason, and return (count, first entry with its reason), most frequent first.

    Reasons that differ in a file name or a number alone count as one.
    """
    groups = rejected.groupby(rejected["reason"].map(_kind_of), sort=False)
    found = [(len(group), f"{group.iloc[0].file}: {group.iloc[0].reason}") for _, group in groups]
    return sorted(found, key=lambda each: -each[0])


def _kind_of(reason: str) -> str:
    return re.sub(r"\d+", "0", re.sub(r"\S+\.(jpe?g|png|txt|json)\b", "FILE", reason))


def _spread_reasons(rejected: pd.DataFrame, count: int) -> list[Any]:
    """Return rejected entries: the first of every reason, then the second of every reason, and so on."""
    turn = rejected.groupby(rejected["reason"].map(_kind_of), sort=False).cumcount()
    return list(rejected.iloc[np.argsort(turn.to_numpy(), kind="stable")[:count]].itertuples())


def lane_positions(frames: pd.DataFrame, frame_size: tuple[int, int]) -> np.ndarray:
    """Draw the positions of annotated lanes: from black (none) to bright yellow (most).

    Args:
        frames: the frames table; of more than 5,000, evenly spread ones are counted.
        frame_size: (H, W), pixels.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    lanes = [lane for cell in _spread(frames)["lanes"] for lane in lanes_of(cell)]
    return draw_attention(
        np.zeros((*frame_size, 3), np.uint8), np.sqrt(_counts(lanes, frame_size)), opacity=1.0
    )


def slot_positions(labels: pd.DataFrame, frame_size: tuple[int, int]) -> np.ndarray:
    """Draw the positions of the lanes of each slot in its colour, uint8 (H, W, 3) RGB."""
    rows = [slot_lanes_of(row) for row in _spread(labels).itertuples()]
    cells = np.zeros((*_counts([], frame_size).shape, 3))
    for slot in range(max((len(row.existence) for row in rows), default=0)):
        counts = np.sqrt(_counts([row.points(slot) for row in rows], frame_size))
        cells += counts[..., None] / max(counts.max(), 1.0) * np.array(slot_colour(slot + 1))
    picture = np.clip(cells, 0, 255).astype(np.uint8)
    return cv2.resize(picture, frame_size[::-1], interpolation=cv2.INTER_LINEAR)


def first_frame(ingestion: Ingestion, frame_size: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the first frame with lanes, uint8 (H, W, 3), RGB, and its lanes, points (N, 2) in frame pixels.

    Raises:
        LgadError: no frame of the table has a lane.
    """
    for row in ingestion.frames.itertuples():
        lanes = lanes_of(row.lanes)  # type: ignore[arg-type]
        if lanes:
            return _picture(ingestion, str(row.frame), frame_size), lanes
    raise LgadError(f"No frame below {ingestion.root} has a lane to show; name another data set.")


def _spread(table: pd.DataFrame) -> pd.DataFrame:
    rows = np.linspace(0, len(table) - 1, min(_MOST, len(table))).round().astype(int)
    return table.iloc[rows]


def _counts(lanes: list[np.ndarray], frame_size: tuple[int, int]) -> np.ndarray:
    """Count the lanes that pass through each cell of 10 x 10 px: float32 (H/10, W/10)."""
    height, width = (-(-side // _CELL) for side in frame_size)
    counts = np.zeros((height, width), np.float32)
    for lane in lanes:
        passed = np.zeros((height, width), np.uint8)
        cv2.polylines(passed, [(lane / _CELL).astype(np.int32)], False, (1,))
        counts += passed
    return counts


def _picture(ingestion: Ingestion, name: str, frame_size: tuple[int, int]) -> np.ndarray:
    """Return the frame; a grey picture if there is none of this size."""
    picture = _read(ingestion, name, frame_size)
    if picture is None or picture.shape[:2] != frame_size:
        return np.full((*frame_size, 3), _MISSING, np.uint8)
    return picture


def _rejected_picture(ingestion: Ingestion, file: str, frame_size: tuple[int, int]) -> np.ndarray:
    """Return the frame of a rejected entry, scaled to fit on grey; grey only if it cannot be read."""
    stem = file.removesuffix(".lines.txt")
    names = [file] if stem == file else [stem + suffix for suffix in IMAGE_SUFFIXES]
    canvas = np.full((*frame_size, 3), _MISSING, np.uint8)
    for name in names:
        picture = _read(ingestion, name, frame_size)
        if picture is not None:
            scale = min(frame_size[0] / picture.shape[0], frame_size[1] / picture.shape[1])
            height, width = (max(1, int(side * scale)) for side in picture.shape[:2])
            top, left = (frame_size[0] - height) // 2, (frame_size[1] - width) // 2
            fitted = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
            canvas[top : top + height, left : left + width] = fitted
            break
    return canvas


def _read(ingestion: Ingestion, name: str, frame_size: tuple[int, int]) -> np.ndarray | None:
    try:
        return read_image(
            read_inside(
                ingestion.root, name, limit=frame_limit(frame_size), follow_links=ingestion.follow_links
            )
        )
    except (FileNotFoundError, LgadError):
        return None
